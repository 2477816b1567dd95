"""The mutants of ``python -m scripts.mutate``."""

from __future__ import annotations

import ast

import pytest
from support.import_graph import ROOT

from scripts.imported import with_markers
from scripts.mutants import mutants_of


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("return a <= b", ["return a <= b -> return None", "a <= b -> a < b"]),
        ("return None", []),
        ("if a < b:\n        g(a)", ["a < b -> not a < b", "a < b -> a <= b", "g(a) -> pass"]),
        ("if not a: a += 1", ["not a -> a", "a += 1 -> a -= 1", "a += 1 -> pass", "1 -> 2", "1 -> 0"]),
        ("c = max(a, key=b)", ["max(a, key=b) -> min(a, key=b)", "max(a, key=b) -> max(a)"]),
        ("a = a and b", ["a = a and b -> pass", "a and b -> a or b"]),
        ("a.x = b[a:]", ["a.x = b[a:] -> pass", "a: -> a + 1:"]),
        ("raise E(1 + 1)", ["raise E(1 + 1) -> pass"]),
        ("warnings.warn(a, stacklevel=2)", ["warnings.warn(a, stacklevel=2) -> pass"]),
        (
            "c: int = 0\n    assert a == 1\n    zip(a, strict=True)",
            ["0 -> 1", "0 -> -1", "zip(a, strict=True) -> pass"],
        ),
    ],
)
def test_each_fault_is_made_once(body: str, texts: list[str]) -> None:
    source = f"def f(a, b):\n    {body}\n"
    mutants = list(mutants_of(source))
    assert [mutant.text for mutant in mutants] == texts
    for number in range(len(mutants)):
        mutant = list(mutants_of(source))[number]
        mutant.put()
        assert ast.unparse(mutant.tree) != ast.unparse(ast.parse(source))


def test_defaults_and_assignments_outside_of_functions_have_mutants() -> None:
    source = "SIZE = 2\nclass A:\n    deep = True\n    def f(self, a=SIZE * 2): ...\nclass B(IntEnum):\n    ONE = 1\n"
    found = [(mutant.text, mutant.owner) for mutant in mutants_of(source) if mutant.target is not None]
    assert found == [
        ("2 -> 3", None),
        ("2 -> 1", None),
        ("True -> False", "A"),
        ("SIZE * 2 -> SIZE / 2", "A"),
        ("2 -> 3", "A"),
        ("2 -> 1", "A"),
    ]


def test_markers_stand_before_each_statement_of_a_function() -> None:
    source = 'A = 1\ndef f(a):\n    """D."""\n    if a:\n        return 1\n    else:\n        a = 2\n    return a\n'
    reached: list[int] = []
    names: dict[str, object] = {"_reached": reached.append}
    exec(compile(ast.fix_missing_locations(with_markers(source)), "f.py", "exec"), names)
    assert names["f"](0) == 2
    assert reached == [4, 7, 8]
    assert names["f"].__doc__ == "D."


def test_every_mutant_of_a_module_can_be_compiled() -> None:
    source = (ROOT / "jumpstart" / "penalty.py").read_text(encoding="utf-8")
    for mutant in mutants_of(source):
        mutant.put()  # all of them, one after the other: each node is replaced
    compile(ast.fix_missing_locations(mutant.tree), "penalty.py", "exec")
