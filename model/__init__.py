"""Networks, and the experiments that train them."""
