"""Regions of a network: equal to a loop over all places, and the model and its hooks are not disturbed."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.references import preactivations
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.monitor import StatusMonitor
from jumpstart.plotting import animate_decision_regions
from jumpstart.regions.frames import DecisionRegions
from jumpstart.regions.grid import Regions, find_regions

LIMITS = ((-2.0, 2.0), (-1.0, 3.0))


def network(classes: int = 3, width: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes),
    )  # fmt: skip


def assert_same_partition(found: np.ndarray, expected: list[tuple[bool, ...]]) -> None:
    """Check that numbers are equal where, and only where, the expected values are equal."""
    pairs = set(zip(found.ravel().tolist(), expected, strict=True))
    assert len(pairs) == len(set(expected)) == len(np.unique(found))


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("batch", [7, 8192])
def test_every_place_has_its_class_and_its_pattern(classes: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jumpstart.regions.grid._BATCH", batch)
    model = network(classes)
    found = find_regions(model, limits=LIMITS, resolution=25)
    np.testing.assert_allclose(found.x, np.linspace(-2, 2, 25))
    np.testing.assert_allclose(found.y, np.linspace(-1, 3, 25))
    patterns = []
    model.eval()
    places = [(row, column) for row in range(25) for column in range(25)]
    grid = torch.tensor([[found.x[column], found.y[row]] for row, column in places], dtype=torch.float32)
    _, outputs, tensors = preactivations(model, grid)
    for i, (row, column) in enumerate(places):
        scores = outputs[i] if classes > 1 else torch.stack([torch.tensor(0.0), outputs[i, 0]])
        assert found.classes[row, column] == scores.argmax()
        assert found.confidence[row, column] == pytest.approx(scores.softmax(0).max().item(), abs=1e-3)
        patterns.append(tuple(torch.cat([z[i] > 0 for z in tensors]).tolist()))
    assert_same_partition(found.patterns, patterns)
    assert found.count == len(set(patterns)) > 4


def test_a_unit_is_a_line() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0]]))
        model[0].bias.zero_()
    found = find_regions(model, limits=((0, 1), (0.005, 1.005)), resolution=50)
    side = found.patterns == found.patterns[0, -1]
    assert np.array_equal(side, np.subtract.outer(found.y, found.x) < 0)
    assert repr(found).endswith("2 linear regions)")


def test_a_module_called_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x) - self.relu(x - 1)

    found = find_regions(Twice(), limits=((-1, 2), (-1, 2)), resolution=31)
    assert found.count == 9


def test_layers_without_activation_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 2))
    found = find_regions(model, limits=LIMITS, resolution=20, capture="weights")
    named = find_regions(model, limits=LIMITS, resolution=20, capture=["0", "1"])
    assert np.array_equal(found.patterns, named.patterns)
    assert find_regions(model, limits=LIMITS, resolution=20, capture=["0", "1", "2"]).count > found.count


def test_a_model_that_returns_more() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return self.net(x), "more"

    model = Pair()
    with pytest.raises(ValueError, match=r"got tuple\. Give logits="):
        find_regions(model, limits=LIMITS)
    found = find_regions(model, limits=LIMITS, resolution=9, logits=lambda pair: pair[0])
    assert np.array_equal(found.classes, find_regions(model.net, limits=LIMITS, resolution=9).classes)


def test_points_set_the_limits() -> None:
    found = find_regions(network(), torch.tensor([[0.0, 5.0], [10.0, 5.0]]), resolution=5)
    assert (found.x[0], found.x[-1], found.y[0], found.y[-1]) == (-1, 11, 4, 6)


# The model is not disturbed ------------------------------------------------------------------------


def test_modes_hooks_and_random_numbers_are_restored() -> None:
    model = network()
    model[1].eval()
    before = {
        "modes": [module.training for module in model.modules()],
        "state": {key: value.clone() for key, value in model.state_dict().items()},
        "random": (random.getstate(), str(np.random.get_state())),
    }
    torch_random = torch.get_rng_state()
    seen: list[bool] = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.requires_grad or module.training))
    find_regions(model, limits=LIMITS, resolution=9)
    assert seen == [False]
    assert [module.training for module in model.modules()] == before["modes"]
    assert (random.getstate(), str(np.random.get_state())) == before["random"]
    assert torch.equal(torch.get_rng_state(), torch_random)
    assert all(torch.equal(value, before["state"][key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_draws_random_numbers_does_not_change_the_generator() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x + torch.randn_like(x))

    before = torch.get_rng_state()
    find_regions(Noisy(), limits=LIMITS, resolution=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failure_leaves_nothing_behind() -> None:
    model = network()
    broken = model[6].register_forward_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with JumpstartRegularization(model) as jumpstart:
        hooks = [dict(module._forward_pre_hooks) | dict(module._forward_hooks) for module in model.modules()]
        with pytest.raises(KeyboardInterrupt):
            find_regions(model, limits=LIMITS)
        assert [dict(m._forward_pre_hooks) | dict(m._forward_hooks) for m in model.modules()] == hooks
        broken.remove()
        model(torch.randn(5, 2))
        assert jumpstart.loss > 0
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("part", ["whole", "inner"])
def test_an_attached_regularizer_does_not_record_the_grid(part: str) -> None:
    inner = network()
    model = inner if part == "whole" else nn.Sequential(inner)
    x = torch.randn(32, 2)
    with JumpstartRegularization(inner) as jumpstart:
        model(x)
        loss = jumpstart.loss
        records = [record.unit.clone() for record in jumpstart.extrema]
        find_regions(model, limits=LIMITS, resolution=30)
        assert jumpstart.loss is loss
        assert all(torch.equal(r.unit, old) for r, old in zip(jumpstart.extrema, records, strict=True))
        loss.backward()
        model(x + 9)
        assert jumpstart.loss is not loss
        found = find_regions(model, limits=LIMITS, resolution=30)
    alone = find_regions(model, limits=LIMITS, resolution=30)
    assert np.array_equal(found.patterns, alone.patterns)
    assert np.array_equal(found.classes, alone.classes)


def test_a_monitor_does_not_count_the_grid() -> None:
    model, x = network(), torch.randn(32, 2)
    with StatusMonitor(model) as monitor:
        model(x)
        find_regions(model, limits=LIMITS, resolution=9)
        model(x)
        find_regions(model, limits=LIMITS, resolution=9)
        assert monitor.points == 64


def test_the_loss_may_be_read_after_the_grid() -> None:
    model, x = network().eval(), torch.randn(32, 2)
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        expected = jumpstart.loss.item()
        model(x)
        find_regions(model, limits=LIMITS, resolution=9)
        jumpstart.loss.backward()
        assert jumpstart.loss.item() == expected


def test_training_is_the_same_with_and_without() -> None:
    def weights(watch: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model, x = network(), torch.randn(32, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        regions = DecisionRegions(x, resolution=9)
        with JumpstartRegularization(model) as jumpstart:
            for epoch in range(5):
                loss = model(x).square().mean() + jumpstart.loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if watch:
                    regions.add(epoch, model)
        return [parameter.detach() for parameter in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(weights(True), weights(False), strict=True))


# Frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [2, 5, 8])
def test_frames_are_bounded_and_evenly_spaced_and_the_first_and_last_are_kept(most: int) -> None:
    model = network()
    recorder = DecisionRegions(torch.randn(9, 2), resolution=2, max_frames=most)
    for call in range(70):
        recorder.add(3 * call, model)
        epochs = [epoch for epoch, _ in recorder.frames]
        assert len(recorder) == len(epochs) <= most
        assert epochs[0] == 0
        assert epochs[-1] == 3 * call
        steps = set(np.diff(epochs[:-1]).tolist())
        assert len(steps) <= 1
        assert not steps or epochs[-1] - epochs[-2] <= min(steps)
    assert len(recorder) > most // 2


def test_frames_are_small_and_keep_no_model() -> None:
    model = network(width=32)
    recorder = DecisionRegions(torch.randn(9, 2), resolution=100)
    recorder.add(0, model)
    _, regions = recorder.frames[0]
    arrays = (regions.classes, regions.patterns, regions.confidence)
    for array in arrays:
        assert array is not None
        assert getattr(array.base, "nbytes", 0) <= array.nbytes, "a view would keep a larger array in memory"
    assert sum(np.asarray(array).nbytes for array in arrays) <= 8 * 100**2
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_all_frames_are_of_one_grid_and_become_a_file(tmp_path: Path) -> None:
    model = network()
    recorder = DecisionRegions(torch.randn(9, 2), torch.arange(9) % 3, resolution=20)
    for epoch in (0, 5):
        recorder.add(epoch, model)
    path = animate_decision_regions(recorder.frames, tmp_path / "net.gif", recorder.points, recorder.labels, fps=1)
    assert path.read_bytes().startswith(b"GIF89a")
    with pytest.raises(ValueError, match=r"above the latest one \(5\), got 5"):
        recorder.add(5, model)
    assert len(recorder) == 2


class Diverged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x) * float("nan")


class Mixed(Diverged):
    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x.flatten()).view_as(x)


GRID = [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_regions(network()), "points or limits must be given"),
        (lambda: find_regions(network(), limits=((1, 0), (0, 1))), "each pair increasing"),
        (lambda: find_regions(network(), limits=LIMITS, resolution=1), "resolution must be a whole number >= 2, got 1"),
        (lambda: find_regions(network(), torch.zeros(0, 2)), "at least one point"),
        (lambda: find_regions(network(), torch.zeros(5, 3)), r"\(P, 2\) finite numbers.*got \(5, 3\)"),
        (lambda: find_regions(nn.Linear(2, 2), limits=LIMITS), "it has no activation module"),
        (lambda: find_regions(nn.Sequential(nn.Flatten(0), nn.ReLU()), limits=LIMITS), "the model must give"),
        (lambda: find_regions(Mixed(), limits=LIMITS), "hidden layer must have the samples of the model"),
        (lambda: find_regions(Diverged(), limits=LIMITS), "the network has diverged"),
        (lambda: find_regions(nn.Linear(2, 2), limits=LIMITS, capture="weights"), "no hidden layer was called"),
        (lambda: DecisionRegions([[0, 0]], [0, 1]), r"one whole number >= 0 for each of 1 points, got \(2,\)"),
        (lambda: DecisionRegions([[0, 0]], max_frames=1), "max_frames must be a whole number >= 2, got 1"),
        (lambda: Regions([0], [0, 1], GRID, GRID), "x must hold at least two numbers"),
        (lambda: Regions([0, 1], [1, 0], GRID, GRID), "y must hold at least two numbers, in increasing order"),
        (lambda: Regions([0, 1, 2], [0, 1], GRID, GRID), r"classes must be \(2, 3\) whole numbers"),
        (lambda: Regions([0, 1], [0, 1], GRID, [[0.5, 0], [0, 0]]), "patterns must be .* of float64"),
        (lambda: Regions([0, 1], [0, 1], [[0, -1], [0, 0]], GRID), "classes must be >= 0, got -1"),
        (lambda: Regions([0, 1], [0, 1], GRID, GRID, [[0, 2], [0, 0]]), r"probabilities in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_that_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got str"):
        find_regions("model", limits=LIMITS)
