"""The structure that the compiled engine reads and writes: ``member.h``, field by field."""

from __future__ import annotations

import ctypes
from enum import IntEnum

ACTIVATIONS = ("relu", "leakyrelu", "gelu", "silu", "elu", "tanh", "sigmoid", "softplus")
"""The activations of the engine, in the order of ``Activation`` in ``member.h``."""
SKIPS = (None, "preactivation", "published")
AGGREGATES = ("balanced", "mean", "norm", "sum_of_squares", "sum_of_squared_hinges")
OPTIMIZERS = ("adam", "adamw", "sgd")
MONITORS = (None, "val/loss", "val/acc")

METRICS = (
    "acc",
    "loss",
    "jumpstart_loss",
    "jumpstart_unit_loss",
    "jumpstart_point_loss",
    "unit_dead_ratio",
    "unit_linear_ratio",
    "unit_nonlinear_ratio",
    "point_dead_ratio",
    "point_linear_ratio",
    "point_nonlinear_ratio",
    "deadness",
    "linearity",
    "nonlinearity",
    "point_efficiency",
    "unit_loss",
    "positive_unit_loss",
    "negative_unit_loss",
    "point_loss",
    "positive_point_loss",
    "negative_point_loss",
)
"""The metrics of one part of the data in one epoch, in the order of ``Metric`` in ``member.h``."""


class Outcome(IntEnum):
    """Why training returned, as ``Outcome`` in ``member.h``."""

    TIME_IS_UP = 0
    FINISHED = 1
    STOPPED_EARLY = 2
    DIVERGED = 3


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


_TWO_SIDES = ctypes.c_double * 2


class MemberLayout(ctypes.Structure):
    """One member. Arrays are addresses; ``member.h`` says what they hold."""

    _fields_ = [
        *_fields(ctypes.c_int32, "depth width features classes activation batchnorm skip skip_span"),
        *_fields(ctypes.c_int32, "capture_weights capture_output aggregate unit_terms point_terms use_task_loss"),
        *_fields(_TWO_SIDES, "margin unit_weight point_weight"),
        *_fields(ctypes.c_int32, "optimizer monitor"),
        *_fields(ctypes.c_double, "beta1 beta2 epsilon momentum weight_decay clip_norm clip_value"),
        *_fields(ctypes.c_int32, "rows val_rows batch epochs"),
        *_fields(ctypes.c_void_p, "x val_x y val_y"),
        *_fields(ctypes.c_uint64, "seed"),
        *_fields(ctypes.c_void_p, "lr lambda_"),
        *_fields(ctypes.c_int32, "stop_at_perfect patience"),
        *_fields(ctypes.c_double, "min_delta stop_train_accuracy stop_train_loss"),
        *_fields(ctypes.c_int64, "parameters step best_batch"),
        *_fields(ctypes.c_void_p, "weights moment1 moment2 running best_weights best_running decays"),
        *_fields(ctypes.c_int32, "epoch best_epoch waited outcome"),
        *_fields(ctypes.c_double, "best_accuracy best_loss monitored"),
        *_fields(ctypes.c_void_p, "metrics gradient"),
        *_fields(ctypes.c_int32, "diverged_layer first_epoch val_batch best_by_train ties"),
    ]
