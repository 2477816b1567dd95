"""Docstrings for the site: Sphinx roles become links or code, formulas become MathML, examples become code blocks.

mkdocstrings loads this file as an extension of griffe, which reads the docstrings.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping

import griffe
from latex2mathml.converter import convert as mathml

OURS = ("jumpstart", "data", "model", "sweep")
_log = logging.getLogger("mkdocs.website")

_ROLE = re.compile(r":(attr|class|data|exc|func|meth|mod|obj):`(~?)([^`]+)`")
_FORMULA = re.compile(r":math:`([^`]+)`")
_DISPLAYED = re.compile(r"^( *)\.\. math::\n((?:\1 +.*\n?|\s*\n)+)", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)>>> (?:.*\S.*(?:\n|\Z))+", re.MULTILINE)

Resolve = Callable[[str], str | None]


def to_markdown(text: str, resolve: Resolve) -> str:
    """Docstring in Markdown.

    Args:
        text: Docstring of the code.
        resolve: Function from the target of a role to the full name of an object of this project, or None.

    Returns:
        The docstring with HTML in place of roles and formulas, and with fences around its examples.
    """
    text = _EXAMPLE.sub(_fenced, text)
    text = _DISPLAYED.sub(_displayed, text)
    text = _FORMULA.sub(lambda match: mathml(match[1]), text)
    return _ROLE.sub(lambda match: _link(match, resolve), text)


def _fenced(match: re.Match[str]) -> str:
    indent = match[1]
    return f"{indent}```pycon\n{match[0].rstrip()}\n{indent}```\n"


def _displayed(match: re.Match[str]) -> str:
    indent, formula = match[1], " ".join(textwrap.dedent(match[2]).split())
    return f"{indent}<div>{mathml(formula, display='block')}</div>\n\n"


def _link(match: re.Match[str], resolve: Resolve) -> str:
    role, short, target = match.groups()
    shown = target.rpartition(".")[2] if short else target
    if role in ("func", "meth"):
        shown += "()"
    path = resolve(target)
    # Optional, because the site does not list every object of this project.
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>' if path else f"`{shown}`"


class Docstrings(griffe.Extension):
    """Rewrites the docstrings of a package after griffe has read the package."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: object) -> None:
        """Rewrite every docstring of a package of this project."""
        if pkg.name not in OURS:
            return
        objects = list(_objects(pkg))
        homes: dict[str, list[str]] = {}
        for obj in objects:
            if isinstance(obj.parent, griffe.Module):
                homes.setdefault(obj.name, []).append(obj.path)
        for obj in objects:
            if obj.docstring is not None:
                obj.docstring.value = to_markdown(obj.docstring.value, Resolver(obj, homes))


class Resolver:
    """The full names of the objects that one docstring refers to.

    Args:
        obj: The object.
        homes: Full names of everything that the modules of the package define, by short name.
    """

    def __init__(self, obj: griffe.Object, homes: Mapping[str, list[str]]) -> None:
        self._obj, self._homes = obj, homes

    def __call__(self, name: str) -> str | None:
        """The full name of an object of this project, else None; logs a warning if there is no such object at all."""
        path = self._in_scope(name)
        first = path.split(".")[0]
        package = self._obj.package
        if first != package.name:
            if first not in OURS and not first.islower():
                self._warn(name)
            return path if first in OURS else None
        try:
            return str(package[path.split(".", 1)[1]].canonical_path) if "." in path else path
        except (KeyError, griffe.AliasResolutionError):
            self._warn(name)
            return None

    def _in_scope(self, name: str) -> str:
        first, dot, rest = name.partition(".")
        if first in OURS and dot:
            return name
        for scope in (self._obj, self._obj.parent):
            if isinstance(scope, griffe.Class) and first in scope.all_members:
                return f"{scope.path}.{name}"
        try:
            return f"{self._obj.resolve(first)}{dot}{rest}"
        except griffe.NameResolutionError:
            homes = self._homes.get(first, [])
            return f"{homes[0]}{dot}{rest}" if len(homes) == 1 else name

    def _warn(self, name: str) -> None:
        _log.warning("%s: the docstring refers to %r, which does not exist.", self._obj.path, name)


def _objects(obj: griffe.Object) -> Iterator[griffe.Object]:
    yield obj
    for member in obj.members.values():
        if isinstance(member, griffe.Object):
            yield from _objects(member)
