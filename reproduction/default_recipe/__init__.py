"""The default recipe of the launcher against its rivals, on moons with 50 layers of 4 units, over 200 seeds."""
