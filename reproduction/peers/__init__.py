"""What a user could take in place of Jumpstart, on the same networks and with the same budget."""
