"""On a device whose values can't be read, a step and the counting of its points read none and mix no devices.

The device is ``meta``, whose tensors have a shape and no values: as on a GPU, new tensors must be made on the device
of the others, and reading a value, for which a GPU would have to be waited for, is an error.
"""

from __future__ import annotations

import pytest
import torch
from support.zoo import make
from torch import Tensor

from jumpstart import JumpstartRegularization
from jumpstart.capture import recorder
from jumpstart.extrema import extrema_of, tap
from jumpstart.extrema.rule import Rule
from jumpstart.metrics import NetworkStatus
from jumpstart.status.sample import PointSample

KINDS = ("dense", "conv2d", "conv2d-inplace", "tokens", "shared", "residual", "large-batch", "batchnorm")
every_option = pytest.mark.parametrize(
    "options",
    [{}, {"ties": "random"}, {"point": "location"}, {"aggregate": "norm", "negative_margin": 0.1}, {"terms": "unit"}],
    ids=str,
)
MOST = 2**40
"""More entries than any layer has."""


@pytest.mark.parametrize("bound", [0, MOST], ids=["large", "small"])
@pytest.mark.parametrize("kind", KINDS)
@every_option
def test_a_step_reads_no_value(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, str | float], bound: int
) -> None:
    for name in ("SMALL", "SMALL_COPY", "SMALL_COPY_WITHOUT_KERNEL"):
        monkeypatch.setattr(recorder, name, bound)
    model, x = make(kind)
    model, x = model.to("meta"), x.detach().to("meta")
    with JumpstartRegularization(model, **options) as jumpstart:
        for _ in range(2):
            model(x)
            assert jumpstart.loss.device.type == "meta"
            jumpstart.loss.backward()
        for parameter in model.parameters():
            assert parameter.grad is None or parameter.grad.shape == parameter.shape


@pytest.mark.parametrize("shape", [(3, 4), (1500, 4), (3, 4, 5, 6), (2, 3, 40, 40)], ids=str)
@pytest.mark.parametrize("ties", ["single", "random"])
def test_gradients_stay_on_the_device(shape: tuple[int, ...], ties: str) -> None:
    rule = Rule(ties=ties)  # type: ignore[arg-type]
    z = torch.randn(shape, device="meta", requires_grad=True)
    record = extrema_of([z, z * 2], ["a", "b"], rule=rule, weights=(1.0, 1.0, 0.5, 0.25))
    assert record.penalty is not None
    (record.penalty + record.unit.sum() + record.point.sum()).backward()
    _, record = tap(z, "a", rule=rule)
    (record.unit.sum() + record.point.sum()).backward()
    assert z.grad is not None
    assert z.grad.device.type == "meta"
    assert z.grad.shape == z.shape


@pytest.mark.parametrize("kind", ["dense", "shared", "conv2d"])
def test_counting_reads_no_value(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    model, x = make(kind)
    model, x = model.to("meta"), x.detach().to("meta")
    sample = PointSample(5)
    status = NetworkStatus(sample=sample).to("meta")
    with JumpstartRegularization(model) as jumpstart:
        for bound in (0, MOST, 0):
            monkeypatch.setattr(recorder_of(jumpstart), "small", bound)
            model(x)
            status.update(jumpstart.extrema)
    status.reduce_pending()
    assert status.reach.device.type == status.counts.device.type == "meta"
    assert sample.seen == 3 * len(x)
    assert sample.rows.device.type == "meta"


def recorder_of(jumpstart: JumpstartRegularization) -> recorder.Recorder:
    assert jumpstart._recorder is not None
    return jumpstart._recorder


def test_a_value_of_this_device_cannot_be_read() -> None:
    z: Tensor = torch.zeros(2, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        z.sum().item()
    with pytest.raises(RuntimeError, match="device"):
        torch.add(z, torch.ones(2))
