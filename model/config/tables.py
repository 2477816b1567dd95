"""Options of a config class as Markdown tables, for the documents."""

from __future__ import annotations

from collections.abc import Iterable

from model.config.options import GROUPS, Config, Option, options

_HEAD = ("flag", "default", "values", "meaning")


def markdown_table(
    config_class: type[Config], group: str | None = None, *, differing_from: type[Config] | None = None
) -> str:
    """One table of options: flag, default, accepted values and meaning.

    Args:
        config_class: The config whose fields are the options.
        group: Only the options of this group; None: all of them, group by group.
        differing_from: Only the options that this other config lacks, or lists with another row.

    Returns:
        Lines without a final line break; empty if no option is left.

    Raises:
        ValueError: If there is no such group.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> markdown_table(RectangularConfig, "network").splitlines()[2]
        '| `--depth` | `50` | >= 1 | Number of hidden layers. |'
    """
    if group is not None and group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(GROUPS)}, got {group!r}.")
    others = {} if differing_from is None else options(differing_from)
    rows = [
        _row(item)
        for item in options(config_class).values()
        if group in (None, item.group) and (item.name not in others or _row(others[item.name]) != _row(item))
    ]
    return "\n".join([_line(_HEAD), "|---" * len(_HEAD) + "|", *map(_line, rows)]) if rows else ""


def markdown_tables(
    config_class: type[Config], *, heading: str = "####", differing_from: type[Config] | None = None
) -> str:
    """One table per group, each under a heading with the name of the group.

    Args:
        config_class: The config whose fields are the options.
        heading: Marks of the headings.
        differing_from: As in :func:`markdown_table`. Groups without a row are left out.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> [line for line in markdown_tables(RectangularConfig).splitlines() if line.startswith("#")]
        ['#### Network', '#### Optimization', '#### Jumpstart', '#### Data', '#### Run']
    """
    tables = {group: markdown_table(config_class, group, differing_from=differing_from) for group in GROUPS}
    return "\n\n".join(f"{heading} {group.capitalize()}\n\n{table}" for group, table in tables.items() if table)


def _row(item: Option) -> tuple[str, ...]:
    return f"`--{item.name}`", f"`{item.default_text}`", item.values, item.help


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
