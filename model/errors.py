"""What can go wrong in training, apart from a wrong option. Imports nothing, so that command lines stay quick."""


class NonFiniteLossError(RuntimeError):
    """Training has diverged. The message names the epoch and the first layer that is not finite."""
