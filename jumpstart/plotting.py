"""Status and curves as figures: arrays in, matplotlib figures out.

Here are the maps of units and points, and the names of all the other plots, which are in modules of
their own. Nothing touches pyplot, a window or a random generator: a figure is an object like any
other, and goes when its last reference does. One palette stands for dead, linear and non-linear everywhere
(:data:`COLORS`): three colors of Okabe and Ito that differ in hue for every kind of color-blind
eye, and in lightness on paper without color.
"""

from __future__ import annotations

from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.arrays import point_order
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.epochs import plot_curves, plot_status_shares, plot_unit_life
from jumpstart.plots.maps import plot_point_status, plot_unit_status
from jumpstart.plots.ranges import plot_ranges
from jumpstart.plots.regions import animate_decision_regions, plot_decision_regions

__all__ = [
    "COLORS",
    "LABELS",
    "animate_decision_regions",
    "plot_curves",
    "plot_decision_regions",
    "plot_point_status",
    "plot_ranges",
    "plot_status_shares",
    "plot_unit_life",
    "plot_unit_status",
    "point_order",
    "save_figure",
]
