"""Decision regions and linear regions of a network with two inputs."""

from jumpstart.regions.frames import DecisionRegions
from jumpstart.regions.grid import Regions, find_regions

__all__ = ["DecisionRegions", "Regions", "find_regions"]
