"""A timer of the simulated network's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVarTuple, Unpack

__all__ = ["Call"]

Ts = TypeVarTuple("Ts")


class Call:
    """Calls a function when the loop gets to it: no context, no checks, and a flag cancels it.

    Args:
        function: What to call.
        arguments: With what.
    """

    __slots__ = ("_arguments", "_cancelled", "_function")

    def __init__(self, function: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> None:
        self._function: Callable[..., object] = function
        self._arguments = arguments
        self._cancelled = False

    def _run(self) -> None:
        self._function(*self._arguments)

    def cancel(self) -> None:
        """It will not be called."""
        self._cancelled = True
