"""The random batch that an examination runs a model on, and a guess at the shape of a sample."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from jumpstart.doctor.load import DoctorError, one_line


def check_inputs(model: nn.Module) -> None:
    """Make sure that a model can be called with a batch alone.

    Args:
        model: The model.

    Raises:
        DoctorError: If its forward pass needs more arguments than a batch, or none.
    """
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # some compiled functions have no signature
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = type(model).__name__
        raise DoctorError(
            f"{name}.forward can't be called with one batch alone: {error}. Write a module with one input whose "
            f"forward(x) calls {name} with all arguments that it needs, and give that module instead."
        ) from error


def random_batch(model: nn.Module, shape: Sequence[int], batch_size: int, seed: int) -> Tensor:
    """Standard normal numbers, or indices if the model begins with an embedding.

    Args:
        model: The model, whose parameters determine device and dtype.
        shape: Shape of one sample.
        batch_size: Samples in the batch.
        seed: Seed of a private generator.
    """
    generator = torch.Generator().manual_seed(seed)
    first = next((m for m in model.modules() if next(m.parameters(recurse=False), None) is not None), None)
    like = next(model.parameters(), torch.empty(0))
    if isinstance(first, nn.Embedding):
        return torch.randint(first.num_embeddings, (batch_size, *shape), generator=generator).to(like.device)
    return torch.randn(batch_size, *shape, generator=generator).to(like)


def guess_shape(model: nn.Module, seed: int) -> tuple[int, ...]:
    """The first likely shape of one sample that the model accepts.

    Args:
        model: The model.
        seed: Seed of a private generator, for the samples that are tried.

    Raises:
        DoctorError: If the model accepts none of the likely shapes.
    """
    candidates = candidate_shapes(model)
    reason = ""
    for shape in candidates:
        try:
            model(random_batch(model, shape, 2, seed))
        except Exception as error:  # a model may raise anything for a wrong shape
            reason = one_line(error)
            continue
        return shape
    tried = " and ".join(",".join(map(str, shape)) for shape in candidates) or "none, because no layer determines it"
    last = f"; the last one failed with {reason}. Unless the model itself has a mistake, give" if reason else ". Give"
    raise DoctorError(
        f"the shape of a sample can't be guessed: tried {tried}{last} the shape: --input-shape 3,224,224, or "
        "--data NAME."
    )


def candidate_shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Likely shapes of one sample, according to the first layer with weights.

    Args:
        model: A model whose input is unknown.
    """
    for module in model.modules():
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
            return []  # it takes any shape
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
