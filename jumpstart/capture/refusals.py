"""What a recorder refuses during a forward pass."""

from __future__ import annotations

from torch import Tensor

from jumpstart.capture.unit_dims import sizes_of
from jumpstart.extrema.torch_internals import in_reentrant_checkpoint


def check_preactivation(name: str, z: Tensor) -> None:
    """Refuse what has no extrema.

    Args:
        name: The name of the layer, for the message.
        z: Its preactivation.

    Raises:
        TypeError: If it is not of floating point.
        ValueError: If it is empty.
    """
    if not z.is_floating_point():
        raise TypeError(
            f"the preactivation of {name!r} has dtype {z.dtype}; extrema need real floating-point numbers. "
            "Capture other modules: capture=[module names]."
        )
    if z.numel() == 0:
        raise ValueError(f"the preactivation of {name!r} is empty ({sizes_of(z)}). Skip empty batches.")


def no_replicas() -> RuntimeError:
    """The error of a model in ``torch.nn.DataParallel``."""
    return RuntimeError(
        "Jumpstart does not work inside torch.nn.DataParallel, whose replicas run in threads over one set of hooks. "
        "Use torch.nn.parallel.DistributedDataParallel."
    )


def two_threads() -> RuntimeError:
    """The error of a model that is called while another thread runs it."""
    return RuntimeError(
        "two threads run this model at the same time, but Jumpstart and its monitors keep one forward pass at a time. "
        "Let each thread hold a threading.Lock from the call of the model until it has read the loss, or give each "
        "thread a copy.deepcopy(model) with a regularizer of its own."
    )


def traced() -> RuntimeError:
    """The error of a loss that is read under ``torch.jit.trace``."""
    return RuntimeError(
        "the Jumpstart loss cannot be read under torch.jit.trace, where it would become a constant. Read it outside of "
        "the trace, or use torch.compile or torch.export in place of the trace."
    )


def refuse_reentrant_checkpoint(name: str) -> None:
    """Raise if gradients are off because of a checkpoint that will recompute this call, and not on purpose.

    Args:
        name: What runs in the checkpoint, for the message.

    Raises:
        RuntimeError: If it does.
    """
    if in_reentrant_checkpoint():
        raise RuntimeError(
            f"{name} runs inside a reentrant checkpoint, where no gradient of the Jumpstart loss can reach it. "
            "Call torch.utils.checkpoint.checkpoint(..., use_reentrant=False)."
        )
