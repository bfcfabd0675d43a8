"""What the tests of the blocking face are made of: a subscriber that answers when told to, and odd sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

from failover import Event, Receipt, Status
from failover.subscriber import Subscriber

__all__ = ["Broken", "Gate", "Script", "Stubborn", "Unclosable"]

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


class Unclosable(Broken):
    """A sink that breaks the rules: it can't be closed."""

    async def aclose(self) -> None:
        """Raise."""
        raise TimeoutError("unclosable")
