"""Checks of single options: each returns the value to keep, or raises :class:`ConfigError`.

Imports torch for an activation alone, so that most errors are shown without the seconds that torch takes to import.
"""

from __future__ import annotations

from jumpstart.choices import Part, Terms
from jumpstart.files import PathError, absolute_path, is_path, user_path
from jumpstart.files.drafts import DRAFT_PREFIX
from jumpstart.words import shorten
from model.config.options import unknown_value
from model.errors import ConfigError

ACTIVATIONS = "a torch.nn activation such as relu, gelu or tanh, or package.module:Class of your own"
"""The accepted activations, in words."""

USUAL_ACTIVATIONS = ("relu", "leakyrelu", "gelu", "silu", "elu", "tanh", "sigmoid", "softplus")
"""Activations by their canonical names; there are many more."""

TERMS = tuple(name.lower() for name in Terms.__members__ if name != "ALL")
PART_LIST = f"a comma-separated list of {', '.join(Part)}"
_LONGEST_TAG = 64
GPUS = 'auto, a number >= 0, or indices such as "0,1"'
AUTO_MARGIN = "auto"
"""The negative margin that follows from the depth of the network."""
NEGATIVE_MARGIN = f"{AUTO_MARGIN} or a number > 0"


def check_activation(name: str, value: str) -> str:
    """The canonical name of an activation, as :func:`model.activations.canonical_activation` returns it.

    Args:
        name: Name of the option.
        value: A name, or ``package.module:Class``, which is imported.

    Raises:
        ConfigError: If there is no such activation.

    Example:
        >>> check_activation("activation", "Leaky_ReLU")
        'leakyrelu'
    """
    if value in USUAL_ACTIVATIONS:  # without the seconds that torch takes to import
        return value
    from model.activations import canonical_activation

    try:
        return canonical_activation(value)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_terms(name: str, value: str) -> str:
    """The terms in lower case, each once, without blanks.

    Args:
        name: Name of the option.
        value: ``all``, or names of terms separated by commas.

    Raises:
        ConfigError: If a term is unknown.

    Example:
        >>> check_terms("terms", "unit, Point_Positive")
        'unit,point_positive'
    """
    words = list(dict.fromkeys(word.strip().lower() for word in value.split(",")))
    for word in words:
        if word not in ("all", *TERMS):
            raise unknown_value(name, f"all or a comma-separated list of {', '.join(TERMS)}", word, ("all", *TERMS))
    return "all" if "all" in words else ",".join(words)


def check_parts(name: str, value: str) -> str:
    """The parts of the data in lower case, without blanks.

    Args:
        name: Name of the option.
        value: Names of parts separated by commas.

    Raises:
        ConfigError: If a part is unknown or named twice.

    Example:
        >>> check_parts("plot_parts", "val, Test")
        'val,test'
    """
    words = [word.strip().lower() for word in value.split(",")]
    for place, word in enumerate(words):
        if word not in tuple(Part):
            raise unknown_value(name, PART_LIST, word, map(str, Part))
        if word in words[:place]:
            raise ConfigError(f"{name} must name each part once, got {word!r} twice.")
    return ",".join(words)


def check_gpus(name: str, value: int | str) -> int | str:
    """``auto``, a number of GPUs, or the indices of those to use, without blanks.

    Args:
        name: Name of the option.
        value: The number, or a text.

    Raises:
        ConfigError: If a text is none of these, or repeats an index.

    Example:
        >>> check_gpus("gpus", "0, 1"), check_gpus("gpus", "2")
        ('0,1', 2)
    """
    if isinstance(value, int):
        return value
    word = value.replace(" ", "").lower()
    if word == "auto":
        return word
    indices = word.rstrip(",").split(",")
    numeric = all(index.isascii() and index.isdigit() for index in indices)
    if not numeric or len(set(indices)) < len(indices):
        raise ConfigError(f"{name} must be {GPUS}, got {value!r}.")
    return word if "," in word else int(word)


def check_negative_margin(name: str, value: float | str) -> float | str:
    """``auto`` in lower case, or the number.

    Args:
        name: Name of the option.
        value: The number, or a text.

    Raises:
        ConfigError: If a text is another word.

    Example:
        >>> check_negative_margin("negative_margin", "Auto"), check_negative_margin("negative_margin", 0.1)
        ('auto', 0.1)
    """
    if isinstance(value, float):
        return value
    word = value.strip().lower()
    if word != AUTO_MARGIN:
        raise unknown_value(name, NEGATIVE_MARGIN, value, [AUTO_MARGIN])
    return word


def check_name(name: str, value: str) -> str:
    """A text that can be the name of one folder.

    Args:
        name: Name of the option.
        value: The text.

    Raises:
        ConfigError: If it has separators or unprintable characters, or is too long.
    """
    unusable = any(mark in "/\\" or not mark.isprintable() for mark in value)
    reserved = value.startswith(DRAFT_PREFIX)  # a later run removes drafts
    if value in (".", "..") or reserved or unusable or "::" in value or len(value.encode()) > 150:
        raise ConfigError(
            f"{name} must be a plain folder name of at most 150 bytes in UTF-8, "
            f"and must not begin with {DRAFT_PREFIX}, got {shorten(repr(value), 200)}."
        )
    return value


def check_dataset(name: str, value: str) -> str:
    """The name of a data set as it is, and a path as an absolute path, so that a run can be resumed from any folder.

    Args:
        name: Name of the option.
        value: The name or the path.

    Raises:
        ConfigError: If it is a URL, or no path at all.

    Example:
        >>> check_dataset("dataset", "moons"), check_dataset("dataset", "/data/../flowers/")
        ('moons', '/flowers')
    """
    return check_file(name, value) if is_path(value) else value


def check_path(name: str, value: str) -> str:
    """A local path, with the home folder in place of ``~``; see :func:`~jumpstart.files.user_path`.

    Args:
        name: Name of the option.
        value: The path.

    Raises:
        ConfigError: If it is a URL, or no path at all.
    """
    try:
        return str(user_path(value, name))
    except PathError as error:
        raise ConfigError(str(error)) from None


def check_file(name: str, value: str) -> str:
    """A local path as an absolute path, so that a run can be resumed from any folder.

    Args:
        name: Name of the option.
        value: The path.

    Raises:
        ConfigError: If it is a URL, or no path at all.

    Example:
        >>> check_file("val_dataset", "/data/../val.csv")
        '/val.csv'
    """
    return str(absolute_path(check_path(name, value), name))


def check_tags(name: str, value: str) -> str:
    """Tags separated by commas, each once, without blanks around them.

    Args:
        name: Name of the option.
        value: The tags.

    Raises:
        ConfigError: If a tag is empty, or longer than Weights & Biases allows.

    Example:
        >>> check_tags("wandb_tags", "moons, deep,moons")
        'moons,deep'
    """
    tags = dict.fromkeys(tag.strip() for tag in value.split(","))
    wrong = next((tag for tag in tags if not 1 <= len(tag) <= _LONGEST_TAG), None)
    if wrong is not None:
        raise ConfigError(f"{name} must be tags of 1 to {_LONGEST_TAG} characters, separated by commas, got {wrong!r}.")
    return ",".join(tags)
