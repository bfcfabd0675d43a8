"""The errors that this package raises; all derive from `FailoverError`.

An outcome of a delivery is never an exception: it is data in a receipt. These are for misuse (a bad address, an event
that JSON can't carry, a closed group) and, inside the protocol layer, for a stream that can't be read any further.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AddressError",
    "ClosedError",
    "ConfigError",
    "EventError",
    "FailoverError",
    "FramingError",
    "UsageError",
    "WrongLoopError",
    "did_you_mean",
]


class FailoverError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(FailoverError, ValueError):
    """A declaration that can't be meant: raised where it is declared, never later."""


class AddressError(ConfigError):
    """A socket address that can't be parsed.

    Args:
        text: The whole address as given.
        position: Index in `text`, 0 first, of the first character that doesn't fit.
        problem: What is wrong there.
        expected: What would have been right.
    """

    def __init__(self, text: str, position: int, problem: str, expected: str) -> None:
        self.text = text
        self.position = position
        self.problem = problem
        self.expected = expected
        super().__init__(text, position, problem, expected)

    def __str__(self) -> str:
        shown = "".join(char if char.isprintable() else "?" for char in self.text)
        pointer = " " * self.position + "^"
        return f"{self.problem} at position {self.position}; expected {self.expected}\n  {shown}\n  {pointer}"


class EventError(FailoverError, ValueError):
    """An event that can't be made: its name or params can't be carried by JSON-RPC."""


class UsageError(FailoverError, RuntimeError):
    """A call that doesn't fit the state of what it was made on."""


class ClosedError(UsageError):
    """You closed it, or did not open it yet."""


class WrongLoopError(UsageError):
    """A group is bound to one event loop while it is open; this call came from another one, or from none."""


class FramingError(FailoverError):
    """The peer's bytes can't be cut into JSON values any more: no later boundary can be trusted.

    Args:
        problem: What was found.
        offset: How many bytes of the stream came before it.
    """

    def __init__(self, problem: str, offset: int) -> None:
        self.problem = problem
        self.offset = offset
        super().__init__(problem, offset)

    def __str__(self) -> str:
        return f"{self.problem} after {self.offset} bytes of the stream"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Part of an error's text: which of the known names is nearest to what was given; empty if none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), names, 1)
    return f"did you mean {names[near[0]]!r}? " if near else ""
