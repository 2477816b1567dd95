"""Names as literal text: no name of a layer, class, data set or run is read as a command by what displays it.

There is one function for each format: HTML, LaTeX, Markdown and CSV here, plots in :mod:`jumpstart.plots.texts`. Each
function first makes the text :func:`visible`, except :func:`csv_text`, whose texts can be read back.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode without a visible character: controls, format controls, lone surrogates, line ends."""
_JOINERS = "\u200c\u200d"
_LOOSE_JOINER = re.compile(r"(?<![^\0-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\0-\x7f\u200c\u200d])")
"""A joiner that does not stand between two characters beyond ASCII."""
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"

_TEX = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
}
_LIGATURES = re.compile(r"([-,'])(?=\1)")
"""Signs that LaTeX joins with an equal one after it: two hyphens become a dash."""
_ENTITIES = {"<": "&lt;", "&": "&amp;"}
_FORMULA = re.compile(r"'*(?:[\s\0\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
"""Beginnings of a text that a spreadsheet reads as a formula, and of a text whose apostrophe is its own.

Spreadsheets skip what cannot be seen, and some read the wide signs of East Asian keyboards as the usual ones.
"""
_MARKDOWN = re.compile(
    r"[\\`*\[\]<|~$]"
    r"|(?<![^\W_])_(?=\S)"  # an underscore within a word begins no emphasis
    r"|&(?=#?\w+;)"
)


def visible(text: object) -> str:
    r"""The text on one line, with the characters that cannot be seen written as Python writes them.

    These are line breaks and other control characters, lone surrogates, zero-width characters, and the controls that
    change the direction of text. Joiners inside of words and emoji that need them are kept, and so are isolates
    (:func:`isolated`) that end in the text.

    Args:
        text: A text, or any other object, of which ``str`` is taken.

    Example:
        >>> print(visible("two\nlines"), visible("\u202eabc"), visible("na\u00efve \U0001f600"))
        two\nlines \u202eabc naïve 😀
    """
    signs = str(text)
    if signs.isascii() and signs.isprintable():
        return signs
    kept = _JOINERS + (_ISOLATE + _END_OF_ISOLATE if _isolates_end(signs) else "")
    shown = "".join(escaped(sign) if _is_hidden(sign) and sign not in kept else sign for sign in signs)
    return _LOOSE_JOINER.sub(lambda found: escaped(found[0]), shown)


def _is_hidden(sign: str) -> bool:
    return unicodedata.category(sign) in _HIDDEN or ord(sign) & 0xFFFE == 0xFFFE


def escaped(sign: str) -> str:
    r"""A character as Python escapes it in a string.

    Example:
        >>> print(escaped("\n"), escaped("\u202e"))
        \n \u202e
    """
    return sign.encode("unicode_escape", "backslashreplace").decode("ascii")


def isolated(name: object) -> str:
    """The visible name, for use in a sentence: its direction of reading does not change that of the words around it.

    A name with letters that are read from right to left is put between the Unicode characters of an isolate. Any
    other name is returned as :func:`visible` shows it.

    Example:
        >>> isolated("encoder"), len(isolated("\u05d0\u05d1"))
        ('encoder', 4)
    """
    text = visible(name)
    if any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in text):
        return f"{_ISOLATE}{text}{_END_OF_ISOLATE}"
    return text


def html_text(text: object) -> str:
    """The visible text, escaped for HTML and SVG: for the content of an element, or an attribute in quotes.

    Example:
        >>> html_text('</script> & "quotes"')
        '&lt;/script&gt; &amp; &quot;quotes&quot;'
    """
    return html.escape(visible(text))


def script_json(content: object) -> str:
    r"""JSON inside a ``<script>`` element: HTML reads no tag or comment in it, and JavaScript no line end.

    Args:
        content: What JSON can store, without NaN and infinity.

    Example:
        >>> print(script_json(["</script>", 0.5]))
        ["\u003c/script\u003e",0.5]
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def latex_text(text: object) -> str:
    r"""The visible text, escaped for LaTeX outside of mathematics: also as the cell of a table.

    Letters that LaTeX does not know are left as they are: XeLaTeX and LuaLaTeX read all of Unicode.

    Example:
        >>> print(latex_text("50%_of~$x^2"))
        50\%\_of\textasciitilde{}\$x\textasciicircum{}2
    """
    written = "".join(_TEX.get(sign, sign) for sign in visible(text))
    written = _LIGATURES.sub(r"\1{}", written)
    # The end of the line before, and commands such as \midrule, read a bracket or a star as their argument.
    return f"{{{written[0]}}}{written[1:]}" if written[:1] in ("[", "*") else written


def markdown_text(text: object) -> str:
    r"""The visible text, escaped for Markdown: also as the cell of a table.

    Tags and entities of HTML are written with entities, because not every reader of Markdown knows ``\<``.

    Example:
        >>> print(markdown_text("a|b"), markdown_text("unit_dead_ratio"), markdown_text("__init__ *"))
        a\|b unit_dead_ratio \_\_init__ \*
    """
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], "\\" + found[0]), visible(text))


def csv_text(text: str) -> str:
    r"""The text as a cell of a CSV file that no spreadsheet reads as a formula; :func:`csv_value` is the inverse.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets an apostrophe in front. Halves
    of surrogate pairs, which no file can hold, are written as Python escapes them.

    Example:
        >>> print(csv_text("=1+1"), csv_text("a=1"))
        '=1+1 a=1
    """
    written = "".join(escaped(sign) if "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return f"'{written}" if _FORMULA.match(written) else written


def csv_value(cell: str) -> str:
    """The text of a cell that :func:`csv_text` wrote.

    Example:
        >>> csv_value("'=1+1")
        '=1+1'
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _isolates_end(text: str) -> bool:
    """Whether every isolate in a text has its end there, and nothing else ends there."""
    depth = 0
    for sign in text:
        depth += (sign == _ISOLATE) - (sign == _END_OF_ISOLATE)
        if depth < 0:
            return False
    return depth == 0
