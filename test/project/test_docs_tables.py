"""README and docs/: the structure, the tables and the map of names are those of the code."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
from support.documents import LAUNCHERS, README, ROOT, Row, commands_of, prose_of, section_of, table_of, tables_of

from data.data import DATASETS
from model.config.experiment import ExperimentConfig
from model.config.options import GROUPS, Option, options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.errors import ConfigError
from scripts.make_tables import PAGES, TABLES, filled, table_names

OPTIONS, DATA, SWEEPS = PAGES
PUBLISHED = ROOT / "docs" / "from-the-published-code.md"
EXPERIMENTS = ROOT / "docs" / "experiments.md"
README_LINES = 380

# The structure ------------------------------------------------------------------------------------


def structure() -> set[str]:
    """Paths that the README's section on the structure lists."""
    section = re.search(r"^## Repository Structure\n(.*?)^## ", README.read_text(encoding="utf-8"), re.S | re.M)
    assert section
    listed, folder = set(), ""
    for indent, names in re.findall(r"^( *)- ((?:`[^`]+`(?:, )?)+) ", section[1], re.MULTILINE):
        found = re.findall(r"`([^`]+)`", names)
        listed |= {f"{folder if indent else ''}{name}" for name in found}
        folder = folder if indent else found[0]
    return listed


def test_everything_in_the_structure_exists() -> None:
    listed = structure()
    assert len(listed) > 30
    assert not [name for name in listed if not (ROOT / name).exists()]


def test_every_folder_and_launcher_is_in_the_structure() -> None:
    ignored = {line.strip("/*") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    code = (path for pattern in ("*.py", "*.md") for path in ROOT.glob(f"*/{pattern}"))
    tops = {path.parent.name for path in code} - ignored
    tops = {name for name in tops if not name.startswith(".")} | {"test"}
    assert tops >= {"jumpstart", "data", "model", "sweep", "test", "docs"}
    wings = {
        f"{package}/{module.name}/"
        for package in ("jumpstart", "data", "model", "sweep")
        for module in pkgutil.iter_modules([str(ROOT / package)])
        if module.ispkg
    }
    launchers = {path.name for path in ROOT.glob("run_*.py")}
    assert {f"{name}/" for name in tops} | wings | launchers <= structure()


def test_the_readme_is_short() -> None:
    assert README.read_text(encoding="utf-8").count("\n") <= README_LINES


# Tables -------------------------------------------------------------------------------------------


def default_of(item: Option) -> str:
    if isinstance(item.default, tuple):
        return ",".join(map(str, item.default)) or "none"
    return str(item.default)


def accepted_by(item: Option) -> str:
    return item.words or ", ".join(map(str, item.choices)) or item.range


def option_row(item: Option) -> Row:
    return {
        "flag": f"`--{item.name}`",
        "default": f"`{default_of(item)}`",
        "values": accepted_by(item),
        "meaning": item.help,
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_as_the_script_writes_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == filled(text), "run: python -m scripts.make_tables"


def test_every_table_of_the_script_is_in_a_page() -> None:
    assert sorted(name for page in PAGES for name in table_names(page.read_text(encoding="utf-8"))) == sorted(TABLES)


def test_the_script_replaces_tables_and_nothing_else() -> None:
    text = DATA.read_text(encoding="utf-8")
    damaged = text.replace("| `iris` |", "| `irises` |")
    assert damaged != text
    assert filled(damaged) == text
    with pytest.raises(KeyError, match="no such table"):
        filled("<!-- table: no such table -->\n<!-- /table -->")


@pytest.mark.parametrize("group", GROUPS)
def test_parameters_are_those_of_the_config(group: str) -> None:
    expected = [option_row(item) for item in options(RectangularConfig).values() if item.group == group]
    assert table_of(OPTIONS, f"### {group.capitalize()}") == expected


def test_parameters_of_resnets_are_those_that_differ() -> None:
    others = options(RectangularConfig)
    expected = [
        option_row(item)
        for item in options(ResnetConfig).values()
        if item.name not in others or option_row(others[item.name]) != option_row(item)
    ]
    assert table_of(OPTIONS, "## ResNets") == expected


def test_options_that_resnets_lack_are_listed() -> None:
    (line,) = re.findall(r"^.* do not apply to ResNets\.$", section_of(OPTIONS, "## ResNets"), re.MULTILINE)
    missing = options(RectangularConfig).keys() - options(ResnetConfig).keys()
    assert set(re.findall(r"`--(\w+)`", line)) == missing


def test_data_sets_are_those_of_the_registry() -> None:
    expected = [
        {
            "name": f"`{d.name}`",
            "title": f"[{d.title}]({d.url})",
            "source": d.source,
            "rows": str(d.rows),
            "features": str(d.features),
            "classes": str(d.classes),
            "license": d.license,
        }
        for d in DATASETS.values()
    ]
    assert tables_of(prose_of(DATA))[0] == expected


def test_options_that_may_change_on_resume_are_listed() -> None:
    section = section_of(EXPERIMENTS, "## Resume")
    (item,) = re.findall(r"^- (`--epochs`.*?)can be changed on resume", section, re.DOTALL | re.MULTILINE)
    tables = (options(RectangularConfig), options(ResnetConfig))
    resumable = {name for table in tables for name, option in table.items() if option.resumable}
    assert set(re.findall(r"`--(\w+)`", item)) == resumable


# The map of names ---------------------------------------------------------------------------------

FLAG = re.compile(r"`--(\w+)(?:=([^`]+))?`")


def published_rows() -> list[Row]:
    return [row for table in tables_of(prose_of(PUBLISHED)) for row in table if "here" in row]


def test_flags_of_the_map_exist() -> None:
    named = [found for row in published_rows() for found in FLAG.findall(row["here"])]
    assert len(named) > 40
    for name, value in named:
        tables = [options(config) for config in LAUNCHERS.values()]
        known = [table[name] for table in tables if name in table]
        assert known, f"{PUBLISHED.name} names --{name}"
        assert not value or any(accepts(item, value) for item in known), f"{PUBLISHED.name}: --{name}={value}"


def accepts(item: Option, value: str) -> bool:
    try:
        item.parse(value)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("column", "config"), [("rectangular", RectangularConfig), ("ResNet", ResnetConfig)])
def test_defaults_of_the_map_are_those_of_the_config(column: str, config: type[ExperimentConfig]) -> None:
    table = options(config)
    stated = 0
    for row in published_rows():
        if column not in row:
            continue
        ((name, _),) = FLAG.findall(row["here"])
        assert row[column] == (f"`{default_of(table[name])}`" if name in table else ""), name
        stated += 1
    assert stated > 10


def test_modules_and_classes_of_the_map_exist() -> None:
    rows = table_of(PUBLISHED, "## Modules and classes")
    module = re.compile(r"`((?:jumpstart|data|model)\.[\w.]+)`")
    names = [name for row in rows for name in module.findall(" ".join(row.values()))]
    assert len(names) > 10
    for name in names:
        assert pkgutil.resolve_name(name) is not None
    files = {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row["there"])}
    assert files
    assert not [name for name in files if not (ROOT / name).is_file()], "every published module is importable here"


def test_flags_of_the_published_readme_exist() -> None:
    table = tables_of(section_of(PUBLISHED, "## Flags and defaults"))[0]
    mapped = {name for row in table for name, _ in FLAG.findall(row["here"])}
    commands = [words for words in commands_of(README) if "--plot_status=True" in words]
    assert {word[2:].partition("=")[0] for words in commands for word in words[2:]} == mapped
