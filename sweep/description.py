"""The description of a run for its report: the network in words, and the commands that the advice quotes.

The report belongs to the library, which has no knowledge of the launchers; it reads this description from ``run.json``.
"""

from __future__ import annotations

from model.config.experiment import ExperimentConfig

DESCRIPTION = "run.json"
"""The name of the file in a run directory. The report defines it too; importing that constant would load torch."""

_SETTINGS = {"activation": "activation", "lambda_": "lambda", "lr": "lr", "seed": "seed"}


def describe_run(config: object) -> dict[str, object] | None:
    """The content of ``run.json``, or None for a config without a launcher.

    Args:
        config: The options of the run.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> description = describe_run(RectangularConfig(depth=3))
        >>> description["network"], description["remedies"]["resume"]
        ('3 layers of 4 units', 'python run_rectangular_sweep.py --resume={run}')
    """
    if not isinstance(config, ExperimentConfig) or not config.launcher:
        return None
    resume = f"python {config.launcher} --resume={{run}}"
    return {
        "dataset": config.dataset_name,
        "network": config.network,
        "settings": {name: getattr(config, option) for option, name in _SETTINGS.items() if hasattr(config, option)},
        "has_skips": config.has_skips,
        "epochs": None if config.is_endless else config.epochs,
        "weight": config.lambda_,
        "records_status": config.plot_status,
        "naming_options": ["name", "output_dir"],
        "remedies": {
            "resume": resume,
            "extend": f"{resume} --epochs={{epochs}}",
            "weight": "--lambda_={weight}",
            "record_status": "--plot_status=True",
        },
    }
