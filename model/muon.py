"""The optimizer Muon for a whole network: torch's, which takes matrices alone, with AdamW for the other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """``torch.optim.Muon`` for the weights of the hidden layers, and ``torch.optim.AdamW`` for all other parameters.

    Muon replaces the step of a matrix by the nearest one whose singular values are all about 1, so every direction of
    the weights moves by about as much. The weights of a convolution count as a matrix with a row for each output
    channel. A step is scaled to the size that it would have with AdamW, so one learning rate serves all parameters.

    Args:
        parameters: The parameters, in the order of the layers. Of those with two or more dimensions, all but the first
            (of the input) and the last (of the output) are the weights of the hidden layers.
        lr: Learning rate.
        momentum: Momentum of the weights of the hidden layers, in Nesterov's form.
        betas: Decay rates of the first and of the second moment of AdamW.
        eps: Number that AdamW adds to the root of the second moment.
        weight_decay: Weight decay of all parameters with two or more dimensions, decoupled from the gradient.
        fused: Whether AdamW is one kernel.

    Raises:
        ValueError: If there is no parameter.

    Source:
        *Muon: An optimizer for hidden layers in neural networks* (Jordan et al., 2024). The scale of a step is that of
        *Muon is Scalable for LLM Training* (Liu et al., 2025).

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> optimizer = Muon(network.parameters(), lr=0.01)
        >>> network(torch.ones(3, 2)).sum().backward()
        >>> optimizer.step()
        >>> [sorted(optimizer.state[layer.weight]) for layer in (network[0], network[2])]
        [['exp_avg', 'exp_avg_sq', 'step'], ['momentum_buffer']]
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool = True,
    ) -> None:
        parameters = list(parameters)
        weights = [parameter for parameter in parameters if parameter.dim() > 1]
        others = [parameter for parameter in parameters if parameter.dim() <= 1]
        adam = {"betas": betas, "eps": eps, "fused": fused}
        groups: list[dict[str, Any]] = [
            {"params": weights[1:-1], "weight_decay": weight_decay, "momentum": momentum},
            {"params": [*weights[:1], *weights[1:][-1:]], "weight_decay": weight_decay, **adam},
            {"params": others, "weight_decay": 0.0, **adam},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})
        self._share()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over groups and state, those of a checkpoint or of a copy."""
        super().__setstate__(dict(state))
        self._share()

    def _share(self) -> None:
        """Make the optimizer of the other parameters, which has its groups and its state in common with this one."""
        groups = [group for group in self.param_groups if "betas" in group]
        self._others = torch.optim.AdamW(groups) if groups else None
        if self._others is not None:
            self._others.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step with all parameters that have a gradient.

        Args:
            closure: Computes the loss and the gradients first; its value is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if "betas" not in group:
                self._step_matrices(group)
        if self._others is not None:
            self._others.step()
        return loss

    def _step_matrices(self, group: Mapping[str, Any]) -> None:
        state = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            matrix = _rows(parameter.detach(), like=parameter).view(len(parameter), -1)
            matrix.grad = _rows(parameter.grad, like=parameter).reshape(len(parameter), -1)
            state[matrix] = self.state[parameter]
        if not state:
            return
        muon = torch.optim.Muon(
            list(state),
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            adjust_lr_fn="match_rms_adamw",
        )
        muon.state.update(state)
        muon.step()


def _rows(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor with its dimensions in the order in which ``like`` lies in memory, so that this can be a matrix."""
    return tensor if like.is_contiguous() else tensor.movedim(1, -1)
