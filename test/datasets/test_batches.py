"""Whole-tensor batches, alone and under Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from data.batches import Batch, OrderedBatches, TensorBatches
from data.data import make_datamodule


def numbered(rows: int = 10, **options: object) -> TensorBatches:
    return TensorBatches(torch.arange(float(rows)).reshape(-1, 1), torch.arange(rows), **options)


def rows_by_batch(batches: TensorBatches) -> list[list[int]]:
    rows = []
    for x, y in batches:
        assert torch.equal(x.flatten().long(), y)
        rows.append(y.tolist())
    assert len(rows) == len(batches)
    return rows


@pytest.mark.parametrize("rows", [1, 7, 10])
@pytest.mark.parametrize("batch_size", [None, 1, 3, 5, 7, 10, 99])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_the_rows(rows: int, batch_size: int | None, drop_last: bool, shuffle: bool) -> None:
    size = min(batch_size or rows, rows)
    expected = [list(range(rows))[i : i + size] for i in range(0, rows, size)]
    if drop_last:
        expected = [batch for batch in expected if len(batch) == size]
    served = rows_by_batch(numbered(rows, batch_size=batch_size, drop_last=drop_last, shuffle=shuffle))
    assert [len(batch) for batch in served] == [len(batch) for batch in expected]
    flat = [row for batch in served for row in batch]
    assert len(set(flat)) == len(flat)
    if not shuffle:
        assert served == expected


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [None, 10, 11])
def test_one_full_batch_is_the_tensors_themselves(shuffle: bool, batch_size: int | None) -> None:
    batches = numbered(batch_size=batch_size, shuffle=shuffle)
    ((x, y),) = list(batches)
    assert x is batches.x
    assert y is batches.y


def test_a_pass_gathers_once_and_then_slices() -> None:
    fixed = numbered(batch_size=3)
    assert {x.untyped_storage().data_ptr() for x, _ in fixed} == {fixed.x.untyped_storage().data_ptr()}
    shuffled = list(numbered(batch_size=3, shuffle=True))
    assert len({x.untyped_storage().data_ptr() for x, _ in shuffled}) == 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = numbered(50, batch_size=8, shuffle=True, seed=3)
    orders = [rows_by_batch(first) for _ in range(4)]
    assert len({str(order) for order in orders}) == 4
    torch.manual_seed(99)
    again = numbered(50, batch_size=8, shuffle=True, seed=3)
    for epoch in (2, 0, 3):
        again.set_epoch(epoch)
        iter(again)
        assert rows_by_batch(again) == orders[epoch]
    assert rows_by_batch(numbered(50, batch_size=8, shuffle=True)) == rows_by_batch(
        numbered(50, batch_size=8, shuffle=True, seed=0)
    )
    other = [rows_by_batch(numbered(50, batch_size=8, shuffle=True, seed=s)) for s in (2, 4, 5)]
    assert not any(order in orders for order in other)
    with pytest.raises(ValueError, match="epoch must be >= 0"):
        again.set_epoch(-1)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [None, 4, 7])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_slices_of_all_ranks_make_up_each_batch(
    world_size: int, batch_size: int | None, shuffle: bool, drop_last: bool
) -> None:
    options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    for epoch in range(2):
        whole = numbered(22, **options)
        whole.set_epoch(epoch)
        ranks = [numbered(22, rank=r, world_size=world_size, **options) for r in range(world_size)]
        for rank in ranks:
            rank.set_epoch(epoch)
        shares = [rows_by_batch(rank) for rank in ranks]
        for i, batch in enumerate(rows_by_batch(whole)):
            pieces = [share[i] for share in shares]
            assert all(pieces)
            if len(batch) >= world_size:
                assert [row for piece in pieces for row in piece] == batch
                assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
            else:
                assert {row for piece in pieces for row in piece} == set(batch)


def test_moving_keeps_the_order() -> None:
    batches = numbered(batch_size=3, shuffle=True, seed=5)
    batches.set_epoch(4)
    assert batches.to("cpu") is batches
    moved = batches.to("meta")
    assert moved.x.device.type == "meta"
    assert moved.epoch == 4
    assert [len(y) for _, y in moved] == [3, 3, 3, 1]
    share = numbered(batch_size=3, shuffle=True, rank=1, world_size=2).to("meta")
    assert [len(y) for _, y in share] == [2, 2, 2, 1]
    assert TensorBatches(moved.x, torch.arange(10)).to("meta").y.device.type == "meta"


def test_targets_may_have_several_columns() -> None:
    rows = torch.arange(10.0)
    for x, y in TensorBatches(rows, torch.stack([rows, 2 * rows], 1), batch_size=4, shuffle=True):
        assert torch.equal(y, torch.stack([x, 2 * x], 1))


class Doubled(OrderedBatches):
    """The rows of an order, each twice."""

    def __iter__(self) -> Iterator[Batch]:
        return ((x.repeat(2, 1), y.repeat(2)) for x, y in self.order)


def test_batches_of_rows_have_the_length_and_the_epoch_of_their_order() -> None:
    order = numbered(batch_size=3, shuffle=True)
    doubled = Doubled(order)
    assert [len(y) for _, y in doubled] == [6, 6, 6, 2]
    assert len(doubled) == 4
    assert doubled.sampler is order
    doubled.set_epoch(7)
    assert order.epoch == 7
    assert repr(order) == "TensorBatches(10 rows, batch_size=3, batches=4, shuffle=True)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -1}, "batch_size"),
        ({"batch_size": 1.0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"world_size": 0}, "world_size must be"),
        ({"rank": 2, "world_size": 2}, "rank must be < world_size"),
        ({"rank": -1}, "rank"),
        ({"y": torch.zeros(3)}, "x and y"),
        ({"x": torch.zeros(0), "y": torch.zeros(0)}, "x and y"),
    ],
)
def test_bad_batches_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorBatches(**{"x": torch.zeros(4, 2), "y": torch.zeros(4), **change})


# Lightning ---------------------------------------------------------------------------------------


class Recorder(pl.LightningModule):
    """A linear model that records the rows of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.seen: dict[int, list[list[float]]] = {}
        self.held_out = 0

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.seen.setdefault(self.current_epoch, []).append(batch[0][:, 0].tolist())
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.held_out += len(batch[0])

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Recorder]:
    def fit(epochs: int, checkpoint: Path | None = None) -> Recorder:
        module, model = make_datamodule("moons", num_points=100, batch_size=16, seed=7), Recorder()
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(model, module, ckpt_path=checkpoint, weights_only=False if checkpoint else None)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        model.held_out = 0
        trainer.test(model, module, verbose=False)
        assert model.held_out == 15
        return model

    return fit


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_lightning_sets_the_epoch_so_that_a_resumed_run_has_the_same_order(
    train: Callable[..., Recorder], tmp_path: Path
) -> None:
    whole, _ = train(5).seen, train(2)
    rest = train(5, tmp_path / "2.ckpt").seen
    assert len({str(order) for order in whole.values()}) == 5
    assert sorted(rest) == [2, 3, 4]
    assert all(rest[epoch] == whole[epoch] for epoch in rest)
    module = make_datamodule("moons", num_points=100, batch_size=16, seed=7)
    module.setup()
    batches = module.train_dataloader()
    for epoch, seen in whole.items():
        batches.set_epoch(epoch)
        assert [x[:, 0].tolist() for x, _ in batches] == seen


def test_each_process_of_a_distributed_trainer_serves_its_slice() -> None:
    module = make_datamodule("iris", batch_size=16)
    module.setup()
    whole = [y.tolist() for _, y in module.val_dataloader()]
    shares = []
    for rank in range(2):
        module.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=2,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        shares.append([y.tolist() for _, y in module.val_dataloader()])
    assert [a + b for a, b in zip(*shares, strict=True)] == whole
