"""The description of a run for its report: the network in words, and the commands that the advice quotes.

The report belongs to the library, which has no knowledge of the launchers; it reads this description from ``run.json``.
"""

from __future__ import annotations

from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig

DESCRIPTION = "run.json"
"""The name of the file in a run directory. The report defines it too; importing that constant would load torch."""

_SETTINGS = {"activation": "activation", "lambda_": "lambda", "lr": "lr", "seed": "seed"}


def describe_run(config: object) -> dict[str, object] | None:
    """The content of ``run.json``, or None for a config that is not of one of the launchers.

    Args:
        config: The options of the run.

    Example:
        >>> description = describe_run(RectangularConfig(depth=3))
        >>> description["network"], description["remedies"]["resume"]
        ('3 layers of 4 units', 'python run_rectangular_sweep.py --resume={run}')
    """
    if isinstance(config, RectangularConfig):
        launcher, has_skips = "run_rectangular_sweep.py", config.skip_connections is not None
        network = f"{config.depth} layers of {config.width} units"
    elif isinstance(config, ResnetConfig):
        launcher, has_skips = "run_resnet_experiment_sweep.py", config.use_skip_connections
        network = _resnet_words(config)
    else:
        return None
    resume = f"python {launcher} --resume={{run}}"
    return {
        "dataset": config.dataset,
        "network": network,
        "settings": {name: getattr(config, option) for option, name in _SETTINGS.items()},
        "has_skips": has_skips,
        "epochs": config.epochs,
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


def _resnet_words(config: ResnetConfig) -> str:
    kind = "dense ResNet" if config.layer == "dense" else "ResNet"
    skips = "with" if config.use_skip_connections else "without"
    norm = "with" if config.use_batchnorm else "without"
    return (
        f"{kind}-{config.depth}, width x{config.width_multiplier}, {skips} skip connections, {norm} batch normalization"
    )
