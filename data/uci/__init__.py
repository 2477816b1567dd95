"""Data sets of the UCI Machine Learning Repository: their descriptions, their files, and the parsing of these files.

``catalog`` describes each data set, ``reading`` parses its files, ``files`` caches and downloads them.
"""

from data.uci.catalog import UCI
from data.uci.reading import UciSource

__all__ = ["UCI", "UciSource"]
