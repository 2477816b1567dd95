"""Estimated memory and time of training on ImageNet: ``python -m benchmarks.memory``.

Counts the activations that torch saves for the backward pass; a storage saved twice counts once, and parameters do not
count. With Jumpstart, forward passes run on the CPU; everything else is counted on fake tensors, which have shapes but
no values. The size of the preactivations gives the bytes that Jumpstart reads once more, and the time for that on a GPU
of the given memory bandwidth. Nothing here is measured on a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from jumpstart import JumpstartRegularization

DEPTHS = (18, 34, 50, 101, 152)


@dataclass(frozen=True)
class Cost:
    """Memory and operations of one image in one network, forward and backward.

    Attributes:
        saved: Bytes that the backward pass keeps, without Jumpstart.
        saved_with: Bytes that the backward pass keeps, with Jumpstart.
        preactivations: Bytes of the inputs of activations, which Jumpstart reads.
        flops: Floating-point operations of both passes, 2 for a multiplication with an addition.
        parameters: Number of parameters of the network.
    """

    saved: float
    saved_with: float
    preactivations: float
    flops: float
    parameters: int


class SavedBytes:
    """Counts what autograd saves while it is active, each storage once."""

    def __init__(self, model: nn.Module) -> None:
        self._own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self._own |= {buffer.untyped_storage()._cdata for buffer in model.buffers()}
        # References keep the storages alive, because the address of a freed storage may be reused.
        self._seen: dict[int, torch.UntypedStorage] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:
            self._seen[storage._cdata] = storage
        return tensor

    @property
    def total(self) -> int:
        """Bytes saved so far."""
        return sum(storage.nbytes() for storage in self._seen.values())

    def __enter__(self) -> SavedBytes:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)


def cost(make: Callable[[], nn.Module], size: int = 224) -> Cost:
    """Memory and operations of one more image in a batch.

    Args:
        make: Builds the network.
        size: Height and width of the images.

    Example:
        >>> cost(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)), 4).preactivations
        256.0
    """
    # The difference of two batches excludes what does not grow with the batch. The batches are large enough for
    # Jumpstart to reduce preactivations during the forward pass; it keeps smaller ones until the loss is read.
    with FakeTensorMode():
        model = make()
        few, many = (torch.zeros(rows, 3, size, size) for rows in (6, 7))
        saved = [_saved(model, x) for x in (few, many)]
        with FlopCounterMode(display=False) as counter:
            model(many).sum().backward()
        read = []
        for x in (few, many):
            sizes: list[int] = []
            hooks = [_size_hook(module, sizes) for module in model.modules() if isinstance(module, nn.ReLU)]
            model(x)
            for hook in hooks:
                hook.remove()
            read.append(sum(sizes))
    # How Jumpstart stores extrema depends on values, so these passes run on real tensors.
    model = make()
    saved_with = [_saved_with_jumpstart(model, torch.randn(rows, 3, size, size)) for rows in (6, 7)]
    return Cost(
        saved=float(saved[1] - saved[0]),
        saved_with=float(saved_with[1] - saved_with[0]),
        preactivations=float(read[1] - read[0]),
        flops=counter.get_total_flops() / len(many),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _saved(model: nn.Module, x: Tensor) -> int:
    with SavedBytes(model) as saved:
        _ = model(x).sum()
        return saved.total


def _saved_with_jumpstart(model: nn.Module, x: Tensor) -> int:
    with SavedBytes(model) as saved, JumpstartRegularization(model) as jumpstart:
        _ = model(x).sum() + jumpstart.loss
        return saved.total


def _size_hook(module: nn.Module, sizes: list[int]) -> torch.utils.hooks.RemovableHandle:
    return module.register_forward_pre_hook(lambda _, args: sizes.append(args[0].numel() * args[0].element_size()))


def main() -> None:
    """Compute the costs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)))
    parser.add_argument("--widths", default="1", help="Factors of torchvision's stage widths.")
    parser.add_argument("--norms", default="batch,none", help="With batch normalization, without, or both.")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--bandwidth", type=float, default=1555.0, help="GB/s of the card's memory.")
    parser.add_argument("--flops", type=float, default=312.0, help="TFLOP/s of the card in bfloat16, at best.")
    parser.add_argument("--utilization", type=float, default=0.1, help="Share of --flops that training reaches.")
    arguments = parser.parse_args()
    sys.stdout.write(
        "| network | width | norm | parameters | MB saved | MB saved with Jumpstart | MB read by Jumpstart | GFLOP | "
        "ms, estimated | ms more, estimated | images/s, estimated |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    kinds = itertools.product(*(text.split(",") for text in (arguments.depths, arguments.widths, arguments.norms)))
    for depth, width, norm in kinds:
        image = cost(partial(_resnet, int(depth), int(width), norm == "batch"), arguments.size)
        step = image.flops / (arguments.flops * 1e12 * arguments.utilization)
        # A preactivation takes half of the bytes in bfloat16.
        more = image.preactivations / 2 / (arguments.bandwidth * 1e9)
        cells = (
            f"resnet{depth}",
            f"x{width}",
            norm,
            f"{image.parameters / 1e6:.1f} M",
            f"{image.saved / 1e6:.0f}",
            f"{image.saved_with / 1e6:.0f}",
            f"{image.preactivations / 1e6:.0f}",
            f"{image.flops / 1e9:.1f}",
            f"{step * 1e3:.2f}",
            f"{more * 1e3:.3f} ({more / step:.1%})",
            f"{1 / (step + more):.0f}",
        )
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


def _resnet(depth: int, width: int, use_batchnorm: bool) -> nn.Module:
    options = {} if use_batchnorm else {"norm_layer": nn.Identity}
    model: nn.Module = getattr(torchvision.models, f"resnet{depth}")(**options)
    return model if width == 1 else widened(model, width)


def widened(model: nn.Module, factor: int) -> nn.Module:
    """Multiply the channels of a network in place, except for those of the image.

    Args:
        model: A network of convolutions, batch normalizations and fully connected layers.
        factor: The multiple of the channels.

    Returns:
        The model.
    """
    for name, module in list(model.named_children()):
        if isinstance(module, nn.Conv2d):
            inputs = module.in_channels if module.in_channels == 3 else module.in_channels * factor
            new: nn.Module = nn.Conv2d(
                inputs,
                module.out_channels * factor,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                bias=False,
            )
        elif isinstance(module, nn.BatchNorm2d):
            new = nn.BatchNorm2d(module.num_features * factor)
        elif isinstance(module, nn.Linear):
            new = nn.Linear(module.in_features * factor, module.out_features)
        else:
            new = widened(module, factor)
        setattr(model, name, new)
    return model


if __name__ == "__main__":
    main()
