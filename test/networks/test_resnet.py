"""ResNets: equal to torchvision's with batch normalization and skip connections, chains of layers without."""

from __future__ import annotations

import copy
import re
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.torchvision_resnets import published
from torch import Tensor, nn
from torchvision import models

from jumpstart import JumpstartRegularization
from model.choices import BLOCKS, DEPTHS
from model.resnet import Block, ResNet, load_matching, stage_widths
from model.resnet_conv import (
    pretrained_state,
    resnet18_conv,
    resnet34_conv,
    resnet50_conv,
    resnet101_conv,
    resnet152_conv,
    resnet_conv,
)
from model.resnet_dense import (
    resnet18_dense,
    resnet34_dense,
    resnet50_dense,
    resnet101_dense,
    resnet152_dense,
    resnet_dense,
)

CONV = {18: resnet18_conv, 34: resnet34_conv, 50: resnet50_conv, 101: resnet101_conv, 152: resnet152_conv}
DENSE = {18: resnet18_dense, 34: resnet34_dense, 50: resnet50_dense, 101: resnet101_dense, 152: resnet152_dense}
PLAIN: dict[str, object] = {"use_batchnorm": False, "use_skip_connections": False}
SLIM: dict[str, object] = {"width_multiplier": 0.5}


@pytest.mark.parametrize("depth", DEPTHS)
@torch.no_grad()
def test_outputs_equal_torchvision(depth: int) -> None:
    theirs = published(depth)
    with torch.device("meta"):
        ours = CONV[depth](num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    x = torch.randn(2, 3, 48, 40)
    expected = theirs(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours(x), expected, rtol=1e-6, atol=1e-6)


def test_gradients_equal_torchvision() -> None:
    theirs, ours = published(18).train(), CONV[18](num_classes=7)
    ours.load_state_dict(theirs.state_dict())
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 6, 1])
    for network in (theirs, ours):
        nn.functional.cross_entropy(network(x), labels).backward()
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("make", [CONV, DENSE], ids=["conv", "dense"])
def test_depth_counts_the_layers(make: Callable[..., ResNet], depth: int) -> None:
    with torch.device("meta"):
        network = make[depth](**PLAIN)
    weighted = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    activations = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    assert len(weighted) == depth
    assert len(activations) == depth - 1
    assert not any(activation.inplace for activation in activations)
    assert sum(isinstance(m, Block) for m in network.modules()) == sum(BLOCKS[depth])


@pytest.mark.parametrize("use_batchnorm", [False, True])
@pytest.mark.parametrize("use_skip_connections", [False, True])
def test_normalization_and_skips_are_there_only_if_chosen(use_batchnorm: bool, use_skip_connections: bool) -> None:
    network = resnet_conv(18, 3, use_batchnorm=use_batchnorm, use_skip_connections=use_skip_connections, **SLIM)
    names = set(network.state_dict())
    assert ("layer1.0.bn1.weight" in names) is use_batchnorm
    assert ("layer1.0.conv1.bias" in names) is not use_batchnorm
    assert ("layer2.0.downsample.0.weight" in names) is use_skip_connections
    block = network.layer1[1]  # type: ignore[index]
    x = torch.rand(2, 64, 6, 6)
    for layer in (block.conv1, block.conv2):
        nn.init.zeros_(layer.weight)
    torch.testing.assert_close(block.eval()(x), x if use_skip_connections else torch.zeros_like(x))


