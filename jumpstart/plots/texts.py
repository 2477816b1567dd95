"""Names in plots: drawn character by character, never as mathematics or TeX, each in a font that contains it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.font_manager import fontManager, get_font
from matplotlib.legend import Legend
from matplotlib.text import Text

from jumpstart.literal import escaped, isolated, visible
from jumpstart.words import shorten

FONT = "DejaVu Sans"
"""The font of all plots, which matplotlib contains."""

_MOST = 200
"""Signs of a name that is drawn without a limit of its own."""
_NOT_TEXT = ("Last Resort", "STIX", "cm")
"""Beginnings of the names of fonts that matplotlib contains for mathematics and for unknown characters."""
_WEIGHTS = (400, 700)
_KEEPS_DIRECTION = matplotlib.__version_info__ >= (3, 11)
"""Whether matplotlib reads the Unicode characters of an isolate instead of drawing them."""


def plain(name: object, most: int = _MOST) -> str:
    r"""A name as plots show it: visible, shortened, and with escapes for characters that no font has.

    Args:
        name: The name, or any object.
        most: Largest number of characters.

    Example:
        >>> print(plain("two$\nlines$"), plain("encoder.layers.0.linear", 9))
        two$\nlines$ enco…near
    """
    return visible(shorten("".join(sign if _font_of(sign) else escaped(sign) for sign in visible(name)), most))


def in_sentence(name: object, most: int = _MOST) -> str:
    """:func:`plain`, for a text that goes on after the name: a name read from right to left does not reorder it."""
    text = plain(name, most)
    return isolated(text) if _KEEPS_DIRECTION else text


def literal(*artists: Text) -> None:
    """Have these texts drawn character by character. Every name in a plot goes through this function.

    Args:
        artists: Texts made of :func:`plain`.
    """
    for artist in artists:
        artist.set(parse_math=False, usetex=False)
        fonts = dict.fromkeys([FONT, *filter(None, map(_font_of, artist.get_text()))])
        if len(fonts) > 1:
            artist.set_fontfamily(list(fonts))


def label_ticks(axis: Axis, places: Sequence[float], names: Iterable[str]) -> None:
    """Set ticks with names, made of :func:`plain`."""
    axis.set_ticks(places, list(names))
    literal(*(label for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)))


def set_names(legend: Legend, handles: Sequence[Artist]) -> None:
    """Write the labels of the handles into a legend.

    They are not passed to the legend itself, which leaves out labels that begin with an underscore.
    """
    for text, handle in zip(legend.get_texts(), handles, strict=True):
        text.set_text(str(handle.get_label()))
        literal(text)


@functools.lru_cache(maxsize=4096)
def _font_of(sign: str) -> str | None:
    """A font family that has a character, or None if no installed font has it."""
    if sign.isascii() or sign in "\u2068\u2069":
        return FONT
    return next((family for family, files in _families().items() if _has(files, sign)), None)


@functools.cache
def _families() -> dict[str, list[str]]:
    """The files of every family with a regular and a bold font, first those of :data:`FONT`."""
    files: dict[str, dict[int, str]] = {FONT: {}}
    for font in sorted(fontManager.ttflist, key=lambda font: font.name):
        upright = font.style == font.stretch == "normal" and font.weight in _WEIGHTS
        if upright and not font.name.startswith(_NOT_TEXT):
            files.setdefault(font.name, {})[int(font.weight)] = font.fname
    return {name: list(by_weight.values()) for name, by_weight in files.items() if len(by_weight) == len(_WEIGHTS)}


def _has(files: Iterable[str], sign: str) -> bool:
    return all(get_font(file).get_char_index(ord(sign)) for file in files)
