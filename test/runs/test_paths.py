"""Paths that a person gives: one rule for arguments, flags and environment variables, and no place without it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from data.__main__ import main as data_main
from data.cache import FOLDER_VARIABLE, cache_folder
from data.data import make_datamodule
from jumpstart.__main__ import main as jumpstart_main
from jumpstart.callbacks import NetworkStatusPlot
from jumpstart.files import PathError, absolute_path, load_yaml, path_argument, user_path
from jumpstart.history import StatusHistory
from jumpstart.plotting import animate_decision_regions, save_figure
from jumpstart.report.record import read_run
from jumpstart.report.write import write_comparison, write_report
from model.config.checks import check_path
from model.config.options import options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.errors import ConfigError
from model.rectangular_experiment import RectangularExperiment
from sweep import run_rectangular, run_resnet
from sweep.cli import combine, parse
from sweep.launch import run_function
from sweep.metrics_csv import MetricsCsv
from sweep.resnet import RESNET
from sweep.run import run
from sweep.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jumpstart", "data", "model", "sweep", "benchmarks", "diagrams", "scripts")
BAD: tuple[str, ...] = ("", " ", "s3://bucket/a.png", "file:///a.png", "hf:/a.png", "a::b.png", "a\0b.png")
BAD += ("~nobody-here/a.png", "\ud800.png", 256 * "x")
CONFIG = RectangularConfig()

CASES: dict[str, Callable[[str], object]] = {
    "jumpstart.files.user_path(path)": user_path,
    "jumpstart.files.absolute_path(path)": absolute_path,
    "jumpstart.history.StatusHistory.save(path)": lambda path: StatusHistory(["a"], [1]).save(path),
    "jumpstart.history.StatusHistory.load(path)": StatusHistory.load,
    "jumpstart.plots.canvas.save_figure(path)": lambda path: save_figure(Figure(), path),
    "jumpstart.regions.plot.animate_decision_regions(path)": lambda path: animate_decision_regions([], path),
    "jumpstart.report.record.read_run(path)": read_run,
    "jumpstart.report.write.write_report(run)": write_report,
    "jumpstart.report.write.write_report(output)": lambda path: write_report("a", path),
    "jumpstart.report.write.write_comparison(runs)": lambda path: write_comparison([path, path], "x.html"),
    "jumpstart.report.write.write_comparison(output)": lambda path: write_comparison(["a", "b"], path),
    "jumpstart.status_plot.NetworkStatusPlot.__init__(directory)": lambda path: NetworkStatusPlot(directory=path),
    "jumpstart.status_plot.NetworkStatusPlot.__init__(history)": lambda path: NetworkStatusPlot(history=path),
    "sweep.cli.combine(config_file)": lambda path: combine(RectangularConfig, {}, config_file=path),
    "sweep.cli.combine(resume)": lambda path: combine(RectangularConfig, {}, resume=path),
    "sweep.launch.run_function(config)": lambda path: run_function(RESNET, {}, config=path, resume=None),
    "sweep.launch.run_function(resume)": lambda path: run_function(RESNET, {}, config=None, resume=path),
    "model.experiment.Experiment.load_from_checkpoint(checkpoint_path)": RectangularExperiment.load_from_checkpoint,
    "sweep.rectangular.run_rectangular(config)": lambda path: run_rectangular(config=path),
    "sweep.rectangular.run_rectangular(resume)": lambda path: run_rectangular(resume=path),
    "sweep.resnet.run_resnet(config)": lambda path: run_resnet(config=path),
    "sweep.resnet.run_resnet(resume)": lambda path: run_resnet(resume=path),
    "sweep.metrics_csv.MetricsCsv.__init__(path)": MetricsCsv,
    "sweep.run.run(resume)": lambda path: run(CONFIG, make_datamodule("moons"), no_experiment, resume=path),
    "sweep.run_directory.RunDirectory.__init__(path)": RunDirectory,
    "sweep.run_directory.RunDirectory.create(output_dir)": lambda path: RunDirectory.create(path, "a", CONFIG),
    "sweep.run_directory.RunDirectory.open(path)": RunDirectory.open,
    "data.cache.cache_folder(data_dir)": cache_folder,
}
"""Every parameter that takes a person's path, with a call that gives the path."""

NO_PATHS = {
    "data.images.formats.open_image(path)",  # from the list of files in a folder that was checked
    "data.images.formats.decoding_fault(path)",
    "data.images.formats.read_header(path)",
    "data.uci.reading.UciSource.remote(folder)",  # the name of a data set
    "jumpstart.tables.read_wandb.WandbApi.runs(path)",  # a project of Weights & Biases
    "sweep.callbacks.checkpoints.CheckpointFiles.load_checkpoint(path)",  # a file of a run directory that was checked
    "sweep.callbacks.checkpoints.CheckpointFiles.save_checkpoint(path)",
}
"""Parameters that are named like a path and take a text that no person gives."""

