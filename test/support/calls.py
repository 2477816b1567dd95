"""Counts the calls of functions, for tests of what a step costs."""

from __future__ import annotations

from typing import Any

import pytest


class Calls:
    """Takes the place of a function, and counts its calls.

    Args:
        patch: Puts the function back after the test.
        owner: The class or module that has the function.
        name: The name of the function.

    Attributes:
        arguments: The positional arguments of each call since :meth:`take`.
        options: The keyword arguments of the same calls.
    """

    def __init__(self, patch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self.arguments: list[tuple[Any, ...]] = []
        self.options: list[dict[str, Any]] = []
        own = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.arguments.append(args)
            self.options.append(kwargs)
            return own(*args, **kwargs)

        patch.setattr(owner, name, call)

    def take(self) -> int:
        """The number of calls since this was last asked."""
        count = len(self.arguments)
        self.arguments, self.options = [], []
        return count
