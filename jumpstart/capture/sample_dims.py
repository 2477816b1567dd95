"""Which dimension of a preactivation holds the samples: 0, or 1 in time-major layers (``batch_first=False``)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from jumpstart.capture.copies import HookHandle
from jumpstart.capture.hooks import PassRecorder, Read, Sizes, after_module
from jumpstart.capture.unit_dims import UnitDims
from jumpstart.words import some

_LAYERS: tuple[type[nn.Module], ...] = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Modules whose parts have the layout of their attention."""
_TIME_MAJOR: tuple[type[nn.Module], ...] = (nn.MultiheadAttention, nn.RNNBase)


class SampleDims:
    """The dimension of the samples of each preactivation of a model.

    A time-major tensor has the shape (T, N, C). The tensors inside of torch's transformer layers, and the outputs of
    recurrent and attention modules, have the layout that ``batch_first`` of these modules names. Any other tensor
    counts as batch-first, with a warning if it has 3 dimensions and the first two sizes of a time-major module of the
    model: the user must then say which layout it has.

    Args:
        given: Whether dimension 0 of all tensors holds the samples; None if the modules decide.

    Attributes:
        unsure: The names of the modules whose layout the user must give.

    Raises:
        ValueError: If ``given`` is neither None nor a truth value.
    """

    def __init__(self, given: bool | None) -> None:
        if given is not None and not isinstance(given, bool):
            raise ValueError(f"batch_first must be True, False or None (the modules decide), got {given!r}.")
        self._given = given
        self._times: set[torch.Size] = set()
        self._seen: dict[Read, set[torch.Size]] = {}
        self._hooks: list[HookHandle] = []
        self.unsure: list[str] = []

    def attach(self, recorder: PassRecorder, model: nn.Module, reads: Iterable[tuple[Read, nn.Module]]) -> None:
        """Settle the layout of the modules where it is known, and register hooks that help to find the others.

        Args:
            recorder: The recorder whose ``note_sizes`` the hooks call.
            model: The model.
            reads: The hooks that read preactivations, each with its module.
        """
        inside = {id(part): time_major(layer) for layer in model.modules() for part in _parts(layer)}
        others = [module for module in model.modules() if id(module) not in inside and time_major(module)]
        for read, module in reads:
            if self._given is not None:
                read.batch_first = self._given
            elif id(module) in inside:
                read.batch_first = not inside[id(module)]
            elif not read.reads_input and isinstance(module, _TIME_MAJOR):
                read.batch_first = not time_major(module)
            elif others or any(inside.values()):
                read.batch_first = None
                self._seen[read] = set()
        if self._seen:
            layers = [module for module in model.modules() if time_major(module)]
            self._hooks = [after_module(module, Sizes(recorder)) for module in layers]

    @property
    def hooks(self) -> list[HookHandle]:
        """The handles of the hooks that are attached."""
        return list(self._hooks)

    def note_sizes(self, shapes: Iterable[torch.Size]) -> None:
        """Store the first two sizes of time-major tensors of 3 dimensions."""
        self._times.update([torch.Size(shape[:2]) for shape in shapes if len(shape) == 3])

    def second(self, read: Read, position: int, z: Tensor, units: UnitDims) -> bool:
        """Whether the samples of a preactivation are in dimension 1, so that the tensor must be transposed.

        Args:
            read: The hook that has read the preactivation.
            position: The position of the call in its pass.
            z: The preactivation.
            units: The dimension of its units. If it is 1, that of the samples is 0.
        """
        last = z.dim() >= 3 and not units.second(read, position, z)
        if read.batch_first is None:
            self._seen[read].add(torch.Size(z.shape[:2] if last and z.dim() == 3 else ()))
        return last and read.batch_first is False

    def end(self) -> list[Read]:
        """End a pass: settle the layout of the modules that ran.

        Returns:
            The hooks whose layout was settled now.
        """
        settled = [read for read, sizes in self._seen.items() if sizes]
        for read in settled:
            read.batch_first = True
            if self._seen.pop(read) & self._times:
                self.unsure.append(read.name)
        self._times.clear()
        if settled and not self._seen:
            for handle in self._hooks:
                handle.remove()
            self._hooks = []
        return settled

    def warning(self) -> str | None:
        """What the user must be told, once; None if there is nothing."""
        if not self.unsure:
            return None
        names, self.unsure = some(self.unsure), []
        return (
            f"the preactivations of {names} may be time-major, (T, N, C): a module of the model has batch_first=False, "
            "and they have its first two sizes. Dimension 0 was taken for that of the samples. Say which it is: "
            "batch_first=False if dimension 1 holds the samples, else batch_first=True."
        )


def time_major(module: nn.Module) -> bool:
    """Whether a module says that its tensors are time-major: ``batch_first`` of it, or of its attention, is False."""
    attention = getattr(module, "self_attn", None) if isinstance(module, _LAYERS) else module
    return getattr(attention, "batch_first", None) is False


def _parts(layer: nn.Module) -> Iterable[nn.Module]:
    """The modules inside of a transformer layer, which have its layout; none inside of any other module."""
    return (part for part in layer.modules() if part is not layer) if isinstance(layer, _LAYERS) else ()
