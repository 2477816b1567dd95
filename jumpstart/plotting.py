"""All public plots: functions that take arrays and return matplotlib figures.

The functions are defined in :mod:`jumpstart.plots`. None of them uses pyplot, a window or a random generator, and a
figure is freed with its last reference. All plots share the colors of dead, linear and non-linear (:data:`COLORS`):
three colors of Okabe and Ito that differ in hue for every kind of color blindness, and in lightness when printed
without color.
"""

from __future__ import annotations

from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.arrays import point_order
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.comparison import plot_critical_difference, plot_heat_map
from jumpstart.plots.epochs import plot_curves, plot_status_shares, plot_unit_life
from jumpstart.plots.maps import plot_point_status, plot_unit_status
from jumpstart.plots.ranges import plot_ranges
from jumpstart.plots.results import plot_box, plot_scatter, plot_violin
from jumpstart.regions.plot import animate_decision_regions, plot_decision_regions

__all__ = [
    "COLORS",
    "LABELS",
    "animate_decision_regions",
    "plot_box",
    "plot_critical_difference",
    "plot_curves",
    "plot_decision_regions",
    "plot_heat_map",
    "plot_point_status",
    "plot_ranges",
    "plot_scatter",
    "plot_status_shares",
    "plot_unit_life",
    "plot_unit_status",
    "plot_violin",
    "point_order",
    "save_figure",
]
