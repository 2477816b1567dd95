"""The registry of data sets, their files in each format, and UCI's own files if they are cached."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from data import datasets
from data.built_in import generate
from data.cache import FOLDER_VARIABLE, DataError
from data.datasets import DATASETS, TABLES, availability, check_available, get_info, load_table
from data.tables import Kind
from data.uci.catalog import UCI
from data.uci.reading import UciSource

UNREACHABLE = "http://127.0.0.1:1"
"""An address where no server listens."""

# fmt: off
RINGS = {
    "1": 1, "2": 1, "3": 15, "4": 57, "5": 115, "6": 259, "7": 391, "8": 568, "9": 689, "10": 634,
    "11": 487, "12": 267, "13": 203, "14": 126, "15": 103, "16": 67, "17": 58, "18": 42, "19": 32,
    "20": 26, "21": 14, "22": 6, "23": 9, "24": 2, "25": 1, "26": 1, "27": 2, "29": 1,
}
# fmt: on
# Rows, columns of the first file, missing values, duplicate rows, and rows by class in the order of the labels: taken
# from the files and their documentation, not from the code.
EXPECTED: dict[str, tuple[int, int, int, int, dict[str, int]]] = {
    "abalone": (
        4177,
        9,
        0,
        0,
        RINGS,
    ),
    "credit_approval": (690, 16, 67, 0, {"-": 383, "+": 307}),
    "cylinder_bands": (540, 40, 999, 1, {"noband": 312, "band": 228}),
    "dermatology": (366, 35, 8, 0, {"1": 112, "2": 61, "3": 72, "4": 49, "5": 52, "6": 20}),
    "heart_disease": (303, 14, 6, 0, {"0": 164, "1": 55, "2": 36, "3": 35, "4": 13}),
    "diabetic": (1151, 20, 0, 5, {"0": 540, "1": 611}),
    "dishonest_users": (322, 5, 0, 307, {"untrustworthy": 97, "trustworthy": 225}),
    "early_stage_diabetes_risk": (520, 17, 0, 269, {"Negative": 200, "Positive": 320}),
    "fertility": (100, 10, 0, 1, {"N": 88, "O": 12}),
    "haberman": (306, 4, 0, 23, {"1": 225, "2": 81}),
    "hayes_roth": (160, 6, 0, 76, {"1": 65, "2": 64, "3": 31}),
    "hcv": (
        615,
        14,
        31,
        0,
        {
            "0=Blood Donor": 533,
            "0s=suspect Blood Donor": 7,
            "1=Hepatitis": 24,
            "2=Fibrosis": 21,
            "3=Cirrhosis": 30,
        },
    ),
}
NOT_FEATURES = {"cylinder_bands": 4, "hayes_roth": 1, "hcv": 1}
BUILT_IN = {
    "moons": (1000, 2, 2),
    "circles": (1000, 2, 2),
    "blobs": (1000, 2, 3),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
    "breast_cancer": (569, 30, 2),
    "digits": (1797, 64, 10),
}


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("JUMPSTART_UCI_URL", UNREACHABLE)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("data.fetch.BACKOFF", 0.0)


# The registry ------------------------------------------------------------------------------------


def test_every_data_set_of_the_papers_is_registered() -> None:
    assert list(TABLES) == [*BUILT_IN, *EXPECTED]
    assert list(DATASETS) == [*TABLES, "mnist", "mnist10k", "cifar10", "imagenette", "imagenet", "fake"]
    assert all(name == info.name for name, info in DATASETS.items())


@pytest.mark.parametrize("name", EXPECTED)
def test_uci_sets_are_described_as_they_are(name: str) -> None:
    rows, columns, _, _, counts = EXPECTED[name]
    info, source = get_info(name), UCI[name]
    assert (info.rows, info.classes) == (rows, len(counts))
    assert len(source.columns) == columns
    assert info.features == columns - 1 - NOT_FEATURES.get(name, 0)
    assert dict(zip(source.classes, source.counts, strict=True)) == counts
    assert len({column.name for column in source.columns}) == columns
    assert all(len(checksum) == 64 for file in info.files for checksum in file.sha256)
    assert info.url.startswith("https://archive.ics.uci.edu/dataset/")
    assert "CC BY 4.0" in info.license


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_are_described_as_they_are(name: str) -> None:
    table, info = load_table(name), get_info(name)
    assert (info.rows, info.features, info.classes) == BUILT_IN[name]
    assert (len(table), table.num_features, len(table.class_names)) == BUILT_IN[name]
    assert set(table.labels.tolist()) == set(range(info.classes))
    assert availability(name) == "built in"
    check_available(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [("moon", "moons"), ("Iris", "iris"), ("credit-approval", "credit_approval"), ("hvc", "hcv")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, near: str) -> None:
    for ask in (get_info, load_table, check_available, availability):
        with pytest.raises(ValueError, match=f"Did you mean '{near}'") as error:
            ask(name)
        assert all(known in str(error.value) for known in DATASETS)


# Generated sets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["moons", "circles", "blobs"])
def test_generated_sets_follow_their_options(name: str) -> None:
    first, again = (load_table(name, num_points=99, noise=0.2, seed=0) for _ in range(2))
    assert len(first) == 99
    np.testing.assert_array_equal(first.numbers, again.numbers)
    other = load_table(name, num_points=99, noise=0.2, seed=1)
    assert not np.array_equal(first.numbers, other.numbers)
    counts = np.bincount(first.labels)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_noise_is_the_standard_deviation_of_blobs(noise: float) -> None:
    table = load_table("blobs", num_points=9000, noise=noise)
    for c in range(3):
        angle = np.pi * (1 / 2 + c * 2 / 3)
        cloud = table.numbers[table.labels == c]
        np.testing.assert_allclose(cloud.std(axis=0), noise, rtol=0.05)
        np.testing.assert_allclose(cloud.mean(axis=0), [np.cos(angle), np.sin(angle)], atol=0.02)


def test_circles_have_the_documented_radii() -> None:
    table = load_table("circles", noise=0.0)
    radii = np.linalg.norm(table.numbers, axis=1)
    np.testing.assert_allclose(radii, np.where(table.labels == 0, 1.0, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 0}, "num_points must be an integer >= 1, got 0"),
        ({"num_points": 10.0}, "num_points must be an integer"),
        ({"num_points": True}, "num_points must be an integer"),
        ({"noise": -0.1}, "noise must be a number >= 0, got -0.1"),
        ({"noise": float("nan")}, "noise must be a number"),
        ({"noise": "much"}, "noise must be a number"),
        ({"as_images": True}, "as_images needs a data set of images"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_table("moons", **options)  # type: ignore[arg-type]


def test_blobs_need_noise() -> None:
    with pytest.raises(ValueError, match="noise must be > 0 for blobs"):
        load_table("blobs", noise=0)


def test_digits_are_images_on_request() -> None:
    assert load_table("digits").image_shape is None
    assert load_table("digits", as_images=True).image_shape == (1, 8, 8)


# Files in each format ----------------------------------------------------------------------------


def write_file(source: UciSource, absent: tuple[str, ...], seed: int) -> tuple[str, dict[str, list]]:  # type: ignore[type-arg]
    """A small file in the format of ``source``, and the values in it by column."""
    rng = np.random.default_rng(seed)
    labels = [label for label in source.classes for _ in range(4)]
    rows = len(labels)
    values: dict[str, list[str]] = {}
    for column in source.columns:
        if column.kind is Kind.TARGET:
            values[column.name] = [labels[i] for i in rng.permutation(rows)]
        elif column.kind is Kind.CATEGORY:
            values[column.name] = [str(v) for v in rng.choice(["game", "sport", "holiday"], rows)]
        else:
            values[column.name] = [str(v) for v in rng.integers(1, 9, rows)]
        if column.kind in (Kind.NUMBER, Kind.CATEGORY) and source is not UCI["dishonest_users"]:
            values[column.name][int(rng.integers(rows))] = source.missing
    names = [column.name for column in source.columns if column.name not in absent]
    lines = [",".join(values[name][row] for name in names) for row in range(rows)]
    header = {
        "diabetic": "@relation dr\n\n@attribute 0 numeric\n@attribute Class {0,1}\n\n@data\n",
        "early_stage_diabetes_risk": ",".join(names) + "\n",
        "hcv": ",".join(f'"{name}"' for name in names) + "\n",
        "dishonest_users": "ctrust,cuntrust,last,context,score\n",
    }
    name = next(name for name, known in UCI.items() if known is source)
    return header.get(name, "") + "\n".join(lines) + "\n", values


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, list]]:  # type: ignore[type-arg]
    """A function that writes small files of a data set into the cache, and returns their values by column."""

    def write(name: str) -> dict[str, list]:  # type: ignore[type-arg]
        source, files = UCI[name], []
        values: dict[str, list[str]] = {}
        for seed, file in enumerate(source.files):
            text, part = write_file(source, file.absent, seed)
            content = text.encode()
            path = tmp_path / "cache" / "uci" / name / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files.append(replace(file, sha256=(hashlib.sha256(content).hexdigest(),)))
            values = {key: values.get(key, []) + part[key] for key in part}
        counts = (4 * len(files),) * len(source.classes)
        monkeypatch.setitem(UCI, name, replace(source, files=tuple(files), counts=counts))
        return values

    return write


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_read_back_as_written(
    name: str,
    written: Callable[[str], dict[str, list[str]]],
) -> None:
    values = written(name)
    source, table = UCI[name], load_table(name)
    assert availability(name) == "cached"
    for i, column in enumerate(table.number_names):
        expected = [np.nan if v == source.missing else float(v) for v in values[column]]
        np.testing.assert_array_equal(table.numbers[:, i], expected)
    for i, column in enumerate(table.category_names):
        words = ["nan" if v == source.missing else v for v in values[column]]
        assert [str(value) for value in table.categories[:, i]] == words
    target = next(column.name for column in source.columns if column.kind is Kind.TARGET)
    assert [list(source.classes)[label] for label in table.labels] == values[target]
    dropped = {column.name for column in source.columns if column.kind is Kind.DROPPED}
    assert not dropped & {*table.number_names, *table.category_names}
    assert len(table.number_names) + len(table.category_names) == get_info(name).features


@pytest.mark.parametrize("name", EXPECTED)
def test_a_damaged_file_is_refused(name: str, written: Callable[[str], dict[str, list[str]]], tmp_path: Path) -> None:
    written(name)
    path = tmp_path / "cache" / "uci" / name / UCI[name].files[0].name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"7\n")
    for ask in (load_table, check_available):
        with pytest.raises(DataError) as error:
            ask(name)
        assert str(path) in str(error.value)
        for some in (path.read_bytes(), content):
            assert hashlib.sha256(some).hexdigest() in str(error.value)
    assert availability(name) == "damaged"


def test_a_set_that_is_neither_cached_nor_reachable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        check_available("hayes_roth")
    folder = tmp_path / "cache" / "uci" / "hayes_roth"
    for part in (
        str(folder / "hayes-roth.data"),
        str(folder / "hayes-roth.test"),
        f"{UNREACHABLE}/44/hayes+roth.zip",
        FOLDER_VARIABLE,
    ):
        assert part in str(error.value)


def test_values_are_compared_where_the_byte_form_is_not_known(
    written: Callable[[str], dict[str, list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written("hcv")
    path = tmp_path / "cache" / "uci" / "hcv" / "hcvdat0.csv"
    source, content = UCI["hcv"], path.read_bytes()
    file = source.files[0]
    known = replace(file, content=source.inspect(file, content).digest)
    monkeypatch.setitem(UCI, "hcv", replace(source, files=(known,)))
    expected = load_table("hcv").numbers
    path.write_bytes(content.replace(b"\n", b"\r\n").replace(b'"', b""))
    np.testing.assert_array_equal(load_table("hcv").numbers, expected)
    path.write_bytes(content.replace(b",3,", b",4,", 1))
    with pytest.raises(DataError, match="damaged"):
        load_table("hcv")


def test_ucis_own_file_of_dishonest_users_is_accepted_for_its_structure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = ["4 1 4 sport untrustworthy"] * 97 + ["1 4 4 sport trustworthy"] * 225
    path = tmp_path / "cache" / "uci" / "dishonest_users" / "Dishonest Internet users Dataset.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(good))
    assert len(load_table("dishonest_users")) == 322
    assert "accepted for its rows" in caplog.text
    path.write_text("\n".join(good[1:]))
    with pytest.raises(DataError, match="rows by class"):
        load_table("dishonest_users")


# UCI's own files, if they are cached ---------------------------------------------------------------

REAL = os.environ.get(FOLDER_VARIABLE, "")

if REAL:

    @pytest.mark.uci
    @pytest.mark.parametrize("name", EXPECTED)
    def test_ucis_own_file_is_as_expected(name: str) -> None:
        rows, _, missing, duplicates, counts = EXPECTED[name]
        table = datasets.load_table(name, data_dir=REAL)
        assert availability(name, REAL) == "cached"
        assert len(table) == rows
        assert table.num_features == get_info(name).features
        assert np.bincount(table.labels).tolist() == list(counts.values())
        assert table.num_missing == missing
        assert rows - len(np.unique(table.groups())) == duplicates

    @pytest.mark.uci
    def test_ucis_own_form_of_cylinder_bands(tmp_path: Path) -> None:
        source = UCI["cylinder_bands"]
        joined = Path(REAL, "uci/cylinder_bands/bands.data").read_bytes()
        before, after = b"Motter94,824,2,", b"tabloid,?,1910,?,45,0.200,17,84,0.8125,27"
        broken = joined.replace(before + after, before + b"\n" + after)
        path = tmp_path / "uci" / "cylinder_bands" / "bands.data"
        path.parent.mkdir(parents=True)
        path.write_bytes(broken)
        assert hashlib.sha256(broken).hexdigest() == source.files[0].sha256[0]
        table, expected = load_table("cylinder_bands", data_dir=tmp_path), source.table([joined])
        np.testing.assert_array_equal(table.numbers, expected.numbers)
        assert table.categories.astype(str).tolist() == expected.categories.astype(str).tolist()


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("rows", [7, 100, 1000])
def test_generated_points_are_those_of_scikit_learn_bit_for_bit(rows: int, noise: float) -> None:
    angles = np.deg2rad([90.0, 210.0, 330.0])
    centers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for seed in (0, 42):
        expected = {
            "moons": sklearn.datasets.make_moons(rows, noise=noise, random_state=seed),
            "circles": sklearn.datasets.make_circles(rows, noise=noise, factor=0.5, random_state=seed),
            "blobs": sklearn.datasets.make_blobs(rows, centers=centers, cluster_std=noise, random_state=seed),
        }
        for name, (x, y) in expected.items():
            table = generate(name, rows, noise, seed)
            assert np.array_equal(table.numbers, x)
            assert np.array_equal(table.labels, y)
