"""Names that a careless program would read as commands."""

from __future__ import annotations

HOSTILE = {
    "mathematics": "$0-$50K",
    "empty mathematics": "a$$b",
    "one dollar": "x_1^2 in $",
    "escaped dollar": r"\$5 \frac{",
    "TeX": r"100%_of~{a}^2 & #1 \input{x} -- `q'' <<",
    "bracket": "[5pt] ",
    "star": "*bold* _it_ __init__",
    "lines": "two\nlines\r\nand\ttabs",
    "separators": "line\u2028paragraph\u2029next\x85",
    "HTML": "</script><img src=x onerror=alert(1)>&amp;\"'",
    "Markdown": "a|b `code` [link](x) ~~no~~ <b> \\| &lt;",
    "template": "${body} {0} %s %(x)s",
    "NUL": "NUL\x00 and \x1b[31mred",
    "surrogate": "half \ud83d\ude00"[:6],
    "direction": "\u202egnp.exe\u202c \u2066open",
    "Hebrew": "\u05e9\u05dc\u05d5\u05dd 1",
    "zero width": "a\u200bb\ufeff\u00ad\u200d",
    "emoji": "\U0001f600 \U0001f469\u200d\U0001f52c",
    "Chinese": "\u6a21\u578b",
    "underscore": "_hidden",
    "empty": "",
    "formula": '=HYPERLINK("http://example.org",A1)',
    "negative": "-1+1",
    "long": "long" * 300,
}
