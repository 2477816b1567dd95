"""Which hidden units of a model are positive for an input, asked without leaving a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from jumpstart.capture.targets import Target, first_tensor

_SEED = 0


class Pattern:
    """Hooks that sum up a random number for every positive unit: equal sums, equal patterns.

    Two patterns of 64-bit sums are mistaken for one with a probability of 2**-64.
    """

    def __init__(self, targets: Sequence[Target], *, drop_last: bool) -> None:
        self._targets, self._drop_last = targets, drop_last
        self._sums: list[Tensor] = []
        self._numbers: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(_SEED)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks are on while this runs."""
        with ExitStack() as stack:
            for target in self._targets:
                if target.reads_input:
                    hook = target.module.register_forward_pre_hook(self._reader(target.name), with_kwargs=True)
                else:
                    hook = target.module.register_forward_hook(self._writer(target.name))
                stack.callback(hook.remove)
            yield

    def take(self, samples: int) -> Tensor:
        """The (samples,) sums of the pass that is over.

        Raises:
            ValueError: If no hidden layer was called, or one has other samples than the model.
        """
        sums = self._sums[:-1] if self._drop_last else self._sums
        self._sums = []
        if not sums:
            raise ValueError(
                "no hidden layer was called, so there is no activation pattern. Choose other ones: capture=[module "
                "names]."
            )
        for summed in sums:
            if len(summed) != samples:
                raise ValueError(
                    f"every hidden layer must have the samples of the model ({samples}) in its first dimension, one "
                    f"has {len(summed)}. Choose other ones: capture=[module names]."
                )
        return torch.stack(sums).sum(0).cpu()

    def _reader(self, name: str) -> Callable[..., None]:
        def read(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._add(first_tensor(args[0] if args else next(iter(kwargs.values())), name))

        return read

    def _writer(self, name: str) -> Callable[..., None]:
        def read(module: nn.Module, args: Any, output: Any) -> None:
            self._add(first_tensor(output, name))

        return read

    def _add(self, z: Tensor) -> None:
        positive = (z if z.dim() > 1 else z[:, None]).flatten(1) > 0
        call = len(self._sums)
        if call == len(self._numbers):
            low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
            made = torch.randint(low, high, positive.shape[1:], generator=self._generator)
            self._numbers.append(made.to(z.device))
        self._sums.append(torch.where(positive, self._numbers[call], 0).sum(1))
