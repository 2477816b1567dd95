"""The description of a run by the program that trained it: its network in words, and its commands.

The report is part of the library and has no knowledge of the options and scripts of a program. The program therefore
writes ``run.json`` into the run directory when it creates a run. Without this file the report says less.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

DESCRIPTION = "run.json"
"""The name of the file in a run directory."""


@dataclass(frozen=True)
class Remedies:
    """The commands and options that the advice quotes, with placeholders in braces; empty if the program has none.

    Attributes:
        resume: The command that continues the run in ``{run}``.
        extend: The command that trains the run in ``{run}`` on, to ``{epochs}`` epochs in all.
        weight: The option that sets the weight of the Jumpstart loss to ``{weight}``.
        record_status: The option that records the status of units and points.
    """

    resume: str = ""
    extend: str = ""
    weight: str = ""
    record_status: str = ""

    def command(self, name: str, run: Path, **values: object) -> str:
        """The command with its placeholders filled in; empty if the program has none.

        Example:
            >>> Remedies(resume="train.py --resume={run}").command("resume", Path("my runs/a"))
            "train.py --resume='my runs/a'"
        """
        text: str = getattr(self, name)
        for key, value in {"run": shlex.quote(str(run)), **values}.items():
            text = text.replace(f"{{{key}}}", str(value))
        return text


@dataclass(frozen=True)
class RunDescription:
    """The content of ``run.json``.

    Attributes:
        dataset: The name of the data set.
        network: The network in words, such as ``50 layers of 4 units``.
        settings: The most important options by name, for the line below the title.
        has_skips: Whether skip connections carry gradient past layers.
        epochs: The planned number of epochs, or None.
        weight: The weight of the Jumpstart loss, or None.
        records_status: Whether the run records the status of units and points, or None.
        naming_options: The options that name a run and change nothing in it.
        remedies: The commands and options that the advice quotes.
    """

    dataset: str = ""
    network: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    has_skips: bool = False
    epochs: int | None = None
    weight: float | None = None
    records_status: bool | None = None
    naming_options: tuple[str, ...] = ()
    remedies: Remedies = field(default_factory=Remedies)

    @classmethod
    def parse(cls, content: Mapping[str, object]) -> RunDescription:
        """The description in a mapping; values that are missing or of the wrong type become the defaults.

        Example:
            >>> description = RunDescription.parse({"network": "3 layers of 4 units", "epochs": "many"})
            >>> description.network, description.epochs
            ('3 layers of 4 units', None)
        """
        dataset, network = content.get("dataset"), content.get("network")
        settings, names, remedies = (content.get(name) for name in ("settings", "naming_options", "remedies"))
        epochs, weight, records = (content.get(name) for name in ("epochs", "weight", "records_status"))
        known = {item.name for item in fields(Remedies)}
        texts = remedies.items() if isinstance(remedies, dict) else ()
        return cls(
            dataset=dataset if isinstance(dataset, str) else "",
            network=network if isinstance(network, str) else "",
            settings={str(name): value for name, value in settings.items()} if isinstance(settings, dict) else {},
            has_skips=content.get("has_skips") is True,
            epochs=epochs if isinstance(epochs, int) and not isinstance(epochs, bool) else None,
            weight=float(weight) if isinstance(weight, int | float) and math.isfinite(weight) else None,
            records_status=records if isinstance(records, bool) else None,
            naming_options=tuple(str(name) for name in names) if isinstance(names, list) else (),
            remedies=Remedies(**{name: text for name, text in texts if name in known and isinstance(text, str)}),
        )
