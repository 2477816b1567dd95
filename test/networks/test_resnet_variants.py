"""ResNeXt and wide ResNets, other normalizations and biases: equal to torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from support.resnet_runs import tiny
from support.torchvision_resnets import published
from torch import nn
from torchvision import models

from model.errors import ConfigError
from model.resnet import NormLayer, ResNet
from model.resnet_conv import (
    resnet_conv,
    resnext50_32x4d_conv,
    resnext101_32x8d_conv,
    resnext101_64x4d_conv,
    wide_resnet50_2_conv,
    wide_resnet101_2_conv,
)
from model.resnet_dense import resnet_dense, wide_resnet50_2_dense, wide_resnet101_2_dense
from model.resnet_experiment import make_network

VARIANTS = {
    "resnext50_32x4d": resnext50_32x4d_conv,
    "resnext101_32x8d": resnext101_32x8d_conv,
    "resnext101_64x4d": resnext101_64x4d_conv,
    "wide_resnet50_2": wide_resnet50_2_conv,
    "wide_resnet101_2": wide_resnet101_2_conv,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_the_weights_of_torchvisions(name: str) -> None:
    with torch.device("meta"):
        theirs, ours = getattr(models, name)(), VARIANTS[name]()
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (theirs, ours)]
    assert shapes[0] == shapes[1]


@torch.no_grad()
def test_outputs_of_a_resnext_equal_torchvision() -> None:
    theirs, ours = published(50, name="resnext50_32x4d"), resnext50_32x4d_conv(num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 33, 32)
    expected = theirs(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", [nn.Identity, partial(nn.GroupNorm, 8), nn.InstanceNorm2d], ids=str)
@torch.no_grad()
def test_another_normalization_is_that_of_torchvision(norm: NormLayer) -> None:
    theirs, ours = published(18, norm_layer=norm), resnet_conv(18, 7, norm_layer=norm).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [resnet_conv, resnet_dense])
@pytest.mark.parametrize("use_batchnorm", [False, True])
@pytest.mark.parametrize("use_bias", [None, False, True])
def test_layers_have_biases_if_chosen_and_by_default_without_normalization(
    make: Callable[..., ResNet], use_batchnorm: bool, use_bias: bool | None
) -> None:
    with torch.device("meta"):
        network = make(50, use_batchnorm=use_batchnorm, use_bias=use_bias)
    has_bias = not use_batchnorm if use_bias is None else use_bias
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    assert len(layers) == 54
    assert {name for name, layer in layers.items() if layer.bias is not None} == ({*layers} if has_bias else {"fc"})


@pytest.mark.parametrize("make", [wide_resnet50_2_dense, wide_resnet101_2_dense])
def test_wide_dense_networks_have_the_widths_of_the_wide_convolutions(make: Callable[..., ResNet]) -> None:
    with torch.device("meta"):
        network = make(3, 5)
        conv = VARIANTS["wide_resnet50_2"](3)
    for stage in range(1, 5):
        dense, wanted = (getattr(model, f"layer{stage}")[1] for model in (network, conv))
        for number in range(1, 4):
            layer = getattr(dense, f"conv{number}")
            assert layer.weight.shape == getattr(wanted, f"conv{number}").weight.shape[:2]
        assert dense.conv1.out_features == 128 * 2 ** (stage - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_bias": "False"}, "use_bias must be True or False, got 'False'"),
        ({"groups": 1.5}, "groups must be an integer, got 1.5"),
        ({"width_per_group": None}, "width_per_group must be an integer, got None"),
        ({"norm_layer": "BatchNorm2d"}, "norm_layer must be a class such as torch.nn.BatchNorm2d, got 'BatchNorm2d'"),
        ({"norm_layer": nn.Identity()}, r"norm_layer must be a class such as torch.nn.BatchNorm2d, got Identity\(\)"),
    ],
)
@pytest.mark.parametrize("make", [resnet_conv, resnet_dense])
def test_options_of_the_wrong_type_are_refused(
    make: Callable[..., ResNet], options: dict[str, object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        make(50, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups must be >= 1, got 0"),
        ({"width_per_group": -4}, "width_per_group must be >= 1, got -4"),
        ({"depth": 34, "groups": 2}, "need the bottlenecks of depth >= 50, got depth=34, groups=2"),
        ({"depth": 18, "width_per_group": 128}, "need the bottlenecks of depth >= 50, got depth=18"),
        ({"groups": 2, "init": "looks_linear"}, "init='looks_linear' needs groups=1: .* got 2"),
        ({"width_per_group": 4, "width_multiplier": 0.5}, "of a stage of 8, got 4. Use 8 or more"),
        ({"use_batchnorm": False, "norm_layer": nn.BatchNorm2d}, "use_batchnorm must be True, got False"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        resnet_conv(**{"depth": 50, **options})


def test_dense_layers_have_no_groups() -> None:
    with pytest.raises(ValueError, match="groups > 1 needs convolutions, got 32 for fully connected layers"):
        resnet_dense(50, groups=32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups must be >= 1, got 0."),
        ({"width_per_group": 0}, "width_per_group must be >= 1, got 0."),
        ({"use_bias": 2}, "use_bias must be True or False or None, got 2."),
        ({"depth": 34, "groups": 2}, "groups and width_per_group need depth >= 50"),
        ({"groups": 2, "layer": "dense"}, "groups > 1 needs layer='conv', got layer='dense' and groups=2."),
        ({"groups": 2, "init": "looks_linear"}, "init='looks_linear' needs groups=1"),
        ({"strategy": "fsdp", "optimizer": "muon"}, "optimizer must be adam, adamw or sgd with strategy='fsdp'"),
        ({"strategy": "fsdp", "epochs": 4, "fresh_starts": 2}, "fresh_starts must be 1 with strategy='fsdp'"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(**{"depth": 50, **options})
    assert str(caught.value).startswith(message)


def test_flags_reach_the_network_its_name_and_its_words() -> None:
    config = tiny(depth=50, groups=32, width_per_group=4, use_bias=False, width_multiplier=2)
    with torch.device("meta"):
        network = make_network(config, (3, 8, 8), 10)
    conv = network.layer1[0].conv2
    assert (conv.groups, tuple(conv.weight.shape), conv.bias) == (32, (128, 4, 3, 3), None)
    assert config.label == "fake-resnet50-32x4d-lambda0.05-seed42"
    assert config.network == (
        "ResNet-50, width x2.0, 32 groups of width 4, without skip connections, without batch normalization, "
        "without biases"
    )
    assert tiny(depth=50).network == "ResNet-50, width x0.25, without skip connections, without batch normalization"
