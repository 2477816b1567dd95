"""Two threads that run one model at the same time: the records of such a pass are lost, which reading them says."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.capture import passes
from jumpstart.capture.passes import Passes
from jumpstart.extrema.reduction import SMALL
from jumpstart.monitor import StatusMonitor


class Interruptible(nn.Module):
    """A network that calls a function, once, between its two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Sequential(nn.Linear(3, 3), nn.ReLU()) for _ in range(2))
        self.meanwhile: Callable[[], object] | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        result: Tensor = self.last(x)
        return result


def in_thread(task: Callable[[], object]) -> None:
    """Run a function in another thread, to its end."""
    thread = threading.Thread(target=task)
    thread.start()
    thread.join()


def overlap(net: Interruptible, task: Callable[[], object]) -> None:
    """Run the network in this thread and, while it runs, a function in another thread."""
    net.meanwhile = lambda: in_thread(task)
    net(torch.randn(5, 3))


@pytest.mark.parametrize("grad", [False, True])
def test_the_loss_of_a_pass_that_another_thread_overlapped_is_refused(grad: bool) -> None:
    net, outputs, x = Interruptible(), [], torch.randn(2, 3)

    def second() -> None:
        with torch.set_grad_enabled(grad):
            outputs.append(net(x))

    with JumpstartRegularization(net) as jumpstart:
        overlap(net, second)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"two threads run this model.*threading\.Lock"):
                _ = jumpstart.loss
        assert torch.equal(outputs[0], net(x))
        loss = jumpstart.loss
    with JumpstartRegularization(net) as jumpstart:
        net(x)
        assert torch.equal(jumpstart.loss, loss)


@pytest.mark.parametrize("regularized", [False, True])
def test_a_monitor_says_that_threads_overlapped(regularized: bool) -> None:
    net = Interruptible()
    jumpstart = JumpstartRegularization(net) if regularized else None
    with StatusMonitor(net) as monitor:
        overlap(net, lambda: net(torch.randn(2, 3)))
        with pytest.raises(RuntimeError, match="two threads run this model"):
            monitor.compute()
        monitor.reset()
        net(torch.randn(2, 3))
        assert monitor.points == 2
        assert len(monitor.layers) == 2
    if jumpstart is not None:
        jumpstart.remove()


def test_nothing_of_an_overlapped_pass_is_kept() -> None:
    net, outputs = Interruptible(), []
    large = torch.randn(2 * SMALL, 3)

    def second() -> None:
        with torch.inference_mode():
            outputs.append(net(large))

    with JumpstartRegularization(net) as jumpstart:
        overlap(net, second)
        assert len(jumpstart._recorder.calls) == 1
    assert torch.equal(outputs[0], net(large))


def test_passes_are_refused_until_the_other_thread_has_ended() -> None:
    net, inside, go_on = Interruptible(), threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        go_on.wait(60)

    def begin_late() -> None:
        net.meanwhile = wait
        late.start()
        inside.wait(60)

    late = threading.Thread(target=lambda: net(torch.randn(2, 3)))
    with JumpstartRegularization(net) as jumpstart:
        net.meanwhile = begin_late
        for _ in range(3):
            net(torch.randn(5, 3))
            with pytest.raises(RuntimeError, match="two threads"):
                _ = jumpstart.loss
        go_on.set()
        late.join()
        net(torch.randn(5, 3))
        assert jumpstart.loss > 0
        assert jumpstart.layers == ["first.1", "last.1"]


@pytest.mark.parametrize("recorded", [False, True])
def test_a_recording_beside_another_thread_is_refused(recorded: bool) -> None:
    net = Interruptible()
    with JumpstartRegularization(net) as jumpstart:

        def second() -> None:
            with jumpstart.recording():
                net.first(torch.randn(2, 3))

        if recorded:
            with jumpstart.recording():
                in_thread(second)
                net.last(torch.randn(5, 3))
        else:
            overlap(net, second)
        with pytest.raises(RuntimeError, match="two threads"):
            _ = jumpstart.loss
        net(torch.randn(2, 3))
        assert len(jumpstart.layers) == 2


