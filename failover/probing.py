"""Probing: children that are out of service are asked, now and then, whether they would answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from failover.health import Probe

if TYPE_CHECKING:
    from failover.strategy import Child

__all__ = ["Prober"]

_log = logging.getLogger("failover")


class Prober:
    """Asks each child that it is told to watch, until that is not out any more.

    Args:
        probe: How, and how often.
        answered: Called with a child that has answered.
    """

    def __init__(self, probe: Probe, answered: Callable[[Child], None]) -> None:
        self._probe = probe
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Child, asyncio.TimerHandle] = {}
        self._tasks: dict[Child, asyncio.Task[None]] = {}

    def watch(self, child: Child) -> None:
        """Begin to ask a child that is out now; one that can't be asked is left alone."""
        if child not in self._timers and child not in self._tasks and hasattr(child.sink, "probe"):
            self._timers[child] = self._loop.call_later(self._probe.every, self._begin, child)

    async def aclose(self) -> None:
        """Ask nobody any more; what is under way is cancelled. Idempotent."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, child: Child) -> None:
        del self._timers[child]
        if child.out_until > self._loop.time():  # else its time is over, or it has answered an event
            self._tasks[child] = self._loop.create_task(self._ask(child))

    async def _ask(self, child: Child) -> None:
        ask: Callable[[str | None, float], Awaitable[str]] | None = getattr(child.sink, "probe", None)
        try:
            if ask is not None and not await ask(self._probe.method, self._probe.timeout):
                self._answered(child)
        except Exception:  # noqa: BLE001  # a fault in a sink's probe says nothing of the child, nor ends the asking
            _log.exception("%s can't be probed", child.name)
        finally:
            del self._tasks[child]
        if child.out_until > self._loop.time():
            self.watch(child)
