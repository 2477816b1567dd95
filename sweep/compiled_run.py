"""The engine of runs that the compiled engine trains. Needs no Lightning."""

from __future__ import annotations

import importlib.metadata
from functools import partial
from typing import TYPE_CHECKING, Any

from torch.nn.utils import parameters_to_vector

from data.batches import TensorBatches
from data.tabular import TabularData
from jumpstart.choices import Part
from jumpstart.engine.build import Build
from jumpstart.engine.layout import Outcome
from jumpstart.engine.member import Member, MemberState
from jumpstart.files.checkpoints import save_checkpoint
from model.compiled import captured_layers, load_weights, make_member, order_of_epoch, schedules
from model.config.batches import check_batches
from model.config.rectangular import RectangularConfig
from model.divergence import divergence
from model.errors import NonFiniteLossError
from model.fresh_starts import begins_anew, fresh_network
from model.goal import has_reached_goal
from model.optimization import lambda_at, lr_at
from model.rectangular import RectangularNetwork
from model.rectangular_network import make_network
from sweep.engine import Trained
from sweep.metrics_csv import MetricsCsv
from sweep.resumption import Content, check_fits, read_checkpoint
from sweep.run_directory import RunDirectory
from sweep.signals import signals_held
from sweep.watchers.best_weights import BestWeights
from sweep.watchers.epoch_rows import EpochRows
from sweep.watchers.intervals import plots_every, rows_every
from sweep.watchers.progress_bar import ProgressBar

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

    from data.data import AnyData
    from model.experiment import Experiment
    from sweep.watchers.decision_frames import DecisionFrames
    from sweep.watchers.status_frames import StatusFrames

SLICE_SECONDS = 1.0
"""Longest time, up to the end of an epoch, after which Python sees Ctrl-C and the progress bar moves."""
SLICE_EPOCHS = 1000
"""Most epochs whose metrics are in memory at a time."""


class CompiledEngine:
    """Trains a rectangular network with the compiled engine.

    Args:
        config: The run, which the engine must cover.
        build: The compiled functions.
    """

    def __init__(self, config: RectangularConfig, build: Build) -> None:
        self._config, self._functions = config, build

    @property
    def environment(self) -> dict[str, object]:
        """What ``environment.json`` says of the engine."""
        return {"engine": "compiled", "instruction_set": self._functions.name}

    def build(self, data: AnyData) -> None:
        """Build the network and the member."""
        assert isinstance(data, TabularData)
        check_batches(self._config, data.num_rows("train"), data.input_shape)
        self._network = make_network(self._config, data.input_shape, data.num_classes)
        self._data = data
        self._parts = {
            "train": (data.x_train.flatten(1), data.y_train),
            "val": (data.x_val.flatten(1), data.y_val),
            "test": (data.x_test.flatten(1), data.y_test),
        }
        parts = [self._parts["train"], self._parts["val"]]
        self._member = make_member(self._config, self._functions, self._network, parts)

    def check_fits(self, directory: RunDirectory, checkpoint: Content) -> None:
        """Refuse a checkpoint whose weights are not those of the network."""
        wanted = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        state = self._member.state_dict()["tensors"]
        parts = {
            "state_dict": (wanted, checkpoint["state_dict"]),
            "member": (state, checkpoint["member"]["tensors"]),
        }
        check_fits(directory, parts)

    def train(self, directory: RunDirectory, metrics: MetricsCsv, wandb_logger: WandbLogger | None) -> Trained:
        """Train from the last checkpoint, if there is one, and test the best weights on all three parts of the data."""
        training = _Training(self._config, self._member, self._network, self._data, directory, metrics, wandb_logger)
        training.run()
        load_weights(self._member, self._network, best=True)
        training.draw_test()
        return Trained(
            network=self._network,
            evaluation=self._evaluate(),
            best_row=training.best.best_row,
            last_row=training.row,
            epochs=self._member.epoch,
            seconds=training.best.elapsed,
            make_experiment=self._experiment,
        )

    def _evaluate(self) -> dict[str, float]:
        """The metrics of the best weights in each part."""
        found = {}
        for part, (x, y) in self._parts.items():
            if part == "train":  # in the shuffled batches of Lightning: the Jumpstart loss is a mean over batches
                order = order_of_epoch(self._functions, self._config.seed, self._member.epoch, len(x))
                x, y = x[order], y[order]
            found.update({f"{part}/{name}": value for name, value in self._member.measure(x, y, best=True).items()})
        return found

    def _experiment(self) -> Experiment:
        from model.rectangular_experiment import RectangularExperiment

        experiment = RectangularExperiment(self._config, self._data.input_shape, self._data.num_classes)
        experiment.network.load_state_dict(self._network.state_dict())
        return experiment.eval()