def test_the_loss_is_not_read_while_another_thread_is_in_its_pass() -> None:
    net, errors = Interruptible(), []
    with JumpstartRegularization(net) as jumpstart:

        def read() -> None:
            try:
                _ = jumpstart.loss
            except RuntimeError as error:
                errors.append(str(error))

        for _ in range(2):
            overlap(net, read)
        assert [error.startswith("two threads") for error in errors] == [True, True]
        assert jumpstart.loss > 0


def test_a_loss_that_was_read_inside_of_the_pass_does_not_hide_the_overlap() -> None:
    net = Interruptible()
    with JumpstartRegularization(net) as jumpstart:

        def read_and_overlap() -> None:
            assert jumpstart.loss > 0
            in_thread(lambda: net(torch.randn(2, 3)))

        net.meanwhile = read_and_overlap
        net(torch.randn(5, 3))
        for _ in range(3):
            with pytest.raises(RuntimeError, match="two threads") as info:
                _ = jumpstart.loss
        assert len(info.traceback) < 10


def test_a_thread_that_enters_while_the_other_one_begins_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Interruptible()
    with JumpstartRegularization(net) as jumpstart, StatusMonitor(net) as monitor:
        count, tasks = monitor.count_pending, [lambda: net(torch.randn(2, 3))]

        def count_slowly() -> None:
            count()
            if tasks:
                in_thread(tasks.pop())

        monkeypatch.setattr(monitor, "count_pending", count_slowly)
        net(torch.randn(5, 3))
        with pytest.raises(RuntimeError, match="two threads"):
            _ = jumpstart.loss
        net(torch.randn(5, 3))
        assert jumpstart.layers == ["first.1", "last.1"]
        assert jumpstart.loss > 0


def test_a_recording_can_hold_calls_of_other_threads_one_after_the_other() -> None:
    net, x = Interruptible(), torch.randn(5, 3)
    with JumpstartRegularization(net) as jumpstart:
        with jumpstart.recording():
            for _ in range(2):
                in_thread(lambda: net(x))
        assert jumpstart.layers == ["first.1", "last.1", "first.1#2", "last.1#2"]
        assert jumpstart.loss > 0
        with jumpstart.recording():
            in_thread(lambda: overlap(net, lambda: net(x)))
        with pytest.raises(RuntimeError, match="two threads"):
            _ = jumpstart.loss


def test_a_backward_pass_that_runs_the_model_again_overlaps_too() -> None:
    net, x = Interruptible(), torch.randn(5, 3, requires_grad=True)
    with JumpstartRegularization(net) as jumpstart:
        output = checkpoint(net, x, use_reentrant=False)
        overlap(net, output.sum().backward)
        with pytest.raises(RuntimeError, match="two threads"):
            _ = jumpstart.loss
        net(x)
        assert jumpstart.loss > 0


def test_threads_that_take_turns_are_fine() -> None:
    net, losses, x = Interruptible(), [], torch.randn(5, 3)
    with JumpstartRegularization(net) as jumpstart, StatusMonitor(net) as monitor:

        def turn() -> None:
            net(x)
            losses.append(jumpstart.loss.item())

        for _ in range(2):
            in_thread(turn)
            turn()
        assert losses == losses[:1] * 4
        assert monitor.points == 20


def test_an_interrupted_pass_of_another_thread_gives_way() -> None:
    net = Interruptible()

    def interrupt() -> None:
        raise KeyboardInterrupt

    def interrupted() -> None:
        net.meanwhile = interrupt
        with pytest.raises(KeyboardInterrupt):
            net(torch.randn(2, 3))

    with JumpstartRegularization(net) as jumpstart:
        in_thread(interrupted)
        net(torch.randn(5, 3))
        assert jumpstart.loss > 0
        assert jumpstart.layers == ["first.1", "last.1"]


def test_where_nothing_tells_what_is_running_no_call_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    state, model = Passes(), nn.ReLU()
    assert state._calls_in(threading.get_ident()) == 0  # before a model is attached
    state.root = lambda: model
    for running, counted in ((0, 0), (3, 3), (sys.maxsize, 0)):
        monkeypatch.setattr(passes, "running_calls", lambda *_, running=running: running)
        assert state._calls_in(threading.get_ident()) == counted
