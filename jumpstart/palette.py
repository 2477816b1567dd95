"""Colors and labels of the status, and the colors of curves and classes. All are safe for color-blind readers."""

from __future__ import annotations

from jumpstart.status.codes import Status

COLORS: dict[Status, str] = {
    Status.DEAD: "#000000",
    Status.LINEAR: "#E69F00",
    Status.NONLINEAR: "#0072B2",
}
"""Color of each status in every plot, report and table."""

LABELS: dict[Status, str] = {
    Status.DEAD: "dead",
    Status.LINEAR: "linear",
    Status.NONLINEAR: "non-linear",
}
"""Word for each status in every plot, report and table."""

CURVE_COLORS = ("#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")
"""Colors of curves. None is the color of a status."""

CLASS_COLORS = (
    "#D55E00", "#56B4E9", "#AAFF77", "#6600FF", "#880000", "#777777", "#BB55FF", "#DDBB99", "#661155", "#110077",
)  # fmt: skip
"""Colors of classes. None is the color of a status."""
