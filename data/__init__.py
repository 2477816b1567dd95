"""Data sets of the experiments: descriptions, downloads, splits, encodings and batches.

``python -m data`` lists the data sets.

Example:
    >>> from data import make_datamodule
    >>> module = make_datamodule("iris")
    >>> module.setup()
    >>> module.describe()["parts"]["test"]["class_counts"]
    [8, 7, 8]
"""

from data.data import DATASETS, DataError, DatasetInfo, check_available, get_info, make_data, make_datamodule

__all__ = ["DATASETS", "DataError", "DatasetInfo", "check_available", "get_info", "make_data", "make_datamodule"]