class _Training:
    """The epochs of one run, in slices, and all that is written between them."""

    def __init__(
        self,
        config: RectangularConfig,
        member: Member,
        network: RectangularNetwork,
        data: TabularData,
        directory: RunDirectory,
        metrics: MetricsCsv,
        wandb_logger: WandbLogger | None,
    ) -> None:
        self._config, self._member, self._network, self._data = config, member, network, data
        self._directory = directory
        self._loggers = [wandb_logger] if wandb_logger is not None else []
        self.row: dict[str, float] = {}
        self.best = BestWeights(directory.best_checkpoint, config.checkpoint_seconds)
        self._rows = EpochRows(metrics, rows_every(config))
        self._bar = ProgressBar() if config.progress else None
        self._every = plots_every(config)
        self._status: list[tuple[Part | None, StatusFrames]] = []
        self._regions: DecisionFrames | None = None

    def run(self) -> None:
        """Train to the end."""
        checkpoint = self._restore()
        self._begin(checkpoint)
        try:
            self._train()
            self._end()
        except BaseException:
            self._save_what_is_whole()
            raise
        finally:
            if self._bar is not None:
                self._bar.close()
            for _, frames in self._status:
                frames.close()

    def draw_test(self) -> None:
        """Plot the test part with the best weights, if it is plotted."""
        config = self._config
        if not config.plot_status or Part.TEST not in config.parts_plotted:
            return
        from sweep.watchers.status_frames import StatusFrames

        frames = StatusFrames(self._network, config, self._directory, Part.TEST, self._every)
        frames.draw(int(self.best.best_row["epoch"]), self._batches(Part.TEST), self._loggers)
        frames.close()

    # A run that is resumed ---------------------------------------------------------------------------------------

    def _restore(self) -> Content | None:
        if not self._directory.last_checkpoint.is_file():
            return None
        checkpoint = read_checkpoint(self._directory.last_checkpoint)
        self._member.load_state_dict(checkpoint["member"])
        self.row = checkpoint["row"]
        self.best.load_state_dict(checkpoint["best"])
        return checkpoint

    def _begin(self, checkpoint: Content | None) -> None:
        epoch = self._member.epoch
        self._rows.begin(checkpoint["best"]["metrics"] if checkpoint else None)
        if self._bar is not None:
            self._bar.begin(epoch, None if self._config.is_endless else self._config.epochs)
        if self._config.plot_status:
            self._begin_plots(epoch, checkpoint)
        self.best.begin()

    def _begin_plots(self, epoch: int, checkpoint: Content | None) -> None:
        # matplotlib is imported by runs that plot.
        from sweep.watchers.decision_frames import DecisionFrames
        from sweep.watchers.status_frames import StatusFrames

        self._status = [
            (part, StatusFrames(self._network, self._config, self._directory, part, self._every, epoch))
            for part in self._config.parts_plotted
            if part != Part.TEST
        ]
        self._regions = DecisionFrames(self._every, self._directory.plots)
        if checkpoint is not None:
            self._regions.load_state_dict(checkpoint["frames"])
        self._regions.begin(self._data.x_train, self._data.y_train, self._data.class_names)

    # Slices ------------------------------------------------------------------------------------------------------

    def _train(self) -> None:
        member, config = self._member, self._config
        while member.epoch != config.epochs and not self._has_stopped():
            if begins_anew(config, member.epoch):
                build = partial(make_network, config, self._data.input_shape, self._data.num_classes)
                member.begin_anew(parameters_to_vector(fresh_network(config, member.epoch, build).parameters()))
            before = member.state_dict()
            with signals_held():  # or rows and plots of this slice would be lost
                outcome = member.train(self._next_stop(), SLICE_SECONDS)
                last = outcome is Outcome.STOPPED_EARLY or member.epoch == config.epochs
                self._note_rows(last=last)
                if outcome is Outcome.DIVERGED:
                    raise self._diverged(before)
                is_due = self.best.tick()
                self._draw(member.epoch - 1, last=last)
            if is_due and not last:
                self._write()

    def _diverged(self, before: MemberState) -> NonFiniteLossError:
        """The error of a slice that has diverged. The slice is trained again, up to its last whole epoch.

        Args:
            before: The state in which the slice began.
        """
        member = self._member
        epoch, layer = member.epoch, captured_layers(self._config)[member.diverged_layer]
        member.load_state_dict(before)
        member.train(epoch)
        return divergence(self._config, epoch, layer)

    def _has_stopped(self) -> bool:
        """Whether the run had stopped early before it was resumed."""
        config, member = self._config, self._member
        return has_reached_goal(config, self.row) or (
            config.patience is not None and member.epoch > 0 and member.waited >= config.patience
        )

    def _next_stop(self) -> int:
        """The epoch before which the next slice ends: after the next epoch that is plotted.

        The first slice is one epoch, because rows of later epochs without a checkpoint look as if it had been lost.
        """
        config, member = self._config, self._member
        if not member.epoch:
            return 1
        stop = member.epoch + SLICE_EPOCHS
        if config.plot_status:
            stop = min(stop, -(-member.epoch // self._every) * self._every + 1)
        if config.fresh_starts > 1:
            stop = min(stop, (member.epoch // config.epochs_per_start + 1) * config.epochs_per_start)
        if config.is_endless and stop > member.epochs:
            member.extend(*schedules(config, 2 * stop))
        return min(stop, member.epochs)

    def _note_rows(self, *, last: bool) -> None:
        """Write the rows of the latest slice, and store that of the best epoch."""
        member, config = self._member, self._config
        for epoch, metrics in member.rows():
            ends = epoch == member.epoch - 1
            if not (ends or epoch % self._rows.every == 0 or epoch == member.best_epoch):
                continue
            row = {"epoch": epoch, "lr": lr_at(config, epoch), "lambda": lambda_at(config, epoch), **metrics}
            self.row = row
            self._rows.end_epoch(row, last=last and ends, loggers=self._loggers)
            if epoch == member.best_epoch:
                self.best.best_row = row
        if self._bar is not None and self.row:
            self._bar.end_epoch(member.epoch - 1, self.row)

    def _draw(self, epoch: int, *, last: bool) -> None:
        if not self._config.plot_status or not (last or epoch % self._every == 0):
            return
        load_weights(self._member, self._network)
        for part, frames in self._status:
            if frames.is_due(epoch, last=last):
                frames.draw(epoch, self._batches(part), self._loggers)
        if self._regions is not None:
            self._regions.end_epoch(epoch, self._network, last=last, loggers=self._loggers)

    def _batches(self, part: Part | None) -> TensorBatches:
        data = self._data
        x, y = {
            Part.TRAIN: (data.x_train, data.y_train),
            Part.TEST: (data.x_test, data.y_test),
        }.get(part or Part.VAL, (data.x_val, data.y_val))
        return TensorBatches(x, y, self._config.batch_size)

    # Files -------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._rows.finish(self._loggers)
        self._write()

    def _save_what_is_whole(self) -> None:
        """Store all finished epochs after an error."""
        if self._member.epoch:
            self._write()
        self._rows.finish(self._loggers)  # after the checkpoint, because the resumed run may not have this row
        if self._regions is not None:
            self._regions.write(self._loggers)

    def _write(self) -> None:
        with signals_held():
            self._write_checkpoints()

    def _write_checkpoints(self) -> None:
        member = self._member
        self._rows.metrics.sync()
        load_weights(member, self._network, best=True)
        self.best.take(self.best.best_row, self._network)
        load_weights(member, self._network)
        content: dict[str, Any] = {
            "engine": "compiled",
            "pytorch-lightning_version": importlib.metadata.version("pytorch-lightning"),
            "epoch": member.epoch,
            "row": self.row,
            "hyper_parameters": self._arguments(),
            "state_dict": {f"network.{name}": value for name, value in self._network.state_dict().items()},
            "member": member.state_dict(),
            "best": {  # the member has the weights
                **self.best.state_dict(),
                "weights": {},
                "metrics": self._rows.metrics.mark,
            },
            "frames": self._regions.state_dict() if self._regions is not None else {},
            "data": {"fingerprint": self._data.fingerprint()} if self._data.fingerprint() else {},
        }
        save_checkpoint(content, self._directory.last_checkpoint)
        self.best.write_best(self._arguments())
        self.best.note_written()

    def _arguments(self) -> dict[str, object]:
        """What rebuilds the experiment."""
        return {
            "config": self._config.to_dict(),
            "input_shape": list(self._data.input_shape),
            "num_classes": self._data.num_classes,
        }
