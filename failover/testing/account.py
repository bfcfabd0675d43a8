"""What a scripted subscriber or a fault proxy did, for those who ask and for a history."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen

from failover.errors import ConfigError

__all__ = ["Account", "Acted", "HistoryOfFaults", "Processed"]


@frozen
class Acted:
    """Something that was done, or happened.

    Args:
        at: Loop time, seconds.
        what: The name of an action or a fault, or in words what happened to a connection.
        connection: The number of the connection, 1 first; 0 if it concerns all.
        key: The event, if it concerns one.
    """

    at: float
    what: str
    connection: int
    key: str = ""


@frozen
class Processed:
    """A request for which the subscriber did its work.

    Args:
        key: The event: its id where the params tell it, else a digest of method and params.
        method: The method.
        params: The params.
        at: Loop time at which the work was done, seconds; before any reply was written.
        connection: The number of the connection that it came on, 1 first.
        repeated: Whether the same event was processed before.
    """

    key: str
    method: str
    params: Any
    at: float
    connection: int
    repeated: bool


class HistoryOfFaults(Protocol):
    """What a history offers to a subscriber, a proxy and a timeline; `failover.testing.history.History` is one."""

    def processed(self, subscriber: str, event: str, at: float, connection: int, /) -> object:
        """A subscriber did its work for an event."""
        ...

    def fault(self, fault: str, where: str, /, *, active: bool, detail: str, at: float) -> object:
        """A fault was set, ended (`active=False`), or happened in this moment."""
        ...


class Account:
    """Keeps what happened, in bounds.

    Args:
        history: Is told of every fault.
        keep: How many entries `acts` holds; the oldest go first.

    Attributes:
        acts: What happened, oldest first.
        counts: How often each of it did.

    Raises:
        ConfigError: nothing would be kept.
    """

    def __init__(self, history: HistoryOfFaults | None, keep: int) -> None:
        if keep < 1:
            raise ConfigError(f"keep={keep!r}: expected a whole number >= 1")
        self.history = history
        self.acts: deque[Acted] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def name(self) -> str:
        """What a history calls it."""
        raise NotImplementedError

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened here; it is asked whenever anything has.

        Args:
            happened: Tells by a true value that it has, e.g. `lambda: len(subscriber.processed) == 3`.
        """
        while not happened():
            news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(news)
            await news

    def record(self, what: str, connection: int = 0, key: str = "") -> float:
        """Note what happened now. Returns when that is, in loop time; 0.0 before any loop runs."""
        now = _now()
        self.acts.append(Acted(now, what, connection, key))
        self.counts[what] += 1
        self.news()
        return now

    def fault(self, what: str, connection: int = 0, detail: str = "", *, active: bool = True) -> None:
        """Note a fault that was set, ended, or happened now, here and in the history."""
        now = self.record(what if active else f"end of {what}", connection, detail)
        if self.history is not None:
            detail = f"{detail} on connection {connection}".strip() if connection else detail
            self.history.fault(what, self.name, active=active, detail=detail, at=now)

    def news(self) -> None:
        """Wake those who wait for something to happen."""
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # what is declared outside of a loop holds from its beginning
        return 0.0
