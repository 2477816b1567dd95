"""The command line: what it accepts, what it refuses in one line, and how it resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from support.commands import RECTANGULAR_COMMAND, RESNET_COMMAND, in_shell, rectangular_config
from support.processes import finish, start

from model.config.effects import no_effect_message
from model.config.options import Config, option, options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.errors import ConfigError
from sweep.cli import Parsed, main, parse
from sweep.launch import facts_of
from sweep.run_directory import RunDirectory, RunDirectoryError

ROOT = Path(__file__).resolve().parents[2]


def serve(*argv: str) -> int:
    """The exit code of a program ``run.py`` whose run makes its directory, prints "ready", and waits."""
    sys.argv = ["run.py", *argv]
    return main(wait, RectangularConfig, description="A run that waits.")


def wait(parsed: Parsed[RectangularConfig]) -> None:
    run = RunDirectory.create(parsed.config.output_dir, parsed.config.name, parsed.config)
    parsed.run_directory = run.path
    run.last_checkpoint.write_text("weights")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(1)


@dataclass(frozen=True, kw_only=True)
class Tiny(Config):
    """A config without the network."""

    lambda_: float = option(0.01, "Weight.", group="jumpstart", minimum=0)
    depth: int = option(18, "Layers.", group="network", choices=(18, 34, 50))
    use_skip_connections: bool = option(True, "Whether 100 % skip.", group="network")
    batch_size: int | None = option(8, "Rows.", group="optimization", minimum=1)
    epochs: int = option(10, "Passes.", group="optimization", minimum=1, resumable=True)
    sizes: tuple[int, ...] = option((), "Sizes.")
    name: str | None = option(None, "Name.")
    progress: bool = option(True, "Bar.", resumable=True)


def tiny(*argv: str) -> Tiny:
    return parse(Tiny, argv, description="Tiny.").config


def error_of(*argv: str) -> str:
    with pytest.raises((ConfigError, RunDirectoryError)) as caught:
        parse(Tiny, argv, description="Tiny.")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_users_command_for_moons_is_read_as_written() -> None:
    parsed = parse(RectangularConfig, in_shell(RECTANGULAR_COMMAND), description="")
    assert parsed.config == rectangular_config()
    assert (parsed.resume, parsed.run_directory) == (None, None)


@pytest.mark.parametrize(
    ("config", "command"), [(RectangularConfig, RECTANGULAR_COMMAND), (ResnetConfig, RESNET_COMMAND)]
)
def test_every_flag_of_the_users_commands_has_an_effect(config: type[RectangularConfig], command: str) -> None:
    parsed = parse(config, in_shell(command), description="")
    assert len(parsed.given) == len({word.partition("=")[0] for word in in_shell(command)})
    assert no_effect_message(parsed.config, parsed.given, facts_of(parsed.config.dataset)) == ""


def test_the_given_options_are_all_flags_and_what_a_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("plateau_patience: 10\nmomentum: 0.5\nlr: 0.01\ncycle_epochs: null\n")
    parsed = parse(RectangularConfig, [f"--config={path}", "--gamma=0.1", "--lambda=1"], description="")
    assert parsed.given == ("momentum", "gamma", "lambda_")
    stored = RunDirectory.create(tmp_path, "a", RectangularConfig(plateau_patience=5))
    assert parse(RectangularConfig, [f"--config={stored.config}"], description="").given == ("plateau_patience",)
    assert parse(RectangularConfig, [f"--resume={stored.path}"], description="").given == ()


def test_the_users_command_for_resnets_is_read_and_its_last_lambda_counts() -> None:
    given = [word for word in in_shell(RESNET_COMMAND) if word[2:].partition("=")[0] in options(Tiny)]
    assert tiny(*given) == Tiny(lambda_=0.00001, depth=50, use_skip_connections=False, batch_size=128, epochs=90)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ((), Tiny()),
        (("--batch_size", "4"), Tiny(batch_size=4)),
        (("--batch-size=4",), Tiny(batch_size=4)),
        (("--batch-size=none",), Tiny(batch_size=None)),
        (("--lambda", "0.5"), Tiny(lambda_=0.5)),
        (("--lambda=0.1", "--lambda_=0.2", "--lambda_", "0.3"), Tiny(lambda_=0.3)),
        (("--epochs=1e3",), Tiny(epochs=1000)),
        (("--use_skip_connections=no",), Tiny(use_skip_connections=False)),
        (("--use_skip_connections=False", "--use-skip-connections"), Tiny()),
        (("--sizes=1,2",), Tiny(sizes=(1, 2))),
        (("--sizes", "-1,2"), Tiny(sizes=(-1, 2))),
        (("--name=a=b",), Tiny(name="a=b")),
        (("--depth", "34"), Tiny(depth=34)),
    ],
)
def test_flags_may_be_written_in_several_ways(argv: tuple[str, ...], expected: Tiny) -> None:
    assert tiny(*argv) == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dpeth=3"], "unknown flag --dpeth. Did you mean '--depth'?"),
        (["--BATCHSIZE=3"], "unknown flag --BATCHSIZE. Did you mean '--batch_size'?"),
        (["--dep=18"], "unknown flag --dep. Did you mean '--depth'?"),
        (["--xyzzy"], "unknown flag --xyzzy. --help lists them all."),
        (["-depth=18"], "unknown flag -depth. Did you mean '--depth'?"),
        (["--no-progress"], "unknown flag --no-progress. Did you mean '--progress=False'?"),
        (["depth=18"], "unexpected argument 'depth=18'; write options as --name=value."),
        (["--epochs=0", "stray"], "unexpected argument 'stray'; write options as --name=value."),
        (["--depth"], "--depth needs a value: write --depth=VALUE."),
        (["--depth", "--epochs=1"], "--depth needs a value: write --depth=VALUE."),
        (["--depth=--"], "--depth must not be '--': give a value, or leave the option out."),
        (["--config=--"], "--config must not be '--': give a value, or leave the option out."),
        (["--depth=51"], "depth must be one of 18, 34, 50, got 51."),
        (["--epochs=0"], "epochs must be >= 1, got 0."),
        (["--epochs="], "epochs must be an integer >= 1, got ''."),
        (["--progress", "maybe"], "progress must be True or False, got 'maybe'."),
        (["--config"], "--config needs a value: write --config=VALUE."),
        (["--config=no.yaml"], "config file no.yaml can't be read: No such file or directory."),
        (["--resume=nowhere"], "run directory nowhere does not exist."),
    ],
)
def test_a_bad_command_line_is_refused(argv: list[str], message: str) -> None:
    assert error_of(*argv) == message


def test_flags_override_a_file_whose_values_are_read_like_flags(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "lambda: 1e-3\nbatch-size: null\nepochs: 20\nuse_skip_connections: no\nsizes: [1, 2]\nname: 2024-01-01\n"
    )
    assert tiny(f"--config={path}", "--epochs=30") == Tiny(
        lambda_=0.001,
        batch_size=None,
        epochs=30,
        use_skip_connections=False,
        sizes=(1, 2),
        name="2024-01-01",
    )
    path.write_text("<<: {lambda: 1, epochs: 2}\nepochs: 3")
    assert tiny(f"--config={path}") == Tiny(lambda_=1.0, epochs=3)
    path.write_text("")
    assert tiny(f"--config={path}") == Tiny()


@pytest.mark.parametrize("config", [RectangularConfig(), RectangularConfig(lr=1e-5, name="null")])
def test_a_stored_config_can_be_given_as_file(tmp_path: Path, config: RectangularConfig) -> None:
    run = RunDirectory.create(tmp_path, "a", config)
    parsed = parse(RectangularConfig, [f"--config={run.config}"], description="")
    assert parsed.config == config.replace(name=None)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"dpeth: 3", "unknown option 'dpeth'. Did you mean 'depth'?"),
        (b"1: 3", "unknown option '1'. There are: depth, "),
        (b"- depth", "entry 1 of the list must hold \"name: value\" lines, got 'depth'."),
        (b"depth", "must hold \"name: value\" lines, got 'depth'."),
        (b"depth: [", "is not YAML"),
        (b"depth: \xff", "is not YAML"),
        (b"? [a]\n: 3", "is not YAML"),
        (b"depth: {a: 3}", "depth must be one of 18, 34, 50, got {'a': '3'}."),
        (b"epochs: 0", "epochs must be >= 1, got 0."),
        (b"epochs: yes", "epochs must be an integer >= 1, got 'yes'."),
        (b"depth: 18\nepochs: 3\ndepth: 18", ": depth is given twice, in lines 1 and 3: keep one of them."),
        (b'{"depth": 18, "depth": 34}', ": depth is given twice, in line 1: keep one of them."),
        (b"lambda: 1\nlambda_: 1", ": lambda and lambda_ are the same option, given twice: keep one of them."),
        (b"batch-size: 1\nbatch_size: 2", ": batch-size and batch_size are the same option, given twice"),
        (b"<<: {lambda: 1}\nlambda_: 2", ": lambda and lambda_ are the same option, given twice"),
        (b"name:\n  a: 1\n  a: 2", ": a is given twice, in lines 2 and 3"),
    ],
)
def test_a_bad_file_is_named_and_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    message = error_of(f"--config={path}")
    assert message.startswith(f"config file {path}")
    assert part in message


def test_the_help_page_shows_every_option_and_ends_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(RectangularConfig, ["--epochs=x", "--help"], description="A net.", prog="run.py")
    assert caught.value.code == 0
    page = capsys.readouterr().out
    flat = " ".join(page.split())
    for name, item in options(RectangularConfig).items():
        assert f"--{name} " in page
        assert item.help in flat
        assert all(str(choice) in flat for choice in item.choices)
    for part in (
        "[>= 1; default: 50]",
        "[>= 0 and < 1; default: 0.0]",
        "default: None",
        "--resume",
    ):
        assert part in flat
    assert page.index("network:") < page.index("optimization:") < page.index("run:")
    assert page.splitlines()[-2:] == [
        "  python run.py --config=run.yaml --seed=1",
        "  python run.py --resume=runs/NAME",
    ]
    assert max(map(len, page.splitlines())) <= 100


def test_the_help_page_accepts_examples_and_percent_signs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Tiny, ["-h"], description="50 % of", prog="a.py", examples=["--x=100%", "--y"])
    page = capsys.readouterr().out
    assert "Whether 100 % skip." in page
    assert page.endswith("  python a.py --x=100%\n  python a.py --y\n")


@pytest.fixture
def stored(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path, "a", Tiny(lambda_=0.5, name="a", sizes=(1, 2)))
    run.last_checkpoint.write_text("weights")
    return run


def test_a_resumed_run_has_the_stored_options(stored: RunDirectory) -> None:
    resumed = parse(Tiny, [f"--resume={stored.path}"], description="")
    assert resumed.config == Tiny(lambda_=0.5, name="a", sizes=(1, 2))
    assert resumed.resume == resumed.run_directory == stored.path


def test_resumable_options_can_change(stored: RunDirectory) -> None:
    argv = [f"--resume={stored.path}", "--epochs=20", "--progress=False", "--lambda_=5e-1"]
    config = parse(Tiny, argv, description="").config
    assert config == Tiny(lambda_=0.5, name="a", sizes=(1, 2), epochs=20, progress=False)


def test_other_options_cannot_change_on_resume(stored: RunDirectory) -> None:
    for argv in (["--lambda_=0.25"], [f"--config={stored.path}/b.yaml"]):
        (stored.path / "b.yaml").write_text("lambda_: 0.25")
        message = error_of(f"--resume={stored.path}", *argv)
        assert message.startswith("lambda_ can't be changed when a run is resumed")
        assert f"{stored.path} has 0.5, got 0.25." in message
    message = error_of(f"--resume={stored.path}", "--epochs=9")
    assert message == (f"epochs can only grow when a run is resumed: {stored.path} has 10, got 9.")


def test_resuming_needs_a_run_with_a_valid_config(stored: RunDirectory) -> None:
    flag = f"--resume={stored.path}"
    assert "is not a run directory: it has no config.yaml." in error_of(f"--resume={ROOT}")
    stored.last_checkpoint.unlink()
    assert parse(Tiny, [flag], description="").resume == stored.path
    stored.config.write_text("dpeth: 3")
    assert error_of(flag).startswith(f"{stored.config}: unknown option")
    for damaged in ("[", "depth: 18\ndepth: 34"):
        stored.config.write_text(damaged)
        assert error_of(flag).startswith(f"{stored.config} can't be read: ")


def test_main_returns_a_code_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work(parsed: Parsed[Tiny]) -> None:
        if parsed.config.depth == 34:
            raise LookupError("no such\n  data set")
        if parsed.config.depth == 50:
            raise KeyboardInterrupt

    def code(*argv: str) -> int:
        return main(work, Tiny, argv, description="", user_errors=(LookupError,))

    assert code() == 0
    assert capsys.readouterr().err == ""
    assert code("--dpeth=3") == 2
    assert capsys.readouterr().err == "error: unknown flag --dpeth. Did you mean '--depth'?\n"
    assert code("--depth=34") == 2
    assert capsys.readouterr().err == "error: no such data set\n"
    assert code("--depth=50") == 130
    assert capsys.readouterr().err == "interrupted before the run began.\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "runs/a"), "[Errno 28] No space left on device: 'runs/a'"),
        (PermissionError(13, "Permission denied"), "a file can't be read or written: [Errno 13] Permission denied."),
        (MemoryError(), "the memory of this machine does not suffice: MemoryError. Choose a smaller"),
        (
            RuntimeError("Allocator: can't allocate memory: 160 bytes.\nat a.cpp"),
            "memory: 160 bytes. Choose a",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee x"), "allocate 2 GiB. Choose a"),
    ],
)
def test_a_lack_of_memory_or_space_is_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work(parsed: Parsed[Tiny]) -> None:
        raise error

    assert main(work, Tiny, [], description="") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert line in message
    assert message.count("\n") == 1


def test_main_does_not_catch_defects_and_exits() -> None:
    def fail(parsed: Parsed[Tiny]) -> None:
        raise ValueError("a defect")

    def leave(parsed: Parsed[Tiny]) -> None:
        raise SystemExit(3)

    with pytest.raises(ValueError, match="a defect"):
        main(fail, Tiny, [], description="")
    with pytest.raises(SystemExit) as caught:
        main(leave, Tiny, [], description="")
    assert caught.value.code == 3


def test_main_returns_143_after_a_termination(stored: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    def work(parsed: Parsed[Tiny]) -> None:
        parsed.run_directory = stored.path
        raise SIGTERMException

    assert main(work, Tiny, [], description="") == 143
    assert capsys.readouterr().err.endswith(f" --resume={stored.path}\n")


def test_main_prints_the_command_that_continues_an_interrupted_run(
    stored: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(parsed: Parsed[Tiny]) -> None:
        parsed.run_directory = stored.path
        raise KeyboardInterrupt

    assert main(work, Tiny, [], description="") == 130
    assert capsys.readouterr().err.endswith(f" --resume={stored.path}\n")
    stored.last_checkpoint.unlink()
    assert main(work, Tiny, [], description="") == 130
    assert capsys.readouterr().err.endswith(f" --resume={stored.path}\n")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--widht=3"], "error: unknown flag --widht. Did you mean '--width'?\n"),
        (["--depth=0"], "error: depth must be >= 1, got 0.\n"),
        (
            ["--output_dir=run.py/runs"],
            "error: output_dir run.py/runs can't be written: run.py is a file. Choose another.\n",
        ),
    ],
)
def test_a_bad_command_leaves_one_line_and_no_trace(tmp_path: Path, argv: list[str], line: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "run.py").touch()
    assert finish(start(tmp_path, serve, *argv, at=place)) == 2
    assert (tmp_path / "output.txt").read_text().replace(f"{place}/", "") == line
    assert os.listdir(place) == ["run.py"]


def test_an_interrupted_process_exits_130_and_its_run_can_be_resumed(tmp_path: Path) -> None:
    process = start(tmp_path, serve, "--name=a b", at=tmp_path)
    output = tmp_path / "output.txt"
    while process.is_alive() and not (output.exists() and output.read_text() == "ready\n"):
        time.sleep(0.01)
    time.sleep(0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    assert output.read_text() == "ready\ninterrupted; continue with: python run.py --resume='runs/a b'\n"
    resumed = parse(RectangularConfig, [f"--resume={tmp_path}/runs/a b"], description="")
    assert resumed.config == RectangularConfig(name="a b")


@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        ("--help", 0, "usage: python run_rectangular_sweep.py [--name=value ...]", ""),
        ("--widht=3", 2, "", "error: unknown flag --widht. Did you mean '--width'?\n"),
    ],
)
def test_the_script_prints_help_and_errors_to_their_streams(
    argv: str, code: int, out: str, err: str, tmp_path: Path
) -> None:
    words = [sys.executable, str(ROOT / "run_rectangular_sweep.py"), argv]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (code, err)
    assert out in done.stdout
    assert bool(done.stdout) == bool(out)
    assert os.listdir(tmp_path) == []