def slow_plain(network: ResNet, x: Tensor) -> Tensor:
    """A plain network, layer by layer."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers[:-1]:
        x = layer(x).clamp(min=0)
    return layers[-1](x.mean((2, 3)) if x.dim() == 4 else x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("depth", [18, 50])
def test_a_plain_network_is_a_chain(depth: int) -> None:
    image = resnet_conv(depth, 3, 1, stem="small", init="looks_linear", **PLAIN, **SLIM)
    vector = resnet_dense(depth, 3, 5, init="looks_linear", **PLAIN, **SLIM)
    x, v = torch.randn(2, 1, 8, 8), torch.randn(2, 5)
    torch.testing.assert_close(image(x), slow_plain(image, x))
    torch.testing.assert_close(vector(v), slow_plain(vector, v))


def test_every_activation_can_be_hooked() -> None:
    network = resnet_conv(50, 3, 1, stem="small", activation="gelu", **SLIM)
    seen = []
    for module in network.modules():
        if isinstance(module, nn.GELU):
            module.register_forward_hook(lambda *_: seen.append(1))
    network(torch.randn(2, 1, 8, 8))
    assert len(seen) == 49
    with JumpstartRegularization(network) as jumpstart:
        network(torch.randn(2, 1, 8, 8))
        assert len(jumpstart.layers) == 49
        assert jumpstart.loss.isfinite()


def test_the_preactivation_of_a_block_is_after_the_sum() -> None:
    block = resnet_conv(18, 3, **SLIM).layer1[0].eval()  # type: ignore[index,operator]
    seen = []
    block.activation2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(1, 64, 4, 4)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
    block(x)
    torch.testing.assert_close(seen[0], inner + x)


def test_widths_follow_the_multiplier() -> None:
    assert stage_widths(2) == (64, 128, 256, 512)
    assert stage_widths(1) == (64, 64, 64, 64)
    network = resnet_dense(50, 3, 5, width_multiplier=1)
    assert network.fc.in_features == 256
    assert "layer2.0.downsample.0.weight" not in network.state_dict()


@pytest.mark.parametrize("size", [8, 28, 32])
def test_the_small_stem_keeps_the_pixels(size: int) -> None:
    network = resnet_conv(18, 10, 1, stem="small", **SLIM).eval()
    sizes = []
    network.layer1.register_forward_hook(lambda *args: sizes.append(args[2].shape[-1]))
    network(torch.randn(1, 1, size, size))
    assert sizes == [size]


def test_dropout_comes_before_the_output_alone() -> None:
    network = resnet_dense(18, 3, 5, dropout=0.5, init="looks_linear", **PLAIN, **SLIM)
    x = torch.randn(4, 5)
    torch.manual_seed(0)
    dropped = network(x)
    hidden = []
    network.avgpool.register_forward_hook(lambda *args: hidden.append(args[2]))
    network(x)
    torch.manual_seed(0)
    torch.testing.assert_close(dropped, network.fc(nn.functional.dropout(hidden[0], 0.5)))
    assert torch.equal(network.eval()(x), network(x))


# Initial weights -----------------------------------------------------------------------------------------------------


def spread(network: ResNet, x: Tensor) -> tuple[float, float]:
    """Root mean square of the last activations, and the mean cosine between those of two points."""
    kept = []
    network.fc.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    with torch.no_grad():
        network(x)
    rows = nn.functional.normalize(kept[0], dim=1)
    cosines = rows @ rows.T
    n = len(x)
    return float(kept[0].square().mean().sqrt()), float((cosines.sum() - cosines.trace()) / (n * n - n))


@pytest.mark.parametrize("depth", [18, 152])
def test_plain_networks_keep_signal_and_angles_under_looks_linear(depth: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 64)
    linear, he = (resnet_dense(depth, 3, 64, width_multiplier=1, init=i, **PLAIN) for i in ("looks_linear", "he"))
    size, cosine = spread(linear, x)
    # A bottleneck keeps a random part of the signal: on average, not for each network, of the same size.
    assert size == pytest.approx(0.7, abs=0.1 if depth == 18 else 0.35)
    assert cosine < 0.5
    assert spread(he, x)[1] > 0.8


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_looks_linear_is_linear(activation: str) -> None:
    network = resnet_dense(34, 3, 5, init="looks_linear", activation=activation, **PLAIN, **SLIM).double()
    x, y = torch.randn(2, 4, 5, dtype=torch.float64)
    kept = []
    network.layer4.register_forward_hook(lambda *args: kept.append(args[2]))
    for point in (x, y, x + y):
        network(point)
    first, second, both = (z[:, : z.shape[1] // 2] - z[:, z.shape[1] // 2 :] for z in kept)
    torch.testing.assert_close(first + second, both)


def test_he_keeps_the_mean_square() -> None:
    torch.manual_seed(0)
    network = resnet_conv(18, 10, **PLAIN)
    weight = network.layer3[0].conv1.weight.detach()  # type: ignore[index]
    assert weight.std() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert network.fc.weight.detach().std() == pytest.approx((1 / 512) ** 0.5, rel=0.1)
    assert not network.fc.bias.any()


def test_initial_weights_of_torchvision_have_its_spread() -> None:
    torch.manual_seed(0)
    ours = resnet_conv(18, 10, init="torchvision").state_dict()
    theirs = models.resnet18(weights=None, num_classes=10).state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        if value.numel() > 1000:
            assert ours[name].std() == pytest.approx(float(value.std()), rel=0.05), name


# Weights from elsewhere -----------------------------------------------------------------------------------------------


def test_weights_of_equal_name_and_shape_are_loaded() -> None:
    theirs = published(18).state_dict()
    whole = resnet_conv(18, 7)
    loaded, left = load_matching(whole, theirs)
    assert set(loaded) == set(theirs)
    assert left == []
    plain = resnet_conv(18, 10, **PLAIN)
    before = copy.deepcopy(plain.state_dict())
    loaded, left = load_matching(plain, theirs)
    assert sum(name.endswith(".weight") for name in loaded) == 17
    assert "fc.weight" in left
    assert all(torch.equal(plain.state_dict()[name], theirs[name]) for name in loaded)
    assert all(torch.equal(plain.state_dict()[name], before[name]) for name in left)
    with pytest.raises(ValueError, match="share a name and a shape"):
        load_matching(plain, {"other": torch.zeros(1)})


def test_pretrained_weights_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get(self: models.ResNet18_Weights, **options: object) -> dict[str, Tensor]:
        asked.append(self)
        return published(18, 1000).state_dict()  # type: ignore[no-any-return]

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", get)
    loaded, left = load_matching(resnet_conv(18), pretrained_state(18))
    assert asked == [models.ResNet18_Weights.DEFAULT]
    assert left == []
    assert "fc.weight" in loaded


def _no_network(*args: object, **options: object) -> None:
    raise urllib.error.URLError("no route to host")


def test_the_error_for_missing_pretrained_weights_says_where_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    name = Path(models.ResNet34_Weights.DEFAULT.url).name
    place = tmp_path / "checkpoints" / name
    with pytest.raises(OSError, match="no route to host") as caught:
        pretrained_state(34)
    assert str(place) in str(caught.value)
    assert "TORCH_HOME" in str(caught.value)
    assert not isinstance(caught.value, urllib.error.URLError)
    place.write_bytes(b"an error page")
    with pytest.raises(OSError, match="put it there") as caught:
        pretrained_state(34)
    assert str(place) in str(caught.value)
    assert capsys.readouterr() == ("", "")
    torch.save({"fc.bias": torch.ones(3)}, place)
    assert torch.equal(pretrained_state(34)["fc.bias"], torch.ones(3))


def test_pretrained_weights_of_unknown_depths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"depth must be one of .* got 20\. Did you mean 18\?"):
        pretrained_state(20)
    with pytest.raises(TypeError, match="depth must be an integer"):
        pretrained_state("18")  # type: ignore[arg-type]


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, got 20"),
        ({"num_classes": 0}, "num_classes must be >= 1"),
        ({"depth": 1000}, r"got 1000\. Did you mean 152\?"),
        ({"in_channels": 0}, "in_channels must be >= 1, got 0"),
        ({"width_multiplier": 0}, "width_multiplier must be > 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"stem": "tiny"}, "stem must be one of standard, small"),
        ({"init": "hee"}, "Did you mean 'he'"),
        ({"activation": "rlu"}, "Did you mean 'relu'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, object], message: str) -> None:
    for make in (resnet_conv, resnet_dense):
        if make is resnet_conv or "stem" not in options:
            with pytest.raises(ValueError, match=message):
                make(**{"depth": 18, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "18"}, "depth must be an integer, got '18'"),
        ({"depth": True}, "depth must be an integer, got True"),
        ({"in_channels": "3"}, "in_channels must be an integer, got '3'"),
        ({"use_batchnorm": "False"}, "use_batchnorm must be True or False, got 'False'"),
        ({"use_batchnorm": 0}, "use_batchnorm must be True or False, got 0"),
        ({"use_skip_connections": None}, "use_skip_connections must be True or False, got None"),
    ],
)
@pytest.mark.parametrize("make", [resnet_conv, resnet_dense])
def test_arguments_of_the_wrong_type_are_refused(
    make: Callable[..., ResNet], options: dict[str, object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        make(**{"depth": 18, **options})


@pytest.mark.parametrize("shape", [(2, 65), (64,), (2, 1, 8, 9), (0, 63), (2, 32, 3)])
def test_vectors_of_another_length_are_refused(shape: tuple[int, ...]) -> None:
    network = resnet_dense(18, 10, 64, width_multiplier=0.25)
    message = rf"must have shape \(N, 64\), or .* got {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        network(torch.zeros(shape))


def test_a_vector_without_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(N, 1\), .* got \(5,\)"):
        resnet_dense(18, 10, 1, width_multiplier=0.25)(torch.zeros(5))


@pytest.mark.parametrize("shape", [(2, 64), (0, 64), (3, 1, 8, 8), (2, 4, 16)])
def test_samples_of_as_many_values_are_accepted(shape: tuple[int, ...]) -> None:
    network = resnet_dense(18, 10, 64, use_batchnorm=False, width_multiplier=0.25)
    assert network(torch.zeros(shape)).shape == (shape[0], 10)


def test_the_check_of_the_shape_breaks_no_graph() -> None:
    network = resnet_dense(18, 10, 64, use_batchnorm=False, width_multiplier=0.25)
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=True)
    for rows in (2, 3, 5):
        x = torch.randn(rows, 64)
        assert torch.equal(compiled(x), network(x))


@pytest.mark.parametrize("make", [lambda: resnet_conv(18, 3, 1, stem="small", **SLIM), lambda: resnet_dense(18, 3, 64)])
def test_a_copy_shares_no_weights(make: Callable[..., ResNet]) -> None:
    network = make().eval()
    twin = copy.deepcopy(network)
    x = torch.randn(2, 1, 8, 8)
    expected = network(x)
    for parameter in network.parameters():
        parameter.data.zero_()
    assert torch.equal(twin(x), expected)
