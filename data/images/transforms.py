"""Transforms of the user, called for one image at a time, as those of torchvision's data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.images.image_arrays import Bytes

Transform: TypeAlias = Callable[[Image.Image], Tensor | Image.Image]
"""From a PIL image to a PIL image or a tensor ``(channels, height, width)``, of floats or bytes."""

Output: TypeAlias = Bytes | Tensor
"""One transformed image: bytes ``(height, width, channels)``, or a float tensor ``(channels, height, width)``."""


class TransformError(ValueError):
    """A transform returned something that cannot be served in batches."""


@dataclass(frozen=True)
class Transforms:
    """The transforms of the user. Bytes that they return are normalized afterwards; floats are served as they are.

    Attributes:
        train: Transform of images in training; ``None`` for the augmentation of the data set.
        eval: Transform of images in validation and test; ``None`` for the usual crop of the data set.
        shape: Channels, height and width that they return, if it is known.
    """

    train: Transform | None = None
    eval: Transform | None = None
    shape: tuple[int, int, int] | None = None

    def __bool__(self) -> bool:
        return self.train is not None or self.eval is not None


def chosen_transforms(
    transform: Transform | None, train_transform: Transform | None, eval_transform: Transform | None
) -> Transforms:
    """The transforms of both kinds.

    Args:
        transform: Transform of every image that has no transform of its own kind.
        train_transform: Transform of training images.
        eval_transform: Transform of validation and test images.

    Raises:
        ValueError: If one of them cannot be called.
    """
    given = {"transform": transform, "train_transform": train_transform, "eval_transform": eval_transform}
    for name, value in given.items():
        if value is not None and not callable(value):
            raise ValueError(f"{name} must be a function of a PIL image, or None, got {value!r}.")
    return Transforms(train_transform or transform, eval_transform or transform)


def name_of(transform: Transform) -> str:
    """A transform in one line, for descriptions.

    Example:
        >>> name_of(lambda image: image)
        '<lambda>'
    """
    return str(getattr(transform, "__qualname__", "")) or " ".join(repr(transform).split())


def transformed(transform: Transform, image: Image.Image) -> Output:
    """One image, transformed and checked.

    Raises:
        TransformError: If the result is neither a PIL image nor a tensor of three dimensions, of floats or bytes.

    Example:
        >>> transformed(lambda image: torch.zeros(3, 8, 8), Image.new("RGB", (9, 9))).shape
        torch.Size([3, 8, 8])
    """
    result = transform(image)
    if isinstance(result, Image.Image):
        pixels = np.asarray(result)
        if pixels.dtype == np.uint8:
            return pixels if pixels.ndim == 3 else pixels[..., None]
        found = f"a PIL image of mode {result.mode}"
    elif isinstance(result, Tensor):
        if result.ndim == 3 and result.dtype == torch.uint8:
            return result.permute(1, 2, 0).numpy()
        if result.ndim == 3 and result.is_floating_point():
            return result.to(torch.float32)
        found = f"a tensor of shape {tuple(result.shape)} and type {str(result.dtype).removeprefix('torch.')}"
    else:
        found = type(result).__name__
    raise TransformError(
        f"a transform must return a tensor (channels, height, width) of floats or bytes, or a PIL image of 8 bits, got "
        f"{found}: end it with ToTensor()."
    )


def stacked(outputs: Sequence[Output], shape: tuple[int, int, int] | None = None) -> Tensor:
    """One batch: bytes ``(N, height, width, channels)``, or floats ``(N, channels, height, width)``.

    Args:
        outputs: The images.
        shape: Channels, height and width that every image must have; ``None`` for those of the first.

    Raises:
        TransformError: If the images differ in shape or type.
    """
    shapes = {output_shape(output) for output in outputs} | ({shape} if shape else set())
    if len(shapes) > 1:
        first, second, *_ = sorted(shapes)
        raise TransformError(
            f"a transform must return images of one shape, got {first} and {second}: end it with a crop of one size."
        )
    floats = [output for output in outputs if isinstance(output, Tensor)]
    if floats and len(floats) < len(outputs):
        raise TransformError("a transform must return either floats or bytes, got both.")
    if floats:
        return torch.stack(floats)
    return torch.from_numpy(np.stack([output for output in outputs if not isinstance(output, Tensor)]))


def output_shape(output: Output) -> tuple[int, int, int]:
    """Channels, height and width of one transformed image."""
    if isinstance(output, Tensor):
        channels, height, width = output.shape
    else:
        height, width, channels = output.shape
    return channels, height, width


def check_outputs(train: Output, evaluation: Output, channels: int) -> tuple[int, int, int]:
    """The shape of the images that are served: channels, height and width.

    Args:
        train: An image as it is served in training.
        evaluation: An image as it is served in validation and test.
        channels: Channels of the images before they are transformed.

    Raises:
        TransformError: If the two shapes differ, or bytes have another number of channels, so that they cannot be
            normalized.
    """
    for output in (train, evaluation):
        found = output_shape(output)[0]
        if not isinstance(output, Tensor) and found != channels:
            raise TransformError(
                f"a transform that returns bytes must keep the number of channels, {channels}, got {found}: return "
                "floats, which are not normalized."
            )
    shape = output_shape(evaluation)
    if output_shape(train) != shape:
        raise TransformError(
            f"training images and others must have one shape, got {output_shape(train)} and {shape}: give a "
            "train_transform and an eval_transform that end in one size."
        )
    return shape
