"""The command ``python -m jumpstart doctor``: models, data, messages and output."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.doctor_models import Functional, made_to_die
from support.fresh import python
from support.runs import ROOT, run_tiny
from torch import Tensor, nn

from jumpstart.__main__ import main
from jumpstart.doctor import cost as doctor_cost
from jumpstart.doctor.batch import candidate_shapes
from jumpstart.doctor.examine import examine
from jumpstart.doctor.load import DoctorError, load_import, parse_kwargs
from jumpstart.doctor.plugins import load_batch, load_file
from jumpstart.doctor.text import describe
from jumpstart.doctor.weights import description

# Which model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Linear(7, 2), nn.ReLU()), [64, 7]),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 2)), [64, 1, 28, 28]),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 2)), [64, 3, 32, 32]),
        (nn.Sequential(nn.Conv1d(5, 4, 3), nn.ReLU()), [64, 5, 64]),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.ReLU()), [64, 16]),
    ],
    ids=["linear", "gray", "color", "sound", "words"],
)
def test_the_shape_is_guessed(model: nn.Module, shape: list[int]) -> None:
    assert examine(model, cost=False).data.shape == tuple(shape)


def test_a_shape_that_cannot_be_guessed() -> None:
    wrong = r"tried 5 and 16,5; the last one failed with RuntimeError: .*unflatten.* give the shape: --input-shape 3"
    with pytest.raises(DoctorError, match=wrong):
        examine(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (5, 5)), nn.Linear(5, 2), nn.ReLU()))
    with pytest.raises(
        DoctorError, match=r"tried none, because no layer determines it\. Give the shape: --input-shape"
    ):
        examine(nn.ReLU())
    assert candidate_shapes(nn.LSTM(4, 5)) == [(16, 4)]
    for lazy in (nn.LazyLinear(4), nn.LazyConv2d(4, 3)):
        with pytest.raises(DoctorError, match="no layer determines it"):
            examine(nn.Sequential(lazy, nn.ReLU()))
    assert examine(nn.Sequential(nn.LazyLinear(4), nn.ReLU()), input_shape=(3,), cost=False).data.shape == (64, 3)


class Two(nn.Module):
    """A model with two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.act(self.layer(x) * mask)


