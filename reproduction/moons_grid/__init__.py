"""The moons grid of the 2022 paper: 117 networks from 1 to 25 units wide and from 1 to 120 layers deep."""
