"""Architectures of torchvision and timm: the page of models says what Jumpstart reads in each."""

from __future__ import annotations

import pytest
import torch
from support.architectures import COUNT, LARGEST, examine, parameters, rows_of_page, timm_module, torchvision_names

ROWS = rows_of_page()


def test_the_page_has_every_architecture_of_torchvision_that_is_not_too_large() -> None:
    left = [name for name in torchvision_names() if name not in ROWS["torchvision"]]
    assert set(ROWS["torchvision"]) <= set(torchvision_names())
    assert left == ["convnext_large", "regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32"]


def test_the_page_has_a_hundred_architectures_of_timm() -> None:
    assert len(ROWS["timm"]) == COUNT


def test_no_line_of_the_page_is_a_failure() -> None:
    for rows in ROWS.values():
        for line in rows.values():
            loss, status = line.strip("| ").split(" | ")[-2:]
            assert loss == "equal" or loss == status == "refused: its activations are functions", line
            assert status == "equal" or status.startswith("refused: "), line


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name"), [(library, name) for library, rows in ROWS.items() for name in rows])
@pytest.mark.filterwarnings("default")  # of the architectures
def test_an_architecture_is_as_the_page_says(library: str, name: str) -> None:
    pytest.importorskip(library)
    torch.set_num_threads(1)
    assert examine(library, name).line() == ROWS[library][name]


@pytest.mark.slow
def test_the_page_has_every_module_of_timm_with_a_small_architecture() -> None:
    timm = pytest.importorskip("timm")
    named = {timm_module(name) for name in ROWS["timm"]}
    modules = {timm_module(name) for name in timm.list_models()}
    for module in modules - named:
        smallest = min(parameters("timm", name) for name in timm.list_models(module=module))
        assert smallest > LARGEST["timm"], module
