"""Rectangular networks: shapes, parameters, skip connections, initial weights and errors, against slow references."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.activations import activation_gain, activation_names, resolve_activation
from model.choices import SkipKind
from model.config.rectangular import RectangularConfig
from model.rectangular import RectangularNetwork

IMAGE = (3, 9, 8)
NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "dense": ((5,), {"depth": 7, "width": 4}),
    "shallow": ((5,), {"depth": 1, "width": 3}),
    "dense image": (IMAGE, {"depth": 2, "width": 3}),
    "normalized": ((5,), {"depth": 3, "use_batchnorm": True, "dropout": 0.2}),
    "skips": ((5,), {"depth": 8, "skip_connections": 3}),
    "published skips": ((5,), {"depth": 8, "skip_connections": 3, "skip_kind": "published", "use_batchnorm": True}),
    "conv": (IMAGE, {"depth": 3, "layer": "conv"}),
    "published conv skips": (
        IMAGE,
        {"depth": 7, "layer": "conv", "pool_at": (2, 3), "skip_connections": 2, "skip_kind": "published"},
    ),
    "even kernel": (IMAGE, {"depth": 3, "layer": "conv", "kernel_size": 4}),
    "pooled": (IMAGE, {"depth": 4, "layer": "conv", "pool_at": (1, 3), "use_batchnorm": True}),
    "global": (IMAGE, {"depth": 4, "layer": "conv", "pool_at": (2,), "head": "global"}),
    "conv skips": (
        IMAGE,
        {"depth": 7, "layer": "conv", "pool_at": (2, 4), "skip_connections": 2, "dropout": 0.1},
    ),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str, **changes: object) -> tuple[RectangularNetwork, Tensor]:
    shape, options = NETWORKS[name]
    torch.manual_seed(0)
    return RectangularNetwork(shape, 3, **{**options, **changes}), torch.randn(6, *shape)


def weighted(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def active_relu_net(**options: object) -> RectangularNetwork:
    """A network in which every layer has outputs other than zero, so that a wrong sum changes the logits."""
    return RectangularNetwork((5,), 3, width=6, init="kaiming", **options)


def reference(net: RectangularNetwork, x: Tensor, span: int | None, pools: Sequence[int]) -> Tensor:
    """The network of the docstring, written with functions; a list holds the output of every layer."""
    outputs: list[Tensor] = []
    dense = "linear" in dict(net.layers[0].named_children())
    h = x.flatten(1) if dense else x
    for number, layer in enumerate(net.layers, 1):
        if dense:
            z = F.linear(h, layer.linear.weight, layer.linear.bias)
        else:
            pad = layer.conv.kernel_size[0] - 1
            h = F.pad(h, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
            z = F.conv2d(h, layer.conv.weight, layer.conv.bias)
        if hasattr(layer, "norm"):
            norm = layer.norm
            z = F.batch_norm(z, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        later: Tensor | int = 0
        if span is not None and number > span and (number - 1) % span == 0:
            past = outputs[number - span - 1]
            for between in range(number - span + 1, number):
                if between in pools:
                    past = F.max_pool2d(past, 2)
            z, later = (z + past, 0) if net.skip_kind == "preactivation" else (z, past)
        h = type(layer.activation)()(z) + later
        if number in pools:
            h = F.max_pool2d(h, 2)
        outputs.append(h)
    if isinstance(net.head, nn.Sequential):
        h = h.mean((2, 3))
    return F.linear(h.flatten(1), net.output.weight, net.output.bias)


@every_network
def test_outputs_are_logits_of_every_sample(name: str) -> None:
    net, x = build(name)
    assert net(x).shape == (6, 3)
    assert net.eval()(x[:1]).shape == (1, 3)


@every_network
def test_outputs_equal_the_reference(name: str) -> None:
    net, x = build(name, init="kaiming")
    options = NETWORKS[name][1]
    net(x)
    net.eval()
    expected = reference(net, x, options.get("skip_connections"), options.get("pool_at", ()))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "leaky_relu", "sigmoid", "prelu"])
@pytest.mark.parametrize("span", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", SkipKind)
def test_skips_are_the_same_for_every_activation(activation: str, span: int, kind: SkipKind) -> None:
    torch.manual_seed(0)
    net = active_relu_net(depth=8, activation=activation, skip_connections=span, skip_kind=kind)
    x = torch.randn(6, 5)
    expected = reference(net, x, span, ())
    torch.testing.assert_close(net(x), expected)
    net.skip_connections = None
    assert not torch.allclose(net(x), expected)


def test_a_hook_on_the_activation_receives_the_sum_with_the_skip() -> None:
    torch.manual_seed(0)
    net = active_relu_net(depth=4, skip_connections=2)
    seen: dict[str, Tensor] = {}
    for i, layer in enumerate(net.layers):
        layer.activation.register_forward_hook(lambda _, args, out, i=i: seen.update({f"z{i}": args[0], f"h{i}": out}))
    net(torch.randn(6, 5))
    expected = net.layers[2].linear(seen["h1"]) + seen["h0"]
    torch.testing.assert_close(seen["z2"], expected)
    torch.testing.assert_close(seen["z3"], net.layers[3].linear(seen["h2"]))


@pytest.mark.parametrize("kind", SkipKind)
def test_a_network_says_where_its_skip_connections_are_added(kind: SkipKind) -> None:
    net = RectangularNetwork((2,), 2, depth=3, skip_connections=2, skip_kind=kind)
    assert repr(net).startswith(f"RectangularNetwork(\n  skip_connections=2, skip_kind='{kind.value}'\n")
    words = RectangularConfig(depth=3, skip_connections=2, skip_kind=kind.value).network
    where = {"preactivation": "before", "published": "after"}[kind]
    assert words == f"3 layers of 4 units, skip connections over 2 layers added {where} the activation"
    assert RectangularConfig(depth=3).network == "3 layers of 4 units"


def test_a_plain_network_is_a_sequence_of_layers() -> None:
    torch.manual_seed(3)
    net = RectangularNetwork((2,), 2, depth=6, width=5)
    torch.manual_seed(3)
    parts: list[nn.Module] = []
    for features in (2, 5, 5, 5, 5, 5):
        parts += [nn.Linear(features, 5), nn.ReLU()]
    plain = nn.Sequential(*parts, nn.Linear(5, 2))
    x = torch.randn(20, 2)
    assert torch.equal(net(x), plain(x))
    net(x).square().sum().backward()
    plain(x).square().sum().backward()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("depth", [1, 2, 50])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_parameters_of_dense_networks(depth: int, batchnorm: bool) -> None:
    f, w, c = 7, 4, 3
    net = RectangularNetwork((f,), c, depth=depth, width=w, use_batchnorm=batchnorm)
    expected = (f * w + w) + (depth - 1) * (w * w + w) + (w * c + c) + depth * 2 * w * batchnorm
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize(("head", "places"), [("flatten", 4 * 2), ("global", 1)])
def test_parameters_of_conv_networks(kernel: int, head: str, places: int) -> None:
    w, c, depth = 4, 3, 5
    net = RectangularNetwork(IMAGE, c, depth=depth, width=w, layer="conv", kernel_size=kernel, pool_at=(5,), head=head)
    places = 1 if head == "global" else (9 // 2) * (8 // 2)
    area = kernel * kernel
    expected = (3 * area * w + w) + (depth - 1) * (w * area * w + w) + (w * places * c + c)
    assert sum(p.numel() for p in net.parameters()) == expected
    assert net(torch.randn(2, *IMAGE)).shape == (2, 3)


@every_network
def test_every_activation_is_its_own_and_not_in_place(name: str) -> None:
    net, x = build(name, activation="leaky_relu")
    named = {n: m for n, m in net.named_modules() if isinstance(m, nn.LeakyReLU)}
    depth = NETWORKS[name][1]["depth"]
    assert isinstance(depth, int)
    assert list(named) == [f"layers.{i}.activation" for i in range(depth)]
    calls: list[Tensor] = []
    copies: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        calls.append(args[0])
        copies.append(args[0].detach().clone())

    for module in named.values():
        module.register_forward_pre_hook(keep)
    net(x)
    assert len(calls) == depth
    assert all(torch.equal(now, then) for now, then in zip(calls, copies, strict=True))


def test_modules_of_a_layer_are_in_order() -> None:
    options: dict[str, object] = {"use_batchnorm": True, "dropout": 0.1}
    dense = RectangularNetwork((2,), 2, depth=2, **options)
    conv = RectangularNetwork(IMAGE, 2, depth=2, layer="conv", pool_at=[1], kernel_size=2, **options)
    assert list(dict(dense.layers[0].named_children())) == [
        "linear", "norm", "activation", "dropout",
    ]  # fmt: skip
    assert list(dict(conv.layers[0].named_children())) == [
        "pad", "conv", "norm", "activation", "dropout", "pool",
    ]  # fmt: skip
    assert not hasattr(conv.layers[1], "pool")


@pytest.mark.parametrize("name", ["dense", "normalized", "conv", "pooled"])
def test_constant_initial_weights(name: str) -> None:
    for init, value in (("zero", 0.0), ("constant", 0.25), ("constant", -3)):
        net, _ = build(name, init=init, init_value=value)
        for module in weighted(net):
            assert torch.equal(module.weight, torch.full_like(module.weight, value))
            assert not module.bias.any()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.weight.eq(1).all()
                assert not module.bias.any()


@pytest.mark.parametrize("layer", ["dense", "conv"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "selu"])
def test_random_initial_weights_have_the_right_spread(layer: str, activation: str) -> None:
    def net(init: str) -> RectangularNetwork:
        torch.manual_seed(0)
        options: dict[str, object] = {"depth": 2, "width": 64, "layer": layer, "init": init}
        return RectangularNetwork((40, 6, 6), 50, activation=activation, **options)

    gain = activation_gain(resolve_activation(activation))
    for module in weighted(net("kaiming")):
        fan_in = module.weight[0].numel()
        assert module.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.05)
        assert (module.weight.abs() > 2.5 * gain / math.sqrt(fan_in)).any()
        assert not module.bias.any()
    for module in weighted(net("glorot")):
        place = module.weight[0, 0].numel()
        fans = (module.weight.shape[0] + module.weight.shape[1]) * place
        limit = math.sqrt(6 / fans)
        assert module.weight.abs().max().item() == pytest.approx(limit, rel=0.02)
        assert module.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert not module.bias.any()
    for module in weighted(net("torch")):
        limit = 1 / math.sqrt(module.weight[0].numel())
        assert module.weight.abs().max().item() == pytest.approx(limit, rel=0.02)
        assert module.bias.any()


@pytest.mark.parametrize("kernel", [None, 1, 2, 3, 4])
def test_identity_passes_the_input_of_every_hidden_layer_on(kernel: int | None) -> None:
    conv: dict[str, object] = {} if kernel is None else {"layer": "conv", "kernel_size": kernel, "head": "global"}
    shape = (4,) if kernel is None else (4, 5, 6)
    net = RectangularNetwork(shape, 4, depth=4, width=4, init="identity", init_noise=0.0, **conv)
    x = torch.rand(3, *shape)
    for parts in net.layers[1:]:
        assert torch.equal(parts(x), x)
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert weights[0].unique().numel() == weights[0].numel()  # square, and not the identity
    assert weights[-1].unique().numel() == 16
    for weight in (weights[0], weights[-1]):
        field = weight[0, 0].numel()
        bound = math.sqrt(6 / (8 * field))
        assert 0.5 * bound < weight.abs().max() <= bound
    assert all(not module.bias.any() for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d))


def test_the_noise_of_identity_has_its_standard_deviation() -> None:
    torch.manual_seed(0)
    net = RectangularNetwork((3,), 2, depth=2, width=200, init="identity", init_noise=0.05)
    noise = net.layers[1].linear.weight - torch.eye(200)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean().item()) < 1e-3


@pytest.mark.parametrize(
    ("name", "gain"),
    [("relu", math.sqrt(2)), ("leaky_relu", math.sqrt(2 / (1 + 0.01**2))), ("selu", 1.0)],
)
def test_gains_known_in_closed_form(name: str, gain: float) -> None:
    assert activation_gain(resolve_activation(name)) == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "selu", "softsign"])
def test_kaiming_keeps_the_second_moment_over_twenty_layers(activation: str) -> None:
    torch.manual_seed(0)
    net = RectangularNetwork((512,), 2, depth=20, width=512, init="kaiming", activation=activation)
    h = torch.randn(64, 512)
    for layer in net.layers:
        h = layer(h)
    gain = activation_gain(resolve_activation(activation))
    assert 0.5 < gain**2 * h.square().mean().item() < 2.0


@pytest.mark.parametrize("name", activation_names())
def test_every_listed_activation_runs(name: str) -> None:
    net = RectangularNetwork((3,), 2, depth=2, activation=name, init="kaiming")
    assert type(net.layers[0].activation) is resolve_activation(name)
    out = net(torch.randn(4, 3))
    assert out.isfinite().all()


def test_activation_names_ignore_case_underscores_and_hyphens() -> None:
    for name in ("relu", "ReLU", "RELU", "re_lu"):
        assert resolve_activation(name) is nn.ReLU
    for name in ("leaky_relu", "LeakyReLU", "leaky-relu"):
        assert resolve_activation(name) is nn.LeakyReLU
    assert {"relu", "gelu", "elu", "silu", "tanh", "prelu"} <= set(activation_names())
    assert not {"glu", "softmax", "threshold", "multiheadattention"} & set(activation_names())
    assert list(activation_names()) == sorted(activation_names())


@every_network
def test_gradients_reach_the_first_layer(name: str) -> None:
    net, x = build(name, activation="gelu", init="kaiming")
    net(x).square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
    assert net.layers[0][0 if name != "even kernel" else 1].weight.grad.any()


@every_network
def test_a_copy_is_equal_and_shares_nothing(name: str) -> None:
    net, x = build(name)
    net(x)
    net.eval()
    expected = net(x)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), expected)
        with torch.no_grad():
            twin.layers[0].activation = nn.Sigmoid()
            assert not torch.equal(twin(x), expected)
        assert torch.equal(net(x), expected)


@every_network
def test_a_state_dict_restores_the_outputs(name: str) -> None:
    net, x = build(name)
    other, _ = build(name, init="zero")
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(x), net.eval()(x))


def test_dropout_is_off_in_evaluation() -> None:
    net, x = build("dense", dropout=0.5, init="constant", init_value=1.0)
    x = x.abs()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_the_deepest_pooling_leaves_one_pixel() -> None:
    options: dict[str, object] = {"depth": 3, "layer": "conv", "pool_at": (1, 2, 3)}
    net = RectangularNetwork((1, 8, 15), 2, **options)
    assert net(torch.randn(2, 1, 8, 15)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"7x15.*3 poolings: use at most 2"):
        RectangularNetwork((1, 7, 15), 2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be >= 1, got 0"),
        ({"width": -1}, "width must be >= 1, got -1"),
        ({"num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"input_shape": ()}, "input_shape must have at least one size"),
        ({"input_shape": (0,)}, "every size in input_shape must be >= 1, got 0"),
        ({"activation": "rellu"}, "activation must be one of .*, got 'rellu'. Did you mean 'relu'"),
        ({"activation": "glu"}, "activation must be one of .* Did you mean 'gelu'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, "dropout must be in"),
        ({"dropout": math.nan}, "dropout must be finite"),
        ({"skip_connections": 0}, "skip_connections must be >= 1, got 0"),
        ({"skip_kind": "postactivation"}, "skip_kind must be one of preactivation, published, got 'postactivation'"),
        ({"skip_kind": "published"}, "skip_kind='published' needs skip_connections, got None"),
        ({"depth": 5, "skip_connections": 5}, r"must be below depth \(5\).*got 5.*None"),
        ({"init": "kaimming"}, "init must be one of .* Did you mean 'kaiming'"),
        ({"init_value": math.inf}, "init_value must be finite"),
        ({"init_noise": -0.1}, "init_noise must be >= 0, got -0.1"),
        ({"layer": "convolution"}, "layer must be one of dense, conv, got 'convolution'"),
        ({"layer": "conv"}, r"needs input_shape=\(channels, height, width\), got \(5,\).*dense"),
        ({"kernel_size": 0}, "kernel_size must be >= 1"),
        ({"pool_at": (1,)}, r"pool_at=\(1,\) needs layer='conv'"),
        ({"head": "global"}, "head='global' needs layer='conv'"),
        ({"head": "mean"}, "head must be one of flatten, global"),
        ({"input_shape": IMAGE, "layer": "conv", "pool_at": (51,)}, "from 1 to 50, got 51"),
        ({"input_shape": IMAGE, "layer": "conv", "pool_at": (0,)}, "pool_at must be >= 1, got 0"),
        ({"input_shape": IMAGE, "layer": "conv", "pool_at": (2, 2)}, "every layer once"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RectangularNetwork(**{"input_shape": (5,), "num_classes": 2, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 2.0},
        {"depth": True},
        {"width": "4"},
        {"input_shape": 5},
        {"input_shape": "5"},
        {"input_shape": (5.0,)},
        {"activation": None},
        {"dropout": "0.1"},
        {"pool_at": 3},
        {"input_shape": IMAGE, "layer": "conv", "pool_at": ([1],)},
    ],
)
def test_values_of_the_wrong_type_are_refused(options: dict[str, object]) -> None:
    name = next(reversed(options))
    with pytest.raises(TypeError, match=name):
        RectangularNetwork(**{"input_shape": (5,), "num_classes": 2, **options})
