"""X."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def percent(share: float) -> str:
    """A share in words; only none is 0.0 % and only all are 100.0 %."""
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def counted(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def shorten(text: str, most: int) -> str:
    """Text without its middle where it is too long."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"


def called(name: str) -> str:
    return name or "the model itself"


def some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def layer_words(layers: Iterable[int]) -> str:
    """Layers by their numbers from 1, such as ``layers 3-5 and 9``.

    Args:
        layers: Numbers from 0, in any order.

    Example:
        >>> layer_words([2, 4, 3, 8])
        'layers 3-5 and 9'
    """
    numbers = sorted({layer + 1 for layer in layers})
    runs: list[list[int]] = []
    for found in numbers:
        if runs and found == runs[-1][-1] + 1:
            runs[-1].append(found)
        else:
            runs.append([found])
    if len(runs) > 4:
        return f"{len(numbers)} layers between {numbers[0]} and {numbers[-1]}"
    texts = [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in runs]
    return f"layer{'s' * (len(numbers) != 1)} {listed(texts)}"


def listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def are(count: int, one: str = "is", more: str = "are") -> str:
    return one if count == 1 else more
