"""Activations by name: torch's, registered ones and imported ones, in networks, configs and experiments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from support.fresh import EXTRAS, python
from support.resnet_runs import experiment_of
from support.resnet_runs import tiny as tiny_resnet
from support.runs import prepare, run_tiny, tiny
from torch import Tensor, nn

from jumpstart import JumpstartRegularization, register_activation
from jumpstart.capture import is_activation, registered_activations, targets
from model.activations import activation_gain, activation_names, canonical_activation, resolve_activation
from model.config import ConfigError
from model.rectangular import RectangularNetwork
from model.resnet_conv import resnet_conv
from model.resnet_dense import resnet_dense

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
import torch

class Squared(torch.nn.Module):
    def forward(self, z):
        return z.relu().square()

class Sloped(torch.nn.Module):
    def __init__(self, slope, *, offset):
        super().__init__()

class Halved(torch.nn.Module):
    def forward(self, z):
        return z[:, :2]

def squared(z):
    return z.square()
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of its own for each test."""
    monkeypatch.setattr(targets, "_registered", {})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with activations."""
    (tmp_path / "own_activations.py").write_text(SOURCE)
    (tmp_path / "broken_activations.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_activations"
    sys.modules.pop("own_activations", None)


class Cubed(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z**3


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor


def test_a_registered_class_is_found_from_then_on() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of .*, got 'cubed'\."):
        resolve_activation("cubed")
    assert "cubed" not in activation_names()
    register_activation(Cubed)
    assert resolve_activation("Cubed") is Cubed
    assert "cubed" in activation_names()
    assert list(activation_names()) == sorted(activation_names())
    with pytest.raises(ValueError, match=r"got 'cubd'\. Did you mean 'cubed'\?"):
        resolve_activation("cubd")


def test_a_registered_class_can_be_chosen_everywhere() -> None:
    register_activation(Cubed)
    networks = (
        RectangularNetwork((2,), 2, depth=3, activation="cubed"),
        resnet_dense(18, 2, 5, activation="cubed", width_multiplier=0.25, init="looks_linear"),
        resnet_conv(18, 2, 1, activation="cubed", width_multiplier=0.25, stem="small"),
        prepare(tiny(activation="cubed"))[1],
        experiment_of(activation="cubed"),
    )
    for network in networks:
        assert any(isinstance(module, Cubed) for module in network.modules())
    for experiment in networks[-2:]:
        assert all("activation" in name for name in experiment.jumpstart.layers)
        assert experiment.jumpstart.loss.isfinite()
    assert activation_gain(Cubed) == pytest.approx(15**-0.5)  # E[z^6] = 15


def test_of_two_registered_classes_of_one_name_the_later_counts() -> None:
    kinds = [register_activation(type("Again", (nn.ReLU,), {})) for _ in range(2)]
    assert resolve_activation("again") is kinds[1]


def test_the_name_of_one_of_torchs_activations_always_means_torchs() -> None:
    register_activation(type("ReLU", (Cubed,), {}))
    assert resolve_activation("relu") is nn.ReLU


def test_a_registered_class_that_needs_arguments_is_refused() -> None:
    register_activation(Scaled)
    assert "scaled" not in activation_names()
    message = "activation 'scaled' must be a class that can be built without arguments, but Scaled needs factor. Give"
    with pytest.raises(ValueError, match=message):
        resolve_activation("scaled")
    with pytest.raises(ConfigError, match=message):
        tiny(activation="scaled")


def test_a_class_is_imported_and_registered(module: str) -> None:
    kind = resolve_activation(f" {module}:Squared ")
    assert kind.__name__ == "Squared"
    assert kind in registered_activations()
    assert is_activation(kind())
    assert resolve_activation("squared") is kind
    assert canonical_activation(f" {module}:Squared ") == f"{module}:Squared"


@pytest.mark.parametrize("make", [tiny, tiny_resnet])
def test_an_imported_class_is_stored_as_given_and_can_be_read_again(make: type, module: str) -> None:
    config = make(activation=f"{module}:Squared")
    assert config.activation == config.to_dict()["activation"] == f"{module}:Squared"
    assert type(config).from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "own_activations:",
            "activation must be a name such as 'relu', or package.module:Class, got 'own_activations:'",
        ),
        (":Squared", "or package.module:Class, got ':Squared'"),
        ("own_activations:a.b", "or package.module:Class, got"),
        ("no_such_module:A", "'no_such_module:A' can't be imported: ModuleNotFoundError: No module .* on PYTHONPATH"),
        ("broken_activations:A", "'broken_activations:A' can't be imported: ZeroDivisionError: division by zero"),
        (".relative:A", "'.relative:A' can't be imported: TypeError"),
        ("own_activations:Squard", "own_activations has no Squard. Did you mean 'Squared'?"),
        ("own_activations:squared", "must be a subclass of torch.nn.Module, got <function squared"),
        ("own_activations:torch", "must be a subclass of torch.nn.Module, got <module 'torch'"),
        ("torch.nn:GLU", "must act on single units, but GLU acts on several"),
        ("torch.nn:Softmax", "must act on single units, but Softmax acts on several"),
        ("torch.nn:Module", "must accept one tensor; Module failed with NotImplementedError"),
        ("torch.nn:LSTMCell", "built without arguments, but LSTMCell needs input_size, hidden_size"),
        ("own_activations:Halved", r"must keep the shape of its input, got \(2, 2\) for \(2, 4\)"),
        ("own_activations:Sloped", "built without arguments, but Sloped needs slope, offset. Give them defaults"),
    ],
)
def test_what_is_no_activation_class_is_refused(name: str, message: str, module: str) -> None:
    for make in (resolve_activation, lambda name: tiny(activation=name), lambda name: tiny_resnet(activation=name)):
        with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
            make(name)
        assert "\n" not in str(caught.value)
    assert registered_activations() == ()


RESNET = partial(resnet_conv, 18, 3, 1, stem="small", width_multiplier=0.25)
RECTANGULAR = partial(RectangularNetwork, (1, 8, 8), 3, depth=2)


@pytest.mark.parametrize("make", [RESNET, RECTANGULAR], ids=["resnet", "rectangular"])
@pytest.mark.parametrize("kind", [nn.GELU, Cubed])
def test_an_activation_can_be_a_class(make: Callable[..., nn.Module], kind: type[nn.Module]) -> None:
    network = make(activation=kind)
    with JumpstartRegularization(network) as jumpstart:
        network(torch.randn(2, 1, 8, 8))
        found = [name for name, module in network.named_modules() if type(module) is kind]
        assert found
        assert jumpstart.layers == found


@pytest.mark.parametrize(
    ("activation", "error", "message"),
    [
        (nn.Identity, ValueError, "activation 'Identity' must be an activation, but Identity is none."),
        (nn.Dropout, ValueError, "activation 'Dropout' must be an activation, but Dropout is none."),
        (nn.Softmax, ValueError, "must act on single units, but Softmax acts on several."),
        (nn.Linear, ValueError, "built without arguments, but Linear needs in_features, out_features."),
        (nn.ReLU(), TypeError, "or a class such as torch.nn.ReLU, got ReLU()."),
        (torch.relu, TypeError, "or a class such as torch.nn.ReLU, got <built-in"),
    ],
)
def test_what_is_no_class_of_activations_is_refused(activation: object, error: type[Exception], message: str) -> None:
    for make in (RESNET, RECTANGULAR):
        with pytest.raises(error) as caught:
            make(activation=activation)
        assert message in str(caught.value)
    assert registered_activations() == ()


def test_a_run_with_an_imported_class_can_be_resumed_by_a_process_that_has_not_imported_it(
    tmp_path: Path, module: str
) -> None:
    directory, _ = run_tiny(tmp_path, activation=f"{module}:Squared", epochs=1)
    assert f"activation: {module}:Squared\n" in directory.config.read_text()
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from sweep.cli import parse;"
        "from model.config.rectangular import RectangularConfig;"
        "from model.rectangular_experiment import RectangularExperiment as Experiment;"
        "config = parse(RectangularConfig, ['--resume=' + sys.argv[3]], description='').config;"
        "assert config.activation == 'own_activations:Squared';"
        "loaded = Experiment.load_from_checkpoint(sys.argv[4]);"
        "assert type(loaded.network.layers[0].activation).__name__ == 'Squared'"
    )
    arguments = [str(ROOT), str(tmp_path), str(directory.path), str(directory.last_checkpoint)]
    done = python(code, *arguments, packages=EXTRAS)
    assert done.returncode == 0, done.stderr


def test_building_a_network_reads_no_random_numbers_for_the_registry() -> None:
    state = torch.get_rng_state()
    activation_names()
    resolve_activation("prelu")
    assert torch.equal(torch.get_rng_state(), state)
