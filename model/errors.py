"""Errors of experiments: wrong options and divergence. Imports nothing, so that command lines start quickly."""


class NonFiniteLossError(RuntimeError):
    """Training has diverged. The message names the epoch and the first layer that is not finite."""


class ConfigError(ValueError):
    """An option that is unknown, of the wrong type or out of range. The message is one line."""
