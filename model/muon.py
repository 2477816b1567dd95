"""The optimizer Muon for a whole network: torch's, which takes matrices alone, with AdamW for the other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn


class Muon(torch.optim.Optimizer):
    """Muon for all weights but those of the first and of the last layer, AdamW for the rest, both of ``torch.optim``.

    Muon takes the momentum of a weight matrix, keeps its singular vectors, and sets its singular values to about 1. So
    every direction of the matrix moves by about as much. The weights of a convolution count as one matrix, with a row
    for each output channel, also if it has groups. The root mean square of a step is about 0.2 times the learning rate,
    as is usual with AdamW, so both have the same learning rate.

    Args:
        parameters: The parameters, in the order of the layers. Those with two or more dimensions are the weights. The
            parameters that require no gradient are left out.
        lr: Learning rate.
        momentum: Momentum of the matrices, in Nesterov's form. The default of torch's Muon is 0.95.
        betas: Decay rates of the first and of the second moment of AdamW.
        eps: Number that AdamW adds to the root of the second moment.
        weight_decay: Weight decay of all weights, decoupled from the gradient.
        fused: Whether AdamW updates its parameters in one kernel. Muon has no such kernel.

    Raises:
        ValueError: If no parameter requires a gradient, or a number is out of range.

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
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be >= 0 and < 1, got {momentum}. Usual values are 0.9 and 0.95.")
        parameters = list(parameters)
        weights = [parameter for parameter in parameters if parameter.dim() > 1]
        matrices = {id(weight) for weight in weights[1:-1]}
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        rest = [parameter for parameter in trained if id(parameter) not in matrices]
        groups: list[dict[str, Any]] = [
            {"params": [weight for weight in rest if weight.dim() > 1], "weight_decay": weight_decay},
            {"params": [bias for bias in rest if bias.dim() <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if groups:
            groups = torch.optim.AdamW(groups, lr, betas, eps, fused=fused).param_groups
        hidden = [parameter for parameter in trained if id(parameter) in matrices]
        if hidden:
            groups.insert(0, {"params": hidden, "momentum": momentum, "weight_decay": weight_decay})
        super().__init__(groups, {"lr": lr})
        self._share()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over groups and state, those of a checkpoint or of a copy."""
        super().__setstate__(dict(state))
        self._share()

    def _share(self) -> None:
        """Make the AdamW that has its groups and its state in common with this optimizer."""
        groups = [group for group in self.param_groups if "betas" in group]
        self._adam = torch.optim.AdamW(groups) if groups else None
        if self._adam is not None:
            self._adam.state = self.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse parameters that come later, which have no place in the order of the layers.

        Raises:
            ValueError: Always, once the optimizer is made.
        """
        if hasattr(self, "_adam"):
            raise ValueError(
                "Muon takes no further parameters. Make a new optimizer with all parameters of the network."
            )
        super().add_param_group(param_group)

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
        if self._adam is not None:
            self._adam.step()
        return loss

    def _step_matrices(self, group: Mapping[str, Any]) -> None:
        """One step of torch's Muon with matrices that share the memory of the parameters, or are copied back."""
        trained = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not trained:
            return
        matrices = [parameter.detach().flatten(1) for parameter in trained]
        muon = torch.optim.Muon(
            matrices,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            adjust_lr_fn="match_rms_adamw",
        )
        for parameter, matrix in zip(trained, matrices, strict=True):
            matrix.grad = parameter.grad.flatten(1)
            muon.state[matrix] = self.state[parameter]
        muon.step()
        for parameter, matrix in zip(trained, matrices, strict=True):
            if parameter.data_ptr() != matrix.data_ptr():  # a layout such as channels_last
                parameter.copy_(matrix.view_as(parameter))
