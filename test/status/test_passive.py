"""What a monitor is attached to, which passes it counts, and how it is removed."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from support.zoo import dense
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.capture.hooks import recorder_hooks
from jumpstart.monitor import StatusMonitor


def test_passes_count_only_while_the_monitor_is_enabled() -> None:
    model = dense()
    with StatusMonitor(model, enabled=False) as monitor:
        model(torch.randn(3, 3))
        assert monitor.points == 0
        with pytest.raises(RuntimeError, match="no forward pass has been counted yet"):
            monitor.compute()
        monitor.enabled = True
        model(torch.randn(4, 3))
        with monitor.pause():
            pass
        with monitor.pause():
            model(torch.randn(5, 3))
        assert monitor.points == 4
        with monitor.recording():
            model(torch.randn(6, 3))
        assert monitor.points == 10
        with pytest.raises(ZeroDivisionError), monitor.recording():
            raise ZeroDivisionError
        assert monitor.points == 10


@pytest.mark.parametrize("regularized", [False, True])
def test_a_part_that_runs_outside_of_a_pass_is_an_error_unless_the_monitor_pauses(regularized: bool) -> None:
    model, x = dense(), torch.randn(3, 3)
    with JumpstartRegularization(model) if regularized else nullcontext(), StatusMonitor(model) as monitor:
        model(x)
        with monitor.pause():
            model[:2](x)
        assert monitor.points == 3
        model[:2](x)
        with pytest.raises(RuntimeError, match=r"'1' ran outside of a forward pass .* `with monitor.pause\(\):`"):
            monitor.numbers()


def test_a_disabled_monitor_keeps_no_preactivation() -> None:
    model = dense()
    with StatusMonitor(model, enabled=False) as monitor:
        inside = weakref.ref(x := torch.randn(3, 3))
        model(x)
        del x
        gc.collect()
        assert inside() is None
        assert all(hook.owner is None or not hook.owner.kept for _, hook in recorder_hooks(model))
        monitor.enabled = True
        model(torch.randn(3, 3))
        assert monitor.points == 3


def test_a_disabled_monitor_does_not_warn_when_its_regularizer_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    model = dense()
    jumpstart = JumpstartRegularization(model)
    monitor = StatusMonitor(model)
    model(torch.randn(3, 3))
    monitor.enabled = False
    jumpstart.remove()
    gc.collect()
    model(torch.randn(3, 3))
    assert caplog.text == ""
    assert monitor.numbers()
    monitor.enabled = True
    model(torch.randn(3, 3))
    assert "forward passes are no longer counted" in caplog.text
    with pytest.raises(RuntimeError, match="not all forward passes were counted: 1 came after"):
        monitor.numbers()


def test_a_recording_of_the_regularizer_is_counted_once() -> None:
    model = dense()
    with JumpstartRegularization(model) as jumpstart, StatusMonitor(model) as monitor:
        with jumpstart.recording():
            model(torch.randn(6, 3)), model(torch.randn(6, 3))
        assert monitor.points == 6
        monitor.update()
        monitor.update()
        assert (monitor.points, len(monitor.layers)) == (6, 10)


@pytest.mark.parametrize(
    ("recorded", "read", "regularized"),
    [
        ("monitor", False, False),
        *((kind, read, True) for kind in ("none", "monitor", "loss", "mixed") for read in (False, True)),
    ],
)
def test_no_pass_is_lost_or_counted_twice(recorded: str, read: bool, regularized: bool) -> None:
    model, x = dense(), torch.randn(101, 3)
    with StatusMonitor(model) as alone:
        model(x)
        expected = alone.numbers()
    jumpstart = JumpstartRegularization(model) if regularized else None
    with StatusMonitor(model) as monitor:
        for number, batch in enumerate(x.split(25)):
            kind = ("none", "monitor", "loss")[number % 3] if recorded == "mixed" else recorded
            scope = monitor.recording() if kind == "monitor" else nullcontext()
            if kind == "loss":
                assert jumpstart is not None
                scope = jumpstart.recording()
            with scope:
                model(batch)
            if read:
                assert jumpstart is not None
                jumpstart.loss.backward()
        assert monitor.points == 101
        assert monitor.numbers() == pytest.approx(expected)


@pytest.mark.parametrize("scoped", [False, True])
def test_a_pass_that_fails_is_not_counted_and_the_others_are(scoped: bool) -> None:
    model = dense()
    with JumpstartRegularization(model), StatusMonitor(model) as monitor:
        model(torch.randn(30, 3))
        with pytest.raises(RuntimeError), monitor.recording() if scoped else nullcontext():
            model(torch.randn(7, 4))
        model(torch.randn(70, 3))
        assert monitor.points == 100


def test_a_monitor_finds_the_regularizer_on_any_part_of_the_model() -> None:
    whole = nn.Sequential(nn.Flatten(), dense())
    part = whole[1]
    jumpstart = JumpstartRegularization(part)
    monitor = StatusMonitor(whole)
    assert monitor.root is part
    whole(torch.randn(5, 3))
    assert (monitor.points, monitor.layers) == (5, jumpstart.layers)
    with pytest.raises(ValueError, match="capture, skip_last, unit_dim and batch_first must be left out"):
        StatusMonitor(whole, capture="weights")
    with pytest.raises(RuntimeError, match="is a part of a model that has a regularizer"):
        StatusMonitor(part[1])
    with pytest.raises(RuntimeError, match="2 regularizers are attached to parts"):
        StatusMonitor(nn.Sequential(whole, _attached(dense())))
    assert StatusMonitor(whole)._status.margins == (1.0, 1.0)
    jumpstart.remove()
    with JumpstartRegularization(part, margin=0.5, negative_margin=0.1):
        for given, margins in (
            ({}, (0.5, 0.1)),
            ({"margin": 2.0}, (2.0, 2.0)),
            ({"negative_margin": 0.2}, (0.5, 0.2)),
            ({"margin": 2.0, "negative_margin": 0.2}, (2.0, 0.2)),
        ):
            monitor = StatusMonitor(whole, **given)
            assert monitor._status.margins == copy.deepcopy(monitor)._status.margins == margins


_handles: list[JumpstartRegularization] = []


def _attached(model: nn.Module) -> nn.Module:
    _handles.append(JumpstartRegularization(model))
    return model


def test_a_regularizer_attached_after_a_monitor_is_refused_until_the_monitor_is_removed() -> None:
    model = dense()
    monitor = StatusMonitor(model)
    for whole in (model, nn.Sequential(model)):
        with pytest.raises(RuntimeError, match=r"^a StatusMonitor .* attached to this Sequential .*remove\(\)"):
            JumpstartRegularization(whole)
    monitor.remove()
    monitor.remove()
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(4, 3))
        assert jumpstart.loss > 0
        with StatusMonitor(model), pytest.raises(RuntimeError, match=r"^a JumpstartRegularization is attached"):
            JumpstartRegularization(model)


def test_the_removal_of_the_regularizer_is_logged_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    model = dense()
    jumpstart = JumpstartRegularization(model)
    monitor = StatusMonitor(model)
    model(torch.randn(4, 3))
    jumpstart.remove()
    assert monitor.compute()
    model(torch.randn(4, 3))
    assert "no longer counted" in caplog.text
    with pytest.raises(RuntimeError, match="not all forward passes were counted: 1 came after"):
        monitor.compute()
    with pytest.raises(RuntimeError, match="attached to no model"):
        monitor.update()


def test_several_monitors_share_the_hooks_of_the_first() -> None:
    model = dense()
    train, val = StatusMonitor(model), StatusMonitor(model, enabled=False)
    model(torch.randn(4, 3))
    train.enabled, val.enabled = False, True
    model(torch.randn(5, 3))
    assert (train.points, val.points) == (4, 5)
    train.remove()
    model(torch.randn(6, 3))
    assert val.points == 11
    del val
    gc.collect()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_copies_and_pickles_of_a_monitored_model_are_not_monitored(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = dense()
            self.monitor = StatusMonitor(self.body, num_points=7)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.body(x)
            return result

    holder = Holder()
    holder(torch.randn(4, 3))
    body = holder.body
    for other in (copy.deepcopy(body), pickle.loads(pickle.dumps(body)), copy.deepcopy(holder).body):
        other(torch.randn(9, 3))
        with StatusMonitor(other) as monitor:
            other(torch.randn(5, 3))
            assert monitor.points == 5
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in other.modules())
    assert holder.monitor.points == 4
    again = copy.deepcopy(holder).monitor
    again_too = StatusMonitor(body)
    again_too.remove()
    for detached in (again, again_too):
        with pytest.raises(RuntimeError, match=r"attached to no model: .*Make a new one"):
            detached.compute()
    again.remove()


def test_wrong_values_are_refused() -> None:
    model = dense()
    for options, message in (
        ({"num_points": 0}, "num_points must be >= 1, got 0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"margin": 0.0}, "margin must be a finite number > 0"),
        ({"negative_margin": math.nan}, "negative_margin must be a finite number > 0, got nan"),
        ({"unit_dim": 0}, "unit_dim must be an integer other than 0"),
        ({"capture": "activation"}, "capture must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            StatusMonitor(model, **options)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        StatusMonitor(model.parameters())
    with pytest.raises(ValueError, match="only Linear or Conv layer"):
        StatusMonitor(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), capture="weights")
    with pytest.raises(RuntimeError, match="no forward pass to count"):
        StatusMonitor(model).update()
    assert not any(part._forward_hooks for part in model.modules())


def test_checkpoints_of_both_kinds_can_be_monitored() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.body, self.reentrant = dense(), reentrant

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = checkpoint(self.body, x, use_reentrant=self.reentrant)
            return result

    for reentrant in (False, True):
        model = Checkpointed(reentrant)
        with StatusMonitor(model) as monitor:
            model(torch.randn(6, 3, requires_grad=True)).sum().backward()
            assert (monitor.points, len(monitor.layers)) == (6, 5)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("how", ["export", "vmap"])
def test_a_pass_without_numbers_is_an_error_that_a_reset_clears(how: str, beside: bool) -> None:
    model, x = dense(2), torch.randn(4, 3)
    with JumpstartRegularization(model) if beside else nullcontext(), StatusMonitor(model) as monitor, torch.no_grad():
        model(x)
        if how == "export":
            torch.export.export(model, (x,))
        else:
            torch.func.vmap(lambda row: model(row[None]))(x)
        model(x)
        with pytest.raises(RuntimeError, match=r"under torch.export.* has no numbers .* reset\(\) clears this error"):
            monitor.compute()
        monitor.reset()
        model(x)
        with monitor.pause():
            torch.export.export(model, (x,))
        model(x)
        assert monitor.points == 8
        assert monitor.compute()


def test_passes_count_again_after_a_pause() -> None:
    model = dense()
    with StatusMonitor(model) as monitor:
        for points in range(1, 4):
            with monitor.pause():
                model(torch.randn(4, 3))
                with monitor.recording():
                    model(torch.randn(4, 3))
            model(torch.randn(5, 3))
            assert monitor.points == 5 * points


def test_calls_of_the_model_inside_of_a_recording_are_one_pass() -> None:
    model, x = dense(), torch.randn(4, 3)
    with StatusMonitor(model) as monitor:
        with monitor.recording():
            model(x)
            model(-x)
        assert monitor.points == 4
        layers = [name for name in monitor.unit_status if "#" not in name]
        assert list(monitor.unit_status) == [*layers, *(f"{name}#2" for name in layers)]
        assert len(layers) == 5


def test_a_monitor_that_is_switched_on_during_a_pass_leaves_that_pass_out() -> None:
    model = dense()
    with StatusMonitor(model, enabled=False) as monitor:
        switch = model[0].register_forward_hook(lambda *_: setattr(monitor, "enabled", True))
        model(torch.randn(4, 3))
        switch.remove()
        assert monitor.points == 0
        model(torch.randn(5, 3))
        assert monitor.points == 5
        assert monitor.compute()


def test_labels_must_be_a_tensor() -> None:
    with StatusMonitor(dense()) as monitor, pytest.raises(TypeError, match=r"labels must be a tensor .* got list"):
        monitor.label([0, 1])
