"""Each part of the method changed alone, on networks of 50 layers of 4 units."""
