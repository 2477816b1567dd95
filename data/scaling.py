"""How the numbers of a table can be scaled."""

SCALINGS = ("standard", "range")
"""To mean 0 and standard deviation 1, or divided by the range of each column. The first is the default."""


def check_scaling(scaling: str) -> str:
    """The scaling, if it is one of :data:`SCALINGS`.

    Raises:
        ValueError: If it is none of them.

    Example:
        >>> check_scaling("minmax")
        Traceback (most recent call last):
        ValueError: scaling must be one of standard, range, got 'minmax'.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, got {scaling!r}.")
    return scaling
