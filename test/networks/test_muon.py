"""Muon: the steps of each parameter against torch's own optimizers, and its state in a checkpoint."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from support.runs import tiny
from torch import Tensor, nn

from model.muon import Muon
from model.optimization import LearningRate
from model.rectangular import RectangularNetwork
from model.resnet_conv import resnet_conv

OPTIONS = {"momentum": 0.8, "weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-4}


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 5, (1, 2)),
        nn.Flatten(),
        nn.Linear(45, 2),
    )


def gradients(model: nn.Module, seed: int, layout: torch.memory_format = torch.contiguous_format) -> None:
    x = torch.randn(6, 2, 7, 8, generator=torch.Generator().manual_seed(seed)).to(memory_format=layout)
    model.zero_grad()
    model(x).square().sum().backward()


def matrices(model: nn.Sequential) -> list[nn.Parameter]:
    return [model[2].weight, model[4].weight]  # type: ignore[list-item]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_torchs_muon_and_adamw(layout: torch.memory_format) -> None:
    model, plain = convolutions(), convolutions()
    model.to(memory_format=layout)
    optimizer = Muon(model.parameters(), 0.02, **OPTIONS)
    flat = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in matrices(plain)]
    muon = torch.optim.Muon(flat, 0.02, 0.1, 0.8, adjust_lr_fn="match_rms_adamw")
    rest = [parameter for parameter in plain.parameters() if all(parameter is not matrix for matrix in matrices(plain))]
    groups = [
        {"params": [p for p in rest if (p.dim() > 1) is decays], "weight_decay": 0.1 * decays}
        for decays in (True, False)
    ]
    adam = torch.optim.AdamW(groups, 0.02, (0.8, 0.9), 1e-4, fused=True)
    for step in range(4):
        gradients(model, step, layout)
        gradients(plain, step)
        for matrix, weight in zip(flat, matrices(plain), strict=True):
            matrix.grad = weight.grad.flatten(1)
        for each in (optimizer, muon, adam):
            each.step()
        for matrix, weight in zip(flat, matrices(plain), strict=True):
            weight.data.copy_(matrix.view(weight.shape))
    assert all(weight.is_contiguous(memory_format=layout) for weight in matrices(model))
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        # Convolutions sum in another order with channels_last.
        torch.testing.assert_close(one, other, rtol=0, atol=0 if layout == torch.contiguous_format else 2e-3)


def test_every_direction_of_a_hidden_matrix_moves_by_about_as_much() -> None:
    torch.manual_seed(0)
    layers = [nn.Parameter(torch.randn(8, 8)) for _ in range(3)]
    before = layers[1].detach().clone()
    optimizer = Muon(layers, 0.1)
    stretched = torch.linalg.qr(torch.randn(8, 8)).Q * torch.logspace(0, -2, 8)
    for layer in layers:
        layer.grad = stretched.clone()
    optimizer.step()
    values = torch.linalg.svdvals(before - layers[1]) / (0.1 * 0.2 * 8**0.5)
    assert values.min() > 0.4
    assert values.max() < 1.3


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_hidden_weights_of_a_network_are_those_between_input_and_output(depth: int) -> None:
    network = RectangularNetwork((3,), 2, depth=depth, width=4)
    optimizer = Muon(network.parameters(), 0.1)
    network(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    by_muon = {id(parameter) for parameter, state in optimizer.state.items() if "momentum_buffer" in state}
    assert by_muon == {id(parts.linear.weight) for parts in network.layers[1:]}
    assert len(optimizer.state) == len(list(network.parameters()))


def test_the_hidden_weights_of_a_resnet_are_those_of_its_blocks() -> None:
    network = resnet_conv(18, 10, 1, stem="small", width_multiplier=0.5)
    optimizer = Muon(network.parameters(), 0.1)
    (hidden,) = [group["params"] for group in optimizer.param_groups if "betas" not in group]
    blocks = {name for name, parameter in network.named_parameters() if any(parameter is matrix for matrix in hidden)}
    convolutions = {name for name, parameter in network.named_parameters() if parameter.dim() == 4}
    assert blocks == convolutions - {"conv1.weight"}
    assert "fc.weight" not in blocks


def test_a_rate_that_changes_reaches_every_parameter() -> None:
    model = convolutions()
    optimizer = Muon(model.parameters(), 1.0)
    rate = LearningRate(tiny(lr=1.0, scheduler="multistep", milestones=(1,), gamma=0.0078125, epochs=2), optimizer)
    steps = []
    for epoch in range(2):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        gradients(model, 0)
        optimizer.step()
        steps.append([(b - p).abs().max() for b, p in zip(before, model.parameters(), strict=True)])
        rate.step(epoch, 1.0)
    assert all(0 < later < 0.1 * first for first, later in zip(*steps, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("way", ["checkpoint", "copy"])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(way: str, layout: torch.memory_format) -> None:
    model = convolutions().to(memory_format=layout)
    optimizer = Muon(model.parameters(), 0.02, **OPTIONS)
    for step in range(3):
        gradients(model, step, layout)
        optimizer.step()
    if way == "copy":
        other, continued = copy.deepcopy((model, optimizer))
    else:
        file = io.BytesIO()
        torch.save((model.state_dict(), optimizer.state_dict()), file)
        file.seek(0)
        weights, state = torch.load(file, weights_only=True)
        other = convolutions().to(memory_format=layout)
        other.load_state_dict(weights)
        continued = Muon(other.parameters(), 0.7)
        continued.load_state_dict(state)
    for step in range(3, 6):
        for each, its in ((model, optimizer), (other, continued)):
            gradients(each, step, layout)
            its.step()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))


def test_a_closure_computes_the_gradient_and_its_loss_is_returned() -> None:
    model = convolutions()
    optimizer = Muon(model.parameters(), 0.02)

    def closure() -> float:
        assert torch.is_grad_enabled()
        gradients(model, 0)
        return 1.5

    before = [parameter.detach().clone() for parameter in model.parameters()]
    assert optimizer.step(closure) == 1.5
    assert optimizer.step() is None
    assert not any(torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True))


def test_parameters_without_a_gradient_stay() -> None:
    model = convolutions()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = Muon(model.parameters(), 0.02, **OPTIONS)
    optimizer.step()
    assert all(torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True))
    gradients(model, 0)
    model[2].weight.grad = None
    optimizer.step()
    same = [torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True)]
    assert same == [parameter is model[2].weight for parameter in model.parameters()]


def test_a_fresh_start_forgets_the_momentum() -> None:
    runs: list[list[Tensor]] = []
    for steps in (0, 3):
        model = convolutions()
        optimizer = Muon(model.parameters(), 0.02)
        for step in range(steps):
            gradients(model, step)
            optimizer.step()
        model.load_state_dict(convolutions().state_dict())
        optimizer.state.clear()
        gradients(model, 7)
        optimizer.step()
        runs.append(list(model.parameters()))
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        Muon([], 0.1)


def test_a_network_of_one_layer_is_trained_by_adamw_with_the_defaults_of_torch() -> None:
    layers = [nn.Linear(3, 2), nn.Linear(3, 2)]
    layers[1].load_state_dict(layers[0].state_dict())
    optimizers = [Muon(layers[0].parameters(), 0.02), torch.optim.AdamW(layers[1].parameters(), 0.02, weight_decay=0.0)]
    for step in range(3):
        for layer, optimizer in zip(layers, optimizers, strict=True):
            layer.zero_grad()
            layer(torch.arange(6.0).view(2, 3) - step).square().sum().backward()
            optimizer.step()
    for one, other in zip(*(layer.parameters() for layer in layers), strict=True):
        torch.testing.assert_close(one, other)


def test_the_momentum_is_that_of_the_options_unless_it_is_given() -> None:
    models = [convolutions(), convolutions()]
    optimizers = [Muon(models[0].parameters(), 0.02), Muon(models[1].parameters(), 0.02, momentum=tiny().momentum)]
    for step in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            gradients(model, step)
            optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in models), strict=True))


def test_frozen_layers_count_in_the_order_and_stay() -> None:
    model = convolutions()
    model[0].requires_grad_(requires_grad=False)
    model[4].requires_grad_(requires_grad=False)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = Muon(model.parameters(), 0.02, **OPTIONS)
    gradients(model, 0)
    optimizer.step()
    assert "momentum_buffer" in optimizer.state[model[2].weight]
    same = [torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True)]
    assert same == [not parameter.requires_grad for parameter in model.parameters()]


def test_a_weight_of_any_layout_is_trained() -> None:
    torch.manual_seed(0)
    layouts = [torch.randn(4, 3, 5), torch.randn(3, 4, 5).transpose(0, 1), torch.randn(4, 3, 10)[..., ::2]]
    moved = []
    for layout in layouts:
        weight = nn.Parameter(layout)
        weight.data = layout.copy_(torch.arange(60.0).sin().view(4, 3, 5))
        optimizer = Muon([nn.Parameter(torch.ones(2, 2)), weight, nn.Parameter(torch.ones(2, 2))], 0.1)
        weight.grad = torch.arange(60.0).cos().view(4, 3, 5)
        optimizer.step()
        assert weight.stride() == layout.stride()
        moved.append(weight.detach().contiguous())
    assert torch.equal(moved[0], moved[1])
    assert torch.equal(moved[0], moved[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum must be >= 0 and < 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be >= 0 and < 1, got -0.1"),
        ({"betas": (1.5, 0.9)}, "Invalid beta parameter"),
        ({"eps": -1.0}, "Invalid epsilon"),
        ({"lr": -0.1}, "Invalid learning rate"),
    ],
)
def test_a_number_out_of_range_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Muon(convolutions().parameters(), **{"lr": 0.1, **options})  # type: ignore[arg-type]


def test_without_momentum_a_step_depends_on_its_own_gradient_alone() -> None:
    steps = []
    for first in (0, 1):
        weights = [nn.Parameter(torch.zeros(3, 3)) for _ in range(3)]
        optimizer = Muon(weights, 0.1, momentum=0.0)
        for seed in (first, 5):
            before = weights[1].detach().clone()
            weights[1].grad = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
        steps.append(before - weights[1].detach())
    torch.testing.assert_close(*steps)
    assert steps[0].abs().min() > 1e-4


def test_parameters_that_come_later_are_refused() -> None:
    optimizer = Muon(convolutions().parameters(), 0.1)
    with pytest.raises(ValueError, match="Make a new optimizer with all parameters"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert len(optimizer.param_groups) == 3