NAMES = re.compile(r"^(path|output|file|folder|directory|output_dir|data_dir|root|resume|destination|\w+_(path|dir))$")


def no_experiment(*_: object) -> None:
    pytest.fail("the path was not refused")


def signatures() -> Iterator[tuple[str, ast.FunctionDef, str, str]]:
    """(name, function, parameter, annotation) of every annotated parameter of the project's functions."""
    for file in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for scope, prefix in [(tree, module)] + [
            (node, f"{module}.{node.name}") for node in tree.body if isinstance(node, ast.ClassDef)
        ]:
            for function in scope.body:
                if isinstance(function, ast.FunctionDef):
                    for parameter in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
                        annotation = ast.unparse(parameter.annotation) if parameter.annotation else ""
                        yield f"{prefix}.{function.name}({parameter.arg})", function, parameter.arg, annotation


def raw_paths(node: ast.AST) -> list[ast.expr]:
    """The parts of an expression that are used as a path as they are."""
    if isinstance(node, ast.Call) and re.match(r"(Path|open|os\.)", ast.unparse(node.func)):
        return node.args
    return [node.left] if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else []


def is_public(name: str) -> bool:
    return not any(part.startswith("_") and not part.startswith("__") for part in re.split(r"[.(]", name))


def test_every_parameter_for_a_persons_path_is_tried_here() -> None:
    found = {name for name, _, _, annotation in signatures() if is_public(name) and "UserPath" in annotation}
    assert found == CASES.keys() - {"data.cache.cache_folder(data_dir)"}


def test_a_parameter_that_is_named_like_a_path_takes_one() -> None:
    texts = {
        name
        for name, _, parameter, annotation in signatures()
        if is_public(name) and NAMES.match(parameter) and re.search(r"\bstr\b|PathLike", annotation)
    }
    assert texts == NO_PATHS


def test_a_persons_path_is_used_in_no_other_way() -> None:
    wrong = []
    for name, function, parameter, annotation in signatures():
        if re.search("UserPath|DataDir", annotation) and name != "jumpstart.files.user_path(path)":
            parts = [part for node in ast.walk(function) for part in raw_paths(node)]
            used = any(isinstance(part, ast.Name) and part.id == parameter for part in parts)
            checked = f"{parameter} = user_path({parameter}, " in ast.unparse(function)
            wrong += [name] if used and not checked else []
    assert wrong == []


def test_arguments_of_commands_are_never_plain_paths() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert "type=Path" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("case", CASES)
def test_a_path_that_is_not_local_is_refused_before_anything_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for bad in BAD:
        with pytest.raises(ValueError, match=r"^\w+ must ") as caught:
            CASES[case](bad)
        assert isinstance(caught.value, PathError)
        assert "\n" not in str(caught.value)
    for wrong in (3, b"a", True):
        with pytest.raises(TypeError, match=r"^\w+ must be a path, got "):
            CASES[case](wrong)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder; the working directory is another empty folder."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_in_whatever_is_written(home: Path) -> None:
    history = StatusHistory(["a"], [1])
    history.save("~/status.npz")
    assert StatusHistory.load(Path("~/status.npz")).layers == history.layers
    save_figure(Figure(), "~/plots/a.png")
    for name in ("one", "two"):
        assert RunDirectory.create("~/runs", name, CONFIG).path == home / "runs" / name
    assert write_report("~/runs/one") == home / "runs" / "one" / "report.html"
    assert write_comparison(["~/runs/one", "~/runs/two"], "~/both.html") == home / "both.html"
    assert jumpstart_main(["report", "~/runs/one", "~/runs/two", "--output", "~/flag.html"]) == 0
    assert NetworkStatusPlot(directory="~/p", history="~/h.npz").directory == home / "p"
    assert cache_folder("~/d") == home / "d"
    (home / "a.yaml").write_text("depth: 3\noutput_dir: ~/runs\ndata_dir: ~/\n")
    config = parse(RectangularConfig, ["--config=~/a.yaml"], description="").config
    assert (config.output_dir, config.data_dir, config.depth) == (str(home / "runs"), str(home), 3)
    assert parse(RectangularConfig, ["--resume=~/runs/one"], description="").resume == home / "runs" / "one"
    assert sorted(os.listdir(home)) == ["a.yaml", "both.html", "flag.html", "plots", "runs", "status.npz"]
    assert os.listdir() == []


