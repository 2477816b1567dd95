"""Status of units and points: dead, linear or non-linear. Importing the package needs torch alone.

The names below are for users. The modules are for the rest of ``jumpstart``: ``codes`` defines the status, ``counts``
counts it over the points of a batch, ``sample`` draws a few points of an epoch.
"""

from jumpstart.status.codes import Status, status_of

__all__ = ["Status", "status_of"]
