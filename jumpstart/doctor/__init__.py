"""An examination of any model before training: captured layers, dead units, cost, advice."""

from jumpstart.doctor.examination import Examination
from jumpstart.doctor.examine import examine
from jumpstart.doctor.load import DoctorError

__all__ = ["DoctorError", "Examination", "examine"]
