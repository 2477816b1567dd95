"""The compiled kernel equals NumPy; without a built kernel, everything works in PyTorch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.fresh import python
from support.zoo import make
from torch import Tensor

from jumpstart import JumpstartRegularization
from jumpstart.choices import PointMode, Ties
from jumpstart.extrema import extrema_of, kernel
from jumpstart.extrema.kernel import Layout, layout_of
from jumpstart.extrema.rule import Rule

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = (0.5, 0.25, 0.125, 2.0)
MARGINS = (1.0, 0.4)

needs_kernel = pytest.mark.skipif(not kernel.available(), reason=f"no kernel here; {kernel.description()}")
# Samples, units, places: around the sizes of blocks and of thin layers, and a vector's.
SHAPES = [(1, 1, 1), (5, 4, 1), (64, 4, 1), (65, 2, 1), (130, 8, 1), (200, 3, 1), (70, 16, 1), (150, 25, 1),
          (70, 32, 1), (70, 33, 1), (9, 40, 1), (70, 200, 1),
          (3, 5, 7), (2, 3, 64), (4, 1, 33), (1, 6, 300), (3, 2, 129)]  # fmt: skip


def by_hand(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
    """Unit and point reach (2, K), their penalty, and the first places that attain them in (N, C, S) order, or -1."""
    samples, units, _ = z.shape
    index = np.arange(z.size).reshape(z.shape)
    reaches, found, penalty = [], [], 0.0
    for kind, count in (("unit", units), ("point", samples)):
        reach, at = np.zeros((2, count)), np.full((2, count), -1)
        for k in range(count):
            members = (index[:, k] if kind == "unit" else index[k]).ravel()
            values = z.ravel()[members]
            for side, sign in enumerate((1, -1)):
                reach[side, k] = (sign * values).max()
                hinge = MARGINS[side] - reach[side, k]
                if hinge > 0:
                    penalty += WEIGHTS[2 * (kind == "point") + side] * hinge
                    at[side, k] = members[(sign * values).argmax()]
        reaches.append(reach)
        found.append(at)
    return reaches[0], reaches[1], penalty, found[0], found[1]


def laid_out(z: np.ndarray, layout: Layout) -> Tensor:
    """The array as a tensor with the memory order of the layout."""
    return torch.from_numpy((z.transpose(0, 2, 1) if layout.units_last else z).copy(order="C"))


@needs_kernel
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units_last", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reach_places_and_penalty_equal_those_of_numpy(
    shape: tuple[int, int, int], tied: bool, units_last: bool, dtype: type
) -> None:
    rng = np.random.default_rng(0)
    drawn: list[np.ndarray] = [rng.normal(size=shape).astype(dtype) for _ in range(3)]
    tensors = [np.round(z) / 2 if tied else z for z in drawn]
    layout = Layout(*shape, units_last or shape[2] == 1, dtype is np.float64)
    rows = [laid_out(z, layout) for z in tensors]
    unit, point, penalty, at = kernel.reduce(rows, layout, MARGINS, WEIGHTS, locate=True)
    assert at is not None
    expected = [by_hand(z.astype(np.float64)) for z in tensors]
    for call, (units, points, _, unit_at, point_at) in enumerate(expected):
        assert np.array_equal(unit[:, call].double().numpy(), units)
        assert np.array_equal(point[:, call].double().numpy(), points)
        assert np.array_equal(at[0][:, call].numpy(), unit_at)
        assert np.array_equal(at[1][:, call].numpy(), point_at)
    assert penalty.item() == pytest.approx(sum(found[2] for found in expected), rel=1e-6)


@needs_kernel
@pytest.mark.parametrize("units_last", [False, True])
@pytest.mark.parametrize("shape", [(5, 4, 1), (70, 17, 1), (3, 5, 7)], ids=str)
def test_gradients_are_added_where_the_reach_is_attained(shape: tuple[int, int, int], units_last: bool) -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=shape)
    layout = Layout(*shape, units_last or shape[2] == 1, True)
    row = laid_out(z, layout)
    *_, at = kernel.reduce([row], layout, MARGINS, WEIGHTS, locate=True)
    assert at is not None
    unit_grad, point_grad = (torch.from_numpy(rng.normal(size=(2, 1, count))) for count in (shape[1], shape[0]))
    start = rng.normal(size=shape)
    grad = laid_out(start, layout)
    kernel.spread([grad], layout, at, (unit_grad, point_grad), torch.tensor(3.0, dtype=torch.float64), WEIGHTS)
    expected = start.ravel().copy()
    *_, unit_at, point_at = by_hand(z)
    for kind, (places, own) in enumerate(((unit_at, unit_grad), (point_at, point_grad))):
        for side, sign in enumerate((1, -1)):
            for k, place in enumerate(places[side]):
                if place >= 0:
                    expected[place] += sign * (own[side, 0, k].item() - 3.0 * WEIGHTS[2 * kind + side])
    found = grad.numpy().reshape(shape[0], -1, shape[1]).transpose(0, 2, 1) if layout.units_last else grad.numpy()
    assert np.allclose(found.ravel(), expected, rtol=1e-12, atol=1e-14)


@needs_kernel
@pytest.mark.parametrize("shape", [(70, 4, 1), (70, 20, 1), (3, 5, 7)], ids=str)
@pytest.mark.parametrize("units_last", [False, True])
def test_a_nan_marks_its_unit_and_its_point_and_nothing_else(shape: tuple[int, int, int], units_last: bool) -> None:
    z = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    z[-1, 1, -1] = np.nan
    z[0, 2, 0] = np.inf
    layout = Layout(*shape, units_last or shape[2] == 1, False)
    unit, point, penalty, at = kernel.reduce([laid_out(z, layout)], layout, MARGINS, WEIGHTS, locate=True)
    assert at is not None
    for found, places, slices, marked in (
        (unit, at[0], np.moveaxis(z, 1, 0), 1),
        (point, at[1], z, shape[0] - 1),
    ):
        for k, values in enumerate(slices):
            expected = [values.max(), -values.min()]
            assert np.array_equal(found[:, 0, k].numpy(), expected, equal_nan=True)
        assert found[:, 0, marked].isnan().all()
        assert (places[:, 0, marked] == -1).all()
    assert penalty.isnan()


@needs_kernel
def test_tensors_and_options_that_the_kernel_cannot_read_have_no_layout() -> None:
    rule = Rule()
    z = torch.randn(6, 4)
    assert layout_of(z, 1, rule) == Layout(6, 4, 1, True, False)
    image = torch.randn(2, 3, 4, 5)
    assert layout_of(image, 1, rule) == Layout(2, 3, 20, False, False)
    assert layout_of(image, 3, rule) == Layout(2, 5, 12, True, False)
    assert layout_of(image.to(memory_format=torch.channels_last), 1, rule) == Layout(2, 3, 20, True, False)
    volume = torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d)
    assert layout_of(volume, 1, rule) == Layout(2, 3, 120, True, False)
    for other in (z.t(), z[:, ::2], z.half(), z.bfloat16(), torch.empty(0, 4), torch.nn.Parameter(z), z.to("meta")):
        assert layout_of(other, 1, rule) is None
    assert layout_of(torch.randn(6, 4, 1).double(), 1, rule) == Layout(6, 4, 1, True, True)
    assert layout_of(torch.randn(6, 4, 2), 1, rule) == Layout(6, 4, 2, False, False)
    for other, dim in (
        (image, 2),
        (image.to(memory_format=torch.channels_last), 3),
        (image.transpose(2, 3), 1),
        (image[0].transpose(0, 1), 1),
        (volume, 4),
    ):
        assert layout_of(other, dim, rule) is None
    assert layout_of(z, 1, Rule(ties=Ties.AVERAGE)) is None
    assert layout_of(z, 1, Rule(point=PointMode.LOCATION)) is None
    with kernel.disabled():
        assert layout_of(z, 1, rule) is None
        assert "switched off" in kernel.description()
        assert not kernel.available()
    assert kernel.available()


def test_layers_of_one_shape_may_have_several_memory_layouts() -> None:
    images = [torch.randn(2, 3, 4, 5) for _ in range(3)]
    last = images[0].contiguous(memory_format=torch.channels_last)
    for tensors in ([last, images[1]], [images[1], last], [images[2], torch.nn.Parameter(images[1])]):
        record = extrema_of(list(tensors), ["a", "b"])
        for call, z in enumerate(tensors):
            assert torch.equal(record.unit[:, call], torch.stack([z.amax((0, 2, 3)), -z.amin((0, 2, 3))]))
            assert torch.equal(record.point[:, call], torch.stack([z.amax((1, 2, 3)), -z.amin((1, 2, 3))]))


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.0, 0.0), WEIGHTS])
def test_the_penalty_of_a_record_is_the_sum_of_its_hinges(path: str, weights: tuple[float, ...]) -> None:
    z = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    found = extrema_of([z], ["a"], rule=Rule(margins=MARGINS), weights=weights).penalty
    assert found is not None
    sides = [(z.amax((0, 2)), -z.amin((0, 2))), (z.amax((1, 2)), -z.amin((1, 2)))]
    hinges = [(margin - reach).relu().sum() for pair in sides for margin, reach in zip(MARGINS, pair, strict=True)]
    expected = sum(weight * hinge for weight, hinge in zip(weights, hinges, strict=True))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(penalty, z) for penalty in (found, expected)))


def test_a_gradient_with_a_graph_equals_the_gradient_without_one(path: str) -> None:
    z = 0.1 * torch.randn(5, 4, dtype=torch.float64)
    z[0, 0], z[1, 1] = 0.9, -0.8
    z.requires_grad_()
    penalty = extrema_of([z], ["a"], weights=WEIGHTS).penalty
    assert penalty is not None
    (plain,) = torch.autograd.grad(penalty, z, retain_graph=True)
    (linked,) = torch.autograd.grad(penalty, z, create_graph=True)
    assert plain[0, 0] == -WEIGHTS[0] - WEIGHTS[2]
    torch.testing.assert_close(linked, plain)


@needs_kernel
@pytest.mark.parametrize("name", ["conv2d", "conv2d-channels-last", "dense"])
def test_a_gradient_that_the_kernel_cannot_write_is_computed_in_pytorch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", 0)
    grads = []
    for switched_off in (False, True):
        model, x = make(name)
        with JumpstartRegularization(model) as jumpstart:
            loss = model(x).square().sum() + jumpstart.loss
            monkeypatch.setattr(
                "jumpstart.extrema.kernel._off", switched_off
            )  # between the forward pass and the backward
            loss.backward()
            monkeypatch.setattr("jumpstart.extrema.kernel._off", False)
        grads.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=0)


def test_everything_works_without_the_kernel() -> None:
    code = (
        "import sys; sys.modules['jumpstart.extrema._kernel'] = None\n"
        "import torch, jumpstart\n"
        "from jumpstart.extrema import kernel\n"
        "model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU())\n"
        "handle = jumpstart.JumpstartRegularization(model)\n"
        "model(torch.randn(8, 2)); handle.loss.backward()\n"
        "assert not kernel.available() and model[0].weight.grad is not None\n"
        "sys.stdout.write(kernel.description())"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pure PyTorch: the compiled kernel was not built")


def test_an_environment_variable_switches_the_kernel_off() -> None:
    code = "import sys; from jumpstart.extrema import kernel; sys.stdout.write(str(kernel.available()))"
    assert python(code, JUMPSTART_KERNEL="0").stdout == "False"
    assert python(code).stdout == str(kernel.available())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on the path")
def test_the_install_step_built_the_kernel() -> None:
    assert any((ROOT / "jumpstart" / "extrema").glob("_kernel*")), (
        "a compiler is here: `pip install -e .` must build the kernel"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on the path")
@pytest.mark.parametrize("compiler", ["cc", "false"])
def test_an_install_succeeds_with_and_without_a_compiler(compiler: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "jumpstart", source / "jumpstart", ignore=shutil.ignore_patterns("_kernel*", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CC": compiler})
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    assert bool(list((tmp_path / "site" / "jumpstart" / "extrema").glob("_kernel*"))) == (compiler == "cc")
