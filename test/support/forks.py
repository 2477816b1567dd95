"""Forks of the process of the tests: servers, which need not import again what is imported here."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Collection


def fork(work: Callable[[], object], files: Collection[int]) -> int:
    """Run ``work`` in a fork of this process, as if pytest had never been in it.

    Args:
        work: Is called without arguments; the fork ends when it returns.
        files: The descriptors of open files that the fork keeps, besides the standard streams.

    Returns:
        The number of the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the fork needs none of the other threads
        pid = os.fork()
    if pid == 0:
        try:
            gc.freeze()  # a collection would read, and so copy, every object of the imports
            _forget_pytest({0, 1, 2, *files})
            work()
        except BaseException as error:
            if not isinstance(error, SystemExit):
                traceback.print_exc()
        finally:
            os._exit(0)
    return pid


def _forget_pytest(files: Collection[int]) -> None:
    faulthandler.disable()
    for file in map(int, os.listdir("/dev/fd")):
        if file not in files:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(file)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    logging.root.handlers.clear()
    importlib.reload(warnings)  # with Python's own filters
