"""Which calls of a model form one forward pass, and whether several threads run it at the same time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext

from torch import nn
from torch.compiler import is_compiling

from jumpstart.capture import refusals
from jumpstart.extrema.torch_internals import in_backward, in_jit_trace, running_calls


class Passes:
    """The pass that is running: the outermost call of the model, or a recording, with all calls inside of it.

    Calls in a backward pass (of a checkpoint that recomputes the model) and in a trace of ``torch.jit`` start no pass.

    Attributes:
        root: A weak reference to the model.
        depth: How many calls and recordings are running, one inside of another; 0 if no pass is running.
        scoped: Whether the outermost one is a recording.
        overlapped: Whether two threads ran the model at the same time in this pass.
    """

    def __init__(self) -> None:
        self.root: Callable[[], nn.Module | None] = lambda: None
        self.depth = 0
        self.scoped = self.overlapped = False
        self._threads: set[int] = set()  # that have run a part of this pass
        self._lock = threading.Lock()

    def enter(self, module: nn.Module | None, *, scope: bool) -> bool:
        """Begin a call of the model, or a recording.

        Args:
            module: The model; None for a recording.
            scope: Whether this is a recording.

        Returns:
            Whether a pass starts.
        """
        if is_compiling():
            starts = not self.scoped if scope else self.depth == 0
            self._count(starts, scope)
            return starts
        with self._lock:
            thread = threading.get_ident()
            if self.depth and (self._others_run(thread) or (scope and self.scoped and thread not in self._threads)):
                self.overlapped = True
            elif self.depth:
                # Torch runs no hook after a KeyboardInterrupt, so such a pass has not ended.
                running = self._calls_in(thread) if module is None else running_calls(module) - 1
                self.depth = min(self.depth, self.scoped + running)
            starts = self.depth == 0 and not in_backward() and not in_jit_trace()
            self._count(starts, scope)
            if starts:
                self._threads, self.overlapped = set(), False
            self._threads.add(thread)
            return starts

    def _count(self, starts: bool, scope: bool) -> None:
        if starts:
            self.depth, self.scoped = 0, scope
        self.depth += 1

    def leave(self) -> bool:
        """End a call of the model, or a recording.

        Returns:
            Whether the pass is over.
        """
        with nullcontext() if is_compiling() else self._lock:
            self.depth = max(0, self.depth - 1)
            if self.depth == 0:
                self.scoped = False
            return self.depth == 0

    def check_reader(self) -> None:
        """Refuse to read records while another thread is in the middle of the pass.

        Raises:
            RuntimeError: If one is.
        """
        if self.depth and not is_compiling():
            thread = threading.get_ident()
            if thread not in self._threads and self._others_run(thread):
                raise refusals.two_threads()

    def _others_run(self, thread: int) -> bool:
        """Whether another thread of this pass is in a call of the model."""
        return any(self._calls_in(other) for other in self._threads if other != thread)

    def _calls_in(self, thread: int) -> int:
        """How many calls of the model are running in a thread; 0 if torch does not tell."""
        root = self.root()
        count = 0 if root is None else running_calls(root, thread)
        return count if count < sys.maxsize else 0