def test_a_name_with_a_tilde_can_be_given_and_checked_again(home: Path) -> None:
    for text in ("./~a", "./s3:/a", "~", "a/~b", "C:/x"):
        once = user_path(text)
        assert user_path(once) == user_path(str(once)) == once
    assert user_path("./~a") == Path.cwd() / "~a"
    assert user_path("a/~b") == Path("a/~b")


def test_a_folder_is_refused_for_a_file_and_a_file_for_a_folder(home: Path) -> None:
    (home / "file").touch()
    for path in ("~", "~/new/"):
        with pytest.raises(PathError, match="output must name a file, got the folder"):
            user_path(path, "output", "file")
    with pytest.raises(PathError, match="output must name a folder, got the file"):
        user_path("~/file", "output", "folder")
    for kind in ("file", "folder"):
        with pytest.raises(PathError, match=r"output must be in a folder, got .*file/a/b, and .*file is a file"):
            user_path("~/file/a/b", "output", kind)
        assert user_path("~/new/a", "output", kind) == home / "new" / "a"


@pytest.mark.parametrize("config", [RectangularConfig, ResnetConfig])
def test_every_flag_for_a_path_is_checked(config: type[RectangularConfig]) -> None:
    table = options(config)
    paths = [name for name in table if NAMES.match(name)]
    assert {"output_dir", "data_dir"} <= {*paths}
    assert all(table[name].check is check_path for name in paths)
    for name in (*paths, "config", "resume"):
        for bad in BAD:
            with pytest.raises((ConfigError, PathError), match=f"^{name} must "):
                parse(config, [f"--{name}={bad}"], description="")


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad not in ("", " ")])
def test_commands_and_environment_variables_refuse_the_same_paths_in_one_line(
    bad: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [
        (jumpstart_main, ["report", bad]),
        (jumpstart_main, ["report", "a", "b", "--output", bad]),
        (jumpstart_main, ["doctor", bad]),
        (jumpstart_main, ["doctor", "torch.nn:ReLU", "--weights", bad]),
        (data_main, ["--data_dir", bad]),
        (data_main, ["moons", "--data_dir", bad]),
    ]
    for main, words in commands:
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert re.fullmatch(r"python -m [^\n]* must [^\n]*\n", capsys.readouterr().err)
    if "\0" not in bad and "\ud800" not in bad:
        monkeypatch.setenv(FOLDER_VARIABLE, bad)
        with pytest.raises(PathError, match=f"^{FOLDER_VARIABLE} must "):
            cache_folder()
        with pytest.raises(SystemExit, match="2"):
            data_main([])
        assert FOLDER_VARIABLE in capsys.readouterr().err


def test_an_argument_of_argparse_is_converted_or_refused() -> None:
    assert path_argument("--json", "file")("a.json") == Path("a.json")


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("lr: 0.1\nepochs: 3\nlr: 0.2", "lr", "in lines 1 and 3"),
        ("lr: 0.1\nepochs: 3\n'lr': 0.1", "lr", "in lines 1 and 3"),
        ("{a: 1, b: 2, a: 3}", "a", "in line 1"),
        ('{"a": 1,\n"a": 2}', "a", "in lines 1 and 2"),
        ("x:\n  y: [{a: 1, a: 1}]", "a", "in line 2"),
        ("<<: {a: 1}\n<<: {b: 1}", "<<", "in lines 1 and 2"),
        ("b: &b {a: 1, a: 2}\nc:\n  <<: *b", "a", "in line 1"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_yaml_that_names_a_key_twice_is_refused_at_any_depth(text: str, key: str, lines: str, as_text: bool) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{key} is given twice, {lines}: keep one of them.")):
        load_yaml(text, as_text=as_text)


def test_yaml_without_repeated_keys_is_read_as_ever() -> None:
    merged = "b: &b {a: 1}\nc: &c\n  <<: *b\n  a: 2\nd:\n  <<: *c\n  e: null"
    assert load_yaml(merged) == {"b": {"a": 1}, "c": {"a": 2}, "d": {"a": 2, "e": None}}
    assert load_yaml("<<: {a: 1e-3}\nb: null\nc: 1:30", as_text=True) == {"a": "1e-3", "b": None, "c": "1:30"}
    for wrong in ("a: [", "? [a]\n: 3", "a: !!python/name:os.system", 1000 * "["):
        with pytest.raises(ValueError, match=r"^it is not YAML[^\n]*: [^\n]*$"):
            load_yaml(wrong)
