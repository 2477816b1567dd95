"""The batch that an examination runs the model on."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jumpstart.doctor.load import DoctorError


def check_inputs(model: nn.Module) -> None:
    """Make sure that a model can be called with a batch alone.

    Args:
        model: What will be called.

    Raises:
        DoctorError: If its forward pass asks for more, or for nothing.
    """
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # not every compiled function has one
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = type(model).__name__
        raise DoctorError(
            f"{name}.forward can't be called with one batch alone: {error}. Write a module with one input whose "
            f"forward(x) calls {name} with all that it needs, and name that module instead."
        ) from error


def candidate_shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Likely shapes of one sample, told from the first layer with weights.

    Args:
        model: Whose input is not known.
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            return [(16, module.embed_dim)]
        if isinstance(module, nn.Linear):
            return [(module.in_features,), (16, module.in_features)]
        if isinstance(module, nn.Conv1d):
            return [(module.in_channels, 64), (module.in_channels, 1024)]
        if isinstance(module, nn.Conv2d):
            sides = (224, 32, 28, 299) if module.in_channels > 1 else (28, 32, 224)
            return [(module.in_channels, side, side) for side in sides]
        if isinstance(module, nn.Conv3d):
            return [(module.in_channels, 16, 112, 112), (module.in_channels, 8, 16, 16)]
        if isinstance(module, nn.RNNBase):
            return [(16, module.input_size)]
        if isinstance(module, nn.Embedding):
            return [(16,)]
    return []


def random_batch(model: nn.Module, shape: Sequence[int], batch_size: int, seed: int) -> Tensor:
    """Standard normal numbers, or whole ones where the model begins with an embedding.

    Args:
        model: It decides about device, kind and precision.
        shape: Of one sample.
        batch_size: Samples.
        seed: Of a private generator.
    """
    generator = torch.Generator().manual_seed(seed)
    first = next((m for m in model.modules() if next(m.parameters(recurse=False), None) is not None), None)
    like = next(model.parameters(), torch.empty(0))
    if isinstance(first, nn.Embedding):
        return torch.randint(first.num_embeddings, (batch_size, *shape), generator=generator).to(like.device)
    return torch.randn(batch_size, *shape, generator=generator).to(like)
