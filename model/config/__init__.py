"""Typed configurations of the experiments. Importing them needs no torch."""

from model.config.experiment import ExperimentConfig
from model.config.options import Config
from model.errors import ConfigError

__all__ = ["Config", "ConfigError", "ExperimentConfig"]
