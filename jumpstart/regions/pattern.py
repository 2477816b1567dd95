"""Activation patterns: which hidden units of a model are positive for an input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from jumpstart.capture.targets import Target, first_tensor

_SEED = 0


class Pattern:
    """Hooks that add up a random number for every positive unit, so that equal patterns have equal sums.

    The sums are 64-bit codes. Two different patterns have the same code with a probability of 2**-64.

    Args:
        targets: The hidden layers.
        drop_last: Leave out the layer that is called last.
    """

    def __init__(self, targets: Sequence[Target], *, drop_last: bool) -> None:
        self._targets, self._drop_last = targets, drop_last
        self._sums: list[Tensor] = []
        self._numbers: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(_SEED)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Attach the hooks, and remove them at the end of the block."""
        with ExitStack() as stack:
            for target in self._targets:
                if target.reads_input:
                    hook = target.module.register_forward_pre_hook(self._input_hook(target.name), with_kwargs=True)
                else:
                    hook = target.module.register_forward_hook(self._output_hook(target.name))
                stack.callback(hook.remove)
            yield

    def pop_codes(self, samples: int) -> Tensor:
        """Return the codes of the latest forward pass, and clear them for the next pass.

        Args:
            samples: Samples of the pass.

        Returns:
            (samples,) 64-bit integers on the CPU.

        Raises:
            ValueError: If no hidden layer was called, or one has another number of samples than the model.
        """
        sums = self._sums[:-1] if self._drop_last else self._sums
        self._sums = []
        if not sums:
            raise ValueError(
                "no hidden layer was called, so there is no activation pattern. Choose other ones: capture=[module "
                "names]."
            )
        for layer in sums:
            if len(layer) != samples:
                raise ValueError(
                    f"every hidden layer must have the samples of the model ({samples}) in its first dimension, one "
                    f"has {len(layer)}. Choose other ones: capture=[module names]."
                )
        return torch.stack(sums).sum(0).cpu()

    def _input_hook(self, name: str) -> Callable[..., None]:
        def add_input(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
            self._add(first_tensor(args[0] if args else next(iter(kwargs.values())), name))

        return add_input

    def _output_hook(self, name: str) -> Callable[..., None]:
        def add_output(module: nn.Module, args: tuple[object, ...], output: object) -> None:
            self._add(first_tensor(output, name))

        return add_output

    def _add(self, z: Tensor) -> None:
        """Add up the random numbers of the positive units of one layer call.

        The numbers of a call are drawn in the first pass, and are the same in every pass.
        """
        positive = (z if z.dim() > 1 else z[:, None]).flatten(1) > 0
        call = len(self._sums)
        if call == len(self._numbers):
            low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
            numbers = torch.randint(low, high, positive.shape[1:], generator=self._generator)
            self._numbers.append(numbers.to(z.device))
        self._sums.append(torch.where(positive, self._numbers[call], 0).sum(1))
