"""The grid of convolutions of the 2022 paper: 2 to 8 channels and up to 68 layers of 3x3 convolutions."""
