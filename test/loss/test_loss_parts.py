"""The parts of the units and of the points in the loss, read from the regularizer."""

from __future__ import annotations

import pytest
import torch
from support.processes import in_ranks
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.choices import Aggregate, Terms
from jumpstart.penalty import Penalty


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6), nn.ReLU())


def hinges(reaches: list[Tensor], weights: tuple[float, float]) -> Tensor:
    """(2, slices) the positive and the negative hinge of every slice."""
    reach = torch.cat([reach.flatten(1) for reach in reaches], 1)
    return torch.stack([weights[0] * (0.7 - reach[0]).relu(), weights[1] * (0.3 - reach[1]).relu()])


@pytest.mark.parametrize("aggregate", list(Aggregate))
@pytest.mark.parametrize("terms", ["all", "unit", "point", "unit_positive,point_negative"])
@pytest.mark.parametrize("small", [10**9, 0])
def test_the_parts_are_those_of_the_definition(
    aggregate: Aggregate, terms: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", small)
    chosen = Terms.parse(terms)
    model = network()
    options = {"positive_weight": 0.5, "negative_weight": 2.0, "margin": 0.7, "negative_margin": 0.3}
    with JumpstartRegularization(model, aggregate=aggregate, terms=terms, **options) as jumpstart:
        for size in (9, 4):
            model(torch.randn(size, 3))
            found = jumpstart.unit_loss, jumpstart.point_loss
            loss = jumpstart.loss
            sides = []
            for kind, (up, down) in {"unit": (1, 2), "point": (4, 8)}.items():
                own = (0.5 * bool(chosen & Terms(up)), 2.0 * bool(chosen & Terms(down)))
                reaches = [getattr(record, kind) for record in jumpstart.extrema]
                sides.append(hinges(reaches, own) if any(own) else torch.zeros(2, 0))
            vectors = [pair.sum(0) for pair in sides]
            count = sum(len(vector) for vector in vectors)
            expected = {
                "balanced": [vector.sum() / max(1, len(vector)) for vector in vectors],
                "mean": [vector.sum() / count for vector in vectors],
                "norm": [vector.norm() for vector in vectors],
                "sum_of_squares": [vector.square().sum() for vector in vectors],
                "sum_of_squared_hinges": [pair.square().sum() for pair in sides],
            }[aggregate]
            torch.testing.assert_close(list(found), expected, rtol=1e-5, atol=1e-6)
            powers = 2 if aggregate == "norm" else 1
            torch.testing.assert_close(sum(part**powers for part in found), loss.detach() ** powers)
            assert not any(part.requires_grad for part in found)
            assert jumpstart.loss is loss
            loss.backward()


def test_a_part_belongs_to_the_latest_pass_and_needs_one() -> None:
    model = network()
    jumpstart = JumpstartRegularization(model)
    with pytest.raises(RuntimeError, match="run the model first"):
        _ = jumpstart.unit_loss
    seen = []
    for _ in range(2):
        with torch.no_grad():
            model(torch.randn(5, 3))
        seen.append(float(jumpstart.point_loss))
        assert float(jumpstart.point_loss) == pytest.approx(float(Penalty("point")(jumpstart.extrema)))
    assert seen[0] != seen[1]
    jumpstart.remove()
    with pytest.raises(RuntimeError, match="attached to no model"):
        _ = jumpstart.point_loss


def test_reading_the_parts_changes_no_gradient() -> None:
    gradients = []
    for reads in (False, True):
        model = network()
        with JumpstartRegularization(model, ties="average") as jumpstart:
            torch.manual_seed(1)
            model(torch.randn(9, 3))
            if reads:
                _ = jumpstart.unit_loss + jumpstart.point_loss
            jumpstart.loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def parts_in_a_rank() -> list[float]:
    model = network()
    with JumpstartRegularization(model, sync=True) as jumpstart, torch.no_grad():
        model(rows()[torch.distributed.get_rank() :: 2])
        return [float(value) for value in (jumpstart.loss, jumpstart.unit_loss, jumpstart.point_loss)]


def rows() -> Tensor:
    return torch.randn(20, 3, generator=torch.Generator().manual_seed(5))


def test_synchronized_parts_are_those_of_the_whole_batch() -> None:
    found = in_ranks(parts_in_a_rank)
    model = network()
    with JumpstartRegularization(model) as jumpstart, torch.no_grad():
        model(rows())
        expected = [float(value) for value in (jumpstart.loss, jumpstart.unit_loss, jumpstart.point_loss)]
    assert found[0] == found[1] == pytest.approx(expected, rel=1e-5)
