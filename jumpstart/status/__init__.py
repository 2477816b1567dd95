"""Status of units and points: dead, linear or non-linear. Importing it needs torch alone."""

from jumpstart.status.codes import Status, status_of

__all__ = ["Status", "status_of"]
