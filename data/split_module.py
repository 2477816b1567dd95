"""A data set in three parts as a ``LightningDataModule``."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from data.split_data import Loader, SplitData


class SplitDataModule(SplitData[Loader], pl.LightningDataModule):
    """A :class:`~data.split_data.SplitData` that a Lightning trainer can use.

    Under a trainer, batches are on its device, and each process serves its slice of each batch.
    """

    name: str

    def prepare_data(self) -> None:
        """Fill the cache if the data set is read from files. Lightning calls this method in one process."""
        self.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Load and split the data set; a second call does nothing.

        Raises:
            ValueError: If the data set cannot be split into three parts.
            DataError: If a file is missing, damaged or not laid out as it should be.
        """
        super().setup()

    def train_dataloader(self) -> Loader:
        """Shuffled batches of the training part; images are augmented while the trainer trains."""
        return self.batches("train", shuffle=True)

    def val_dataloader(self) -> Loader:
        """Batches of the validation part, in a fixed order."""
        return self.batches("val")

    def test_dataloader(self) -> Loader:
        """Batches of the test part, in a fixed order."""
        return self.batches("test")

    def state_dict(self) -> dict[str, str]:
        """The fingerprint, which Lightning stores in checkpoints."""
        fingerprint = self.fingerprint()
        return {"fingerprint": fingerprint} if fingerprint else {}

    @property
    def device(self) -> torch.device:
        """The device of the trainer; the CPU without a trainer."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
