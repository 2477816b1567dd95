"""Which dimension of a preactivation holds the units: given, or learned from the modules that run before."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from jumpstart.capture.copies import HookHandle
from jumpstart.capture.hooks import Feed, PassRecorder, Read, after_module
from jumpstart.capture.targets import CONVOLUTIONS, is_activation
from jumpstart.extrema.rule import NextOp

_UNITS_LAST: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention,
)  # fmt: skip
_UNITS_SECOND: tuple[type[nn.Module], ...] = (
    *CONVOLUTIONS,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.GroupNorm,
)  # fmt: skip
_UNITS_UNMOVED: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.LocalResponseNorm, nn.CrossMapLRN2d,
)  # fmt: skip
_RANKS: dict[type[nn.Module], int] = {
    nn.Conv1d: 3, nn.ConvTranspose1d: 3, nn.InstanceNorm1d: 3,
    nn.Conv2d: 4, nn.ConvTranspose2d: 4, nn.InstanceNorm2d: 4,
    nn.Conv3d: 5, nn.ConvTranspose3d: 5, nn.InstanceNorm3d: 5,
}  # fmt: skip
"""Dimensions of a batch in the output of modules that also take a single sample, which has one less."""
_FILES_UNITS_UNMOVED = ("dropout", "padding", "pooling", "upsampling", "pixelshuffle", "channelshuffle")
"""Files of ``torch.nn.modules`` whose modules leave the units in their dimension."""


class UnitDims:
    """The dimension of the units of each preactivation of a model.

    A tensor of two dimensions has its units in the second dimension. Any other tensor has them in the given dimension.
    If none is given, the type of the module that ran just before the activation decides: the last dimension after a
    linear layer, the second after a convolution. If a function moves the units before the activation, the shapes of the
    output and of the preactivation tell where to. If the type decides nothing, a tensor of four or more dimensions has
    its units in the second dimension.

    Hooks on the modules report which module ran before. The hooks are removed as soon as every captured module has been
    called and all its calls agree, because each hook costs time in every pass.

    Args:
        given: The dimension, not 0; None to learn it.

    Raises:
        ValueError: If ``given`` is no integer, or 0.
    """

    def __init__(self, given: int | None) -> None:
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given == 0):
            raise ValueError(f"unit_dim must be an integer other than 0 (that of the samples), got {given!r}.")
        self._given = given
        self._latest: int | None = None  # of the output of the module that ran last; 0 if that has no batch
        self._latest_shape: torch.Size | None = None
        self._latest_rank: int | None = None
        self._unresolved: list[Read] = []
        self._of_call: dict[int, int | None] = {}  # by position, of calls of modules whose calls differ
        self._hooks: list[HookHandle] = []

    def attach(self, recorder: PassRecorder, model: nn.Module, reads: Iterable[tuple[Read, nn.Module]]) -> None:
        """Register the hooks on a model that are needed to learn the dimensions.

        Args:
            recorder: The recorder whose :meth:`~jumpstart.capture.hooks.PassRecorder.learn` the hooks call.
            model: The model.
            reads: The hooks that read preactivations, each with its module. If the output of a module is read, the
                type of that module decides the dimension.
        """
        for read, module in reads:
            if read.reads_input:
                self._unresolved.append(read)
            else:
                read.unit_dim, read.resolved, read.rank = _dim_after(module), True, _rank_after(module)
        if self._unresolved and self._given is None:
            for module in model.modules():
                dim = _dim_after(module)
                if dim is not None or _may_move_units(module):
                    self._hooks.append(after_module(module, Feed(recorder, dim, _rank_after(module))))

    @property
    def learning(self) -> bool:
        """Whether the hooks are attached."""
        return bool(self._hooks)

    @property
    def hooks(self) -> list[HookHandle]:
        """The handles of the hooks that are attached."""
        return list(self._hooks)

    def begin(self) -> None:
        """Start a pass: modules that ran before the pass decide nothing in it."""
        self._latest = self._latest_shape = self._latest_rank = None

    def forget(self) -> None:
        """Drop what belongs to the calls of the latest pass."""
        if self._of_call:
            self._of_call = {}

    def learn(self, dim: int | None, shape: torch.Size | None, rank: int | None) -> None:
        """Store the dimension of the units of the latest output, 0 without a batch, its shape and its rank."""
        self._latest, self._latest_shape, self._latest_rank = dim, shape, rank

    def note(self, read: Read, position: int, z: Tensor) -> None:
        """Store the dimension of the units of one call, learned from the module that ran before.

        Args:
            read: The hook that reads the preactivation.
            position: The position of the call in its pass.
            z: The preactivation.
        """
        latest = self._latest if self.learning else None
        if latest and self._latest_shape is not None:
            latest = moved_dim(latest, self._latest_shape, z.shape)
        if latest == 0:
            self._of_call[position] = 0
        elif not read.resolved:
            read.unit_dim, read.resolved = latest, True
            read.rank = self._latest_rank if position == 0 and z.dim() == self._latest_rank else None
            read.quick = self.quick(read)
        elif read.reads_input:
            read.varies = read.varies or (z.dim() > 2 and read.unit_dim != latest)
            if read.varies:
                self._of_call[position] = latest

    def end(self) -> None:
        """End a pass. The hooks are removed if there is nothing left to learn."""
        if is_compiling() or not self.learning:
            return
        for read in self._unresolved:
            read.quick = _is_quick(read)
        self._unresolved = [read for read in self._unresolved if read.varies or not read.resolved]
        if not self._unresolved:
            for handle in self._hooks:
                handle.remove()
            self._hooks = []

    def quick(self, read: Read) -> bool:
        """Whether the dimensions of a captured module are settled, so that its calls need no :meth:`note`."""
        return not self.learning and _is_quick(read)

    def second(self, read: Read, position: int, z: Tensor) -> bool:
        """Whether the units of a tensor of three dimensions or more are in dimension 1. False if that is not known."""
        dim = self._dim(read, position, z)
        return dim is not None and dim % z.dim() == 1

    def _dim(self, read: Read, position: int, z: Tensor) -> int | None:
        """The given or learned dimension of the units of a tensor of three dimensions or more."""
        dim = self._given if self._given is not None else self._of_call.get(position, read.unit_dim)
        return 1 if dim is None and z.dim() > 3 else dim

    def of(self, read: Read, position: int, z: Tensor) -> int:
        """The dimension of the units of one preactivation, from 1.

        Args:
            read: The hook that has read the preactivation.
            position: The position of the call in its pass.
            z: The preactivation.

        Raises:
            ValueError: If the tensor has one dimension, or not the given one, or if the dimension is not known.
        """
        dims = z.dim()
        dim = self._dim(read, position, z)
        # The first call of a pass gets tensors of one rank; a module that is called later may be shared.
        lacking = read.rank is not None and dims < read.rank and (position == 0 or not read.reads_input)
        if dims < 2 or dim == 0 or lacking:
            raise ValueError(
                f"the preactivation of {read.name!r} has shape ({sizes_of(z)}), but needs a dimension of samples and "
                "one of units. Run the model on a batch: x.unsqueeze(0) makes a batch of a single sample."
            )
        if dims == 2:
            return 1
        if dim is None:
            raise ValueError(
                f"the preactivation of {read.name!r} has shape ({sizes_of(z)}), and no module before it tells "
                "which dimension holds its units. Give the dimension of its units: unit_dim=-1 for (N, T, C), "
                "unit_dim=1 for (N, C, T)."
            )
        if not -dims < dim < dims:
            raise ValueError(
                f"unit_dim must be one of 1 to {dims - 1} or negative for the {dims}-dimensional preactivation of "
                f"{read.name!r}, got {dim}. Dimension 0 is that of the samples."
            )
        return dim % dims


def moved_dim(dim: int, before: torch.Size, after: torch.Size) -> int | None:
    """The dimension of the units after functions that reshape or permute the output of a module.

    Args:
        dim: The dimension of the units in the output, from the start or from the end.
        before: The shape of the output.
        after: The shape of the preactivation.

    Returns:
        ``dim`` if the units are still there; -1 for the last dimension; None if the shapes do not tell.

    Example:
        >>> moved_dim(1, torch.Size([2, 8, 5, 5]), torch.Size([2, 25, 8]))
        -1
    """
    if len(after) < 3 or before == after:
        return dim
    found = [i for i in range(1, len(after)) if after[i] == before[dim]]
    if len(before) == len(after):
        if sorted(before) != sorted(after) or len(found) != 1:  # pooled, cut or joined, and not permuted
            return dim
    elif len(found) != 1:
        return None if found and dim > 0 else dim
    (place,) = found
    return -1 if place == len(after) - 1 else place


def _is_quick(read: Read) -> bool:
    return bool(read.resolved and not read.varies and read.batch_first) and read.after is NextOp.READS


def sizes_of(z: Tensor) -> str:
    """The shape of a tensor for a message.

    Example:
        >>> import torch
        >>> sizes_of(torch.zeros(2, 3))
        '2x3'
    """
    return "x".join(map(str, z.shape))


def _dim_after(module: nn.Module) -> int | None:
    """The dimension that holds the units in the output of a module; None if its type does not decide it."""
    if isinstance(module, _UNITS_LAST):
        return -1
    return 1 if isinstance(module, _UNITS_SECOND) else None


def _rank_after(module: nn.Module) -> int | None:
    """The dimensions of a batch in the output of a module that also takes a single sample; None for any other."""
    return next((rank for kind, rank in _RANKS.items() if isinstance(module, kind)), None)


def _may_move_units(module: nn.Module) -> bool:
    """Whether a module may put its units in any dimension: True for unknown modules without children."""
    file = type(module).__module__.removeprefix("torch.nn.modules.")
    known = (
        _dim_after(module) is not None
        or is_activation(module)
        or isinstance(module, _UNITS_UNMOVED)
        or file in _FILES_UNITS_UNMOVED
    )
    return not known and next(module.children(), None) is None
