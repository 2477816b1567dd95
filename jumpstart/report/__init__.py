"""The HTML report of a run, and of several runs side by side."""

from jumpstart.report.record import NotARunError
from jumpstart.report.write import write_comparison, write_report

__all__ = ["NotARunError", "write_comparison", "write_report"]
