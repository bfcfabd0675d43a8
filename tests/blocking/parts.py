"""What the tests of the blocking face are made of: a subscriber that answers when told to, and odd sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeAlias

from failover import Attempt, Event, Outcome, Receipt, Status
from failover.subscriber import RpcError, Subscriber
from failover.taking import Taker

__all__ = ["Broken", "Forgetful", "Gate", "Late", "Refusing", "Script", "Stubborn", "Unclosable"]

Script: TypeAlias = Callable[..., str]
"""Runs a script in a Python of its own; returns what it printed."""


class Gate:
    """A subscriber whose answers wait: each event's name is put in `arrived`, and answered once `open` is called."""

    def __init__(self) -> None:
        self.arrived: SimpleQueue[str] = SimpleQueue()
        self.subscriber = Subscriber(in_order=False, drain=0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened = asyncio.Event()

        @self.subscriber.default
        async def wait(method: str, _: Any) -> str:
            self._loop = asyncio.get_running_loop()
            self.arrived.put(method)
            if method == "E_REFUSED":
                raise RpcError(-32000, "not here")
            if not method.startswith("E_FAST"):
                await self._opened.wait()
            return method

    def open(self) -> None:
        """Answer, from now on at once."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._opened.set)


class Broken:
    """A sink that breaks the rules: it raises."""

    name = "broken"

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Raise."""
        raise ZeroDivisionError(event.name)

    def status(self) -> Status:
        """Say that all is well."""
        return Status(self.name, up=True)

    async def aclose(self) -> None:
        """Have nothing to release."""


class Stubborn(Broken):
    """A sink that breaks the rules: it keeps no deadline and gives nothing up when it is closed."""

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Wait for ever."""
        return await asyncio.get_running_loop().create_future()


class Forgetful(Broken):
    """A sink that breaks the rules: it never says what became of what it began."""

    def __init__(self) -> None:
        self.begun: list[tuple[Sequence[Event], float | None]] = []
        """What it was to begin together, and until when."""

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """Forget them."""
        self.begun.append((events, deadline))


class Late(Broken):
    """A sink that says what became of its events a moment after it was closed."""

    def __init__(self) -> None:
        self._begun: list[tuple[Event, Taker, Context]] = []

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """Wait for the end."""
        self._begun += [(event, taker, copy_context()) for event in events]

    async def aclose(self) -> None:
        """Tell in the next turn."""
        loop = asyncio.get_running_loop()
        for event, taker, context in self._begun:
            left: list[Receipt] = [Attempt(event, self.name, Outcome.ABANDONED, 0, loop.time(), reason="late")]
            loop.call_soon(taker.take, left, context=context)
        self._begun.clear()


class Refusing(Broken):
    """A sink that breaks the rules: it raises where it should begin."""

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """Raise."""
        raise ZeroDivisionError(events[0].name)


class Unclosable(Broken):
    """A sink that breaks the rules: it can't be closed."""

    async def aclose(self) -> None:
        """Raise."""
        raise TimeoutError("unclosable")
