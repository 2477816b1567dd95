"""At which depths and widths Jumpstart helps, and which lambda it needs there."""