class Broken(Two):
    """A model whose forward pass raises an error."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        raise KeyError("boom")


@pytest.mark.parametrize("given", [{}, {"input_shape": (4,)}, {"data": torch.zeros(2, 4)}], ids=str)
def test_a_model_of_several_inputs_is_refused_with_the_remedy(given: dict[str, Any]) -> None:
    for model in (Two(), torch.compile(Two())):
        with pytest.raises(DoctorError, match=r"Two\.forward .*: missing a required argument: 'mask'\.") as caught:
            examine(model, **given)
        assert "a module with one input whose forward(x) calls Two" in str(caught.value)
        assert "--input-shape" not in str(caught.value)

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two = Two()

        def forward(self, x: Tensor) -> Tensor:
            return self.two(x, torch.ones(()))

    assert [layer.name for layer in examine(Wrapper(), cost=False).captured] == ["two.act"]


def test_a_mistake_in_the_model_is_reported() -> None:
    with pytest.raises(
        DoctorError, match=r"the last one failed with KeyError: 'boom'\. Unless the model itself has a mistake"
    ):
        examine(Broken())
    with pytest.raises(DoctorError, match="KeyError: 'boom'"):
        examine(Broken(), input_shape=(4,))


def test_arguments_are_literals() -> None:
    arguments = parse_kwargs(["a=1", "b=0.5", "c=None", "d=false", "e='x y'", "f=[1, 2]", "g=plain", "h=a=b", "i="])
    assert arguments == {
        "a": 1, "b": 0.5, "c": None, "d": False, "e": "x y", "f": [1, 2], "g": "plain", "h": "a=b", "i": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.at_all:model"], "nowhere.at_all can't be imported"),
        (["nowhere"], "MODEL must be package.module:name"),
        (["torch.nn:Nothing"], "torch.nn has no attribute 'Nothing'"),
        (["torch:pi"], "must be a torch.nn.Module or make one, got float"),
        (["torch:zeros", "--kwargs", "size=[2]"], "must return a torch.nn.Module, got Tensor"),
        (["torch.nn:Linear"], "Linear() failed: TypeError"),
        (["torch.nn:Linear", "--kwargs", "in_features=2", "of=3"], "Linear(in_features=2, of=3) failed"),
        (["torch.nn:Linear", "--kwargs", "2"], "--kwargs must be name=value"),
        (["torch.nn:ReLU", "--input-shape=3,x"], "must be whole numbers"),
        (["torch.nn:ReLU", "--input-shape=3", "--batch-size=0"], "batch_size must be >= 1"),
        (["torch.nn:ReLU", "--seconds=0"], "seconds must be a finite number above 0, got 0"),
        (["docs", "--weights=x"], "--weights is for an import path"),
        (["torch.nn:ReLU", "--data=mooons"], "Did you mean 'moons'?"),
        (["torch.nn:ReLU", "--target=y"], "--target names a column of a file: give --data=FILE too"),
        (["torch.nn:ReLU", "--data=moons", "--target=y"], "target has an effect for a table of your own only"),
        (["torch.nn:ReLU", "--seed=-1"], "must be a whole number from 0 to 4294967295, got '-1'"),
        (["torch.nn:ReLU", "--seed=99999999999999999999"], "must be a whole number from 0 to 4294967295"),
        (["torch.nn:ReLU", "--weights=--"], "--weights must not be '--'"),
        (["setup.cfg.ckpt"], "does not exist"),
        (["pyproject.toml"], "pyproject.toml is no file that torch.save wrote"),
        (["docs"], "docs has no checkpoint"),
        (["docs", "--kwargs", "a=1"], "--kwargs is for an import path"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_an_instance_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    home = types.ModuleType("some_models")
    home.made = made_to_die()
    home.inner = types.SimpleNamespace(Kind=Functional)
    monkeypatch.setitem(sys.modules, "some_models", home)
    assert load_import("some_models:made", {}).model is home.made
    assert isinstance(load_import("some_models:inner.Kind", {}).model, Functional)
    with pytest.raises(DoctorError, match="is a module already"):
        load_import("some_models:made", {"a": 1})


@pytest.mark.parametrize("layer", ["dense", "conv"])
def test_a_run_directory_or_a_checkpoint_is_read_by_the_plugin(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"dataset": "digits", "batch_size": 500} if layer == "conv" else {}
    directory, _ = run_tiny(tmp_path, layer=layer, epochs=1, **changes)
    monkeypatch.chdir(ROOT)
    whole, file = load_file(directory.path), load_file(directory.best_checkpoint)
    for loaded in (whole, file):
        batch = load_batch("digits" if layer == "conv" else "moons", loaded.model, 20, 0)
        result = examine(loaded, data=batch, cost=False)
        assert result.data.shape[0] == 20
        assert len(result.captured) == 4
        assert result.mode == "evaluation"
    weights = torch.load(directory.best_checkpoint, weights_only=False)["state_dict"]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, weights[f"network.{name}"])
    assert examine(whole, cost=False).data.shape == (64, *(whole.input_shape or ()))


def test_a_checkpoint_outside_of_the_project_is_refused(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, epochs=1)
    code = "import os, runpy, sys; os.chdir(sys.argv.pop(1)); runpy.run_module('jumpstart', run_name='__main__')"
    done = python(code, str(tmp_path), "doctor", str(directory.path), PATH="")
    assert done.returncode == 2
    assert "is read in the folder of that project, where pyproject.toml names a plugin" in done.stderr


SAVED: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "state": (lambda net: net.state_dict(), "a state_dict of 2 tensors (0.weight, 0.bias), without the network"),
    "whole": (lambda net: net, "a whole pickled model, which can run code while it is read: save its state_dict()"),
    "nested": (
        lambda net: {"epoch": 3, "model": net.state_dict(), "optimizer": {"state": {}}},
        "a checkpoint with a state_dict (keys: epoch, model, optimizer), without the network",
    ),
    "empty": (lambda net: {"epoch": 3}, "a checkpoint without a state_dict (keys: epoch)"),
    "tensor": (lambda net: torch.ones(3), "no checkpoint, but Tensor"),
    "object": (lambda net: {"a": Path("b")}, "a pickle, which can run code while it is read"),
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("plugins", [True, False], ids=["project", "elsewhere"])
def test_a_file_that_is_no_checkpoint_of_an_experiment_is_described(
    kind: str, plugins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = SAVED[kind]
    torch.save(make(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), tmp_path / "file.pt")
    monkeypatch.chdir(ROOT if plugins else tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", str(tmp_path / "file.pt")])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert f"file.pt is {message}" in err
    assert "name the model as MODEL=package.module:name and its weights as --weights" in err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"hello", b"\x80\x02."], ids=repr)
def test_a_file_that_torch_did_not_write(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert description(tmp_path / "file").startswith("no file that torch.save wrote, or a damaged one (")


def test_a_torchscript_model_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")
    assert description(tmp_path / "script.pt").startswith("a TorchScript model, whose modules have no hooks")


@pytest.mark.parametrize("wrap", ["plain", "nested", "parallel"])
def test_weights_are_loaded_into_a_model(
    wrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = types.ModuleType("their_models")
    home.make = lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    monkeypatch.setitem(sys.modules, "their_models", home)
    dead = {"0.weight": torch.zeros(4, 3), "0.bias": -torch.ones(4)}
    state = {f"module.{name}": value for name, value in dead.items()} if wrap == "parallel" else dead
    torch.save({"state_dict": state} if wrap == "nested" else state, tmp_path / "dead.pt")
    assert main(["doctor", "their_models:make", f"--weights={tmp_path / 'dead.pt'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["dead_units"] == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ({"0.weight": torch.zeros(2)}, "does not fit Linear: RuntimeError"),
        ({"epoch": 2}, "holds no state_dict: it is a checkpoint without a state_dict"),
        (nn.ReLU(), "can't be read: it is a whole pickled model"),
    ],
    ids=["missing", "other", "none", "whole"],
)
def test_weights_that_cannot_be_loaded(
    content: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        torch.save(content, tmp_path / "w.pt")
    wrong = ["doctor", "torch.nn:Linear", "--kwargs", "in_features=2", "out_features=2"]
    with pytest.raises(SystemExit) as stop:
        main([*wrong, f"--weights={tmp_path / 'w.pt'}"])
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert "w.pt" in err
    assert message in err


@pytest.mark.parametrize("name", ["abalone", "imagenet"])
def test_data_that_cannot_be_downloaded_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUMPSTART_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JUMPSTART_UCI_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "torch.nn:Linear", "--kwargs", "in_features=8", "out_features=2", f"--data={name}"])
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert f"--data={name}: " in err


def test_a_table_of_the_user_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b,y\n" + "".join(f"{row * 3},{row * 7 % 5},{'pn'[row % 2]}\n" for row in range(40)))
    monkeypatch.chdir(ROOT)
    batch = load_batch(str(path), nn.Linear(2, 2), 8, 0, "y")
    assert batch.shape == (8, 2)
    with pytest.raises(DoctorError, match=r"target must name the column of the classes: .* columns a, b, y"):
        load_batch(str(path), nn.Linear(2, 2), 8, 0)


def test_the_status_is_printed_before_steps_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []

    def seconds(*_: object) -> float:
        printed.append(capsys.readouterr().out)
        return 1.0

    monkeypatch.setattr(doctor_cost, "_seconds", seconds)
    assert main(["doctor", "test_doctor:Shared", "--batch-size=8"]) == 0
    assert "points: " in printed[0]
    assert "act#3" in printed[0]
    assert "".join(printed[1:]) == ""
    assert capsys.readouterr().out.startswith("cost: a step takes 1000.0 ms")


def test_models_by_import_path_need_no_plugin(tmp_path: Path) -> None:
    code = (
        "import sys; from jumpstart.__main__ import main; main(['doctor', 'torch.nn:ReLU', '--input-shape=3']); "
        "assert not {'data', 'model', 'sweep', 'pytorch_lightning', 'matplotlib'} & set(sys.modules)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--data=moons needs a project with data sets: run this in the project's folder"),
        ("[tool.other]", "--data=moons needs a project with data sets"),
        ("[tool.jumpstart]\nplugins = ['json']", "--data=moons needs a project with data sets"),
        ("[tool.jumpstart]\nplugins = 'json'", "must be a list of module names, got 'json'"),
        ("[tool.jumpstart]\nplugins = ['not_there']", "plugin not_there can't be imported: ModuleNotFoundError"),
        ("[tool", "pyproject.toml can't be read"),
        ("tool = 3", "--data=moons needs a project with data sets"),
        ("[tool]\njumpstart = 'doctor'", "[tool.jumpstart] in pyproject.toml must be a table with plugins"),
    ],
)
def test_plugins_that_are_missing_or_wrong(
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "torch.nn:ReLU", "--data=moons"])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_plugin_of_another_project_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = types.ModuleType("their_plugin")
    plugin.load_batch = lambda name, model, batch_size, seed, target: (
        torch.ones(batch_size, 3) if name == "ones" else None
    )
    monkeypatch.setitem(sys.modules, "their_plugin", plugin)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.jumpstart]\nplugins = ['their_plugin']")
    assert main(["doctor", "torch.nn:ReLU", "--data=ones", "--batch-size=5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == {"source": "ones", "shape": [5, 3], "seed": 0}
    with pytest.raises(SystemExit):
        main(["doctor", "torch.nn:ReLU", "--data=twos"])


def test_a_model_of_several_inputs_is_refused_before_a_data_set_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "test_doctor_command:Two", "--data=moons"])
    assert "missing a required argument: 'mask'" in capsys.readouterr().err


# Output -----------------------------------------------------------------------------------------

KEYS = {
    "model": str, "kind": str, "parameters": int, "mode": str, "data": dict, "compiled": list, "functional": list,
    "checkpointed": list, "nothing": (str, type(None)), "captured": list, "shared": dict, "in_place": list,
    "not_called": list, "total": (dict, type(None)), "first_death": (dict, type(None)), "no_gradient": dict,
    "cost": (dict, type(None)), "too_slow": (dict, type(None)), "doubts": list, "time_major": list,
    "advice": list,
}  # fmt: skip
LAYER = {
    "name": str, "type": str, "shape": list, "units": int, "dead_units": int, "linear_units": int,
    "dead_points": float, "minimum": float, "maximum": float,
}  # fmt: skip


def check(content: dict[str, Any], schema: dict[str, Any]) -> None:
    assert content.keys() == schema.keys()
    for name, kind in schema.items():
        assert isinstance(content[name], kind), name


@pytest.mark.parametrize(("name", "status"), [("made_to_die", 0), ("Shared", 0), ("Functional", 0), ("Functions", 1)])
def test_json_and_table(name: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"test_doctor:{name}", "--json"]) == status
    out = capsys.readouterr().out
    result = json.loads(out)
    check(result, KEYS)
    for layer in result["captured"]:
        check(layer, LAYER)
    assert main(["doctor", f"test_doctor:{name}"]) == status
    text = capsys.readouterr().out
    for layer in result["captured"]:
        assert layer["name"] in text
    for advice in result["advice"]:
        if not any(words in advice for words in ("times as long", "can't be measured", "Nothing needs")):
            assert advice in text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("ratio", [1.2, 1.8])
@pytest.mark.parametrize(("spread", "steady"), [(1.0, True), (1.2, True), (1.4, False), (30.0, False)])
def test_advice_on_the_cost_only_if_the_machine_is_idle(
    ratio: float, spread: float, steady: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(
        pair
        for factor in (9.0, 1 / spread, 1.0, spread, 1.0, 1.0, 1 / spread, spread)  # the first round does not count
        for pair in (1.0, ratio * factor)
    )
    monkeypatch.setattr(doctor_cost, "_seconds", lambda *_: next(times))
    result = examine(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), data=torch.randn(99, 3))
    assert result.cost is not None
    assert result.cost.lowest_ratio == pytest.approx(ratio / spread)
    words = " ".join(result.advice)
    assert ("times as long" in words) == (steady and ratio > 1.5)
    told = f"the rounds lie between x{ratio / spread:.2f} and x{ratio * spread:.2f}"
    assert (told in words and "too busy" in words) == (not steady)
    assert "Nothing needs to be done" in words or ratio > 1.5
    assert all(text in describe(result) for text in result.advice)


def test_what_a_model_prints_does_not_reach_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Loud(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            sys.stdout.write("here\n")
            return super().forward(x)

    home = types.ModuleType("loud_models")
    home.Loud = Loud
    monkeypatch.setitem(sys.modules, "loud_models", home)
    state = torch.get_rng_state()
    assert main(["doctor", "loud_models:Loud", "--input-shape=4", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["data"]["shape"] == [64, 4]
    assert "here" in err
    assert torch.equal(torch.get_rng_state(), state)


def test_the_table_of_a_deep_model_is_shortened() -> None:
    model = nn.Sequential(*[layer for _ in range(100) for layer in (nn.Linear(2, 2), nn.ReLU())])
    text = describe(examine(model, cost=False))
    assert "... 40 more, see --json ..." in text
    assert len(text.splitlines()) < 85
