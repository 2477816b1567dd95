"""The HTML report of a run, and of several runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jumpstart.report.record import NotARunError
    from jumpstart.report.write import write_comparison, write_report

__all__ = ["NotARunError", "write_comparison", "write_report"]


def __getattr__(name: str) -> object:
    """A public name, whose module is imported when the name is first used: torch takes two seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jumpstart.report import write

    return getattr(write, name)
