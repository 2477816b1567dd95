"""Weights in shares: each process keeps a part of every weight, and has the whole of it while its block computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["load_whole_state", "shard", "whole_state"]


def shard(network: nn.Module, block: type[nn.Module], mesh: DeviceMesh) -> None:
    """Share the weights out among processes, block by block; a network in shares stays as it is.

    Args:
        network: Is changed: its weights become a ``DTensor`` each.
        block: Kind of the modules whose weights are put together and dropped again as one.
        mesh: The processes, in one dimension.
    """
    if isinstance(network, FSDPModule):
        return
    for module in network.modules():
        if isinstance(module, block):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights by name, without a graph; those of a network in shares are put together.

    Where it is in shares all the processes must call this: each sends the others what it has.

    Args:
        network: Stays as it is.

    Example:
        >>> sorted(whole_state(nn.Linear(2, 1)))
        ['bias', 'weight']
    """
    state = {name: value.detach() for name, value in network.state_dict().items()}
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}


def load_whole_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network, in shares or not, the weights of :func:`whole_state`.

    Args:
        network: Is changed.
        state: A whole tensor for every weight.
    """
    if not isinstance(network, FSDPModule):
        network.load_state_dict(state)
        return
    # Imported here: few runs need it, and all would wait for it.
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(network, dict(state), options=StateDictOptions(full_state_dict=True))
