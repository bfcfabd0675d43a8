"""A watch on a simulated network: what really came over it, whatever anybody makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, cast

from failover.sim.network import Network
from failover.sim.records import Record
from failover.testing.calls import Call
from failover.testing.entries import Broken
from failover.testing.history import History

__all__ = ["Wire"]

_decode: Final = json.JSONDecoder().raw_decode
_KEPT: Final = 100_000
"""Requests whose event is remembered."""


class Wire:
    """Tells a history of every reply, FIN and RST that comes from subscribers to one host.

    Requests are made known by the subscribers' scripts, which see each of them: call `request` there. Those to
    subscribers without a script are read off the network.

    Args:
        network: What to watch.
        history: What to tell.
        host: Where replies come to.

    Attributes:
        unscripted: The hosts of subscribers that have no script.
    """

    def __init__(self, network: Network, history: History, host: str = "main") -> None:
        self._history = history
        self._prefix = f"{host}:"
        self._events: dict[tuple[str, int], str] = {}
        self._unread: dict[tuple[str, str], str | None] = {}
        self.unscripted: set[str] = set()
        network.observers.append(self._see)

    def request(self, subscriber: str, call: Call) -> None:
        """A subscriber got a request."""
        if call.raw_id is not None and call.raw_id.isdigit():
            self._remember(subscriber, int(call.raw_id), call.key)

    def cut(self, subscriber: str, at: float) -> None:
        """All connections from a subscriber were reset at both ends; what is still under way reaches nobody."""
        for connection in self._unread:
            if connection[0].partition(":")[0] == subscriber:
                self._unread[connection] = None
        self._history.add(Broken(at, subscriber, "rst"))

    def _see(self, record: Record) -> None:
        if record.source.startswith(self._prefix):
            self._unread.setdefault((record.destination, record.source), "")
            if record.what in ("fin", "rst"):  # what comes after this host has hung up reaches nobody
                self._unread[record.destination, record.source] = None
            subscriber = record.destination.partition(":")[0]
            if subscriber in self.unscripted and record.what == "data" and record.fate == "arrived":
                for value in self._read((record.source, record.destination), record):
                    self._asked(subscriber, value)
        if record.fate != "arrived" or not record.destination.startswith(self._prefix):
            return
        subscriber = record.source.partition(":")[0]
        connection = (record.source, record.destination)
        if record.what == "data":
            for value in self._read(connection, record):
                self._answer(subscriber, value, record.time)
        elif record.what in ("fin", "rst"):
            self._unread[connection] = None
            self._history.add(Broken(record.time, subscriber, record.what))

    def _read(self, connection: tuple[str, str], record: Record) -> Iterator[dict[str, Any]]:
        """Take bytes of a stream: objects one after the other, until something that isn't JSON."""
        text = self._unread.get(connection, "")
        if text is None:
            return
        text += record.data.decode("latin-1")
        while text := text.lstrip():
            if text[0] != "{" and text[0] != "[":
                self._unread[connection] = None
                return
            try:
                value, end = _decode(text)
            except ValueError:
                break
            text = text[end:]
            if isinstance(value, dict):
                yield cast("dict[str, Any]", value)
        self._unread[connection] = text

    def _asked(self, subscriber: str, request: dict[str, Any]) -> None:
        request_id, params = request.get("id"), request.get("params")
        event = cast("dict[str, Any]", params).get(self._history.id_param) if isinstance(params, dict) else None
        if type(request_id) is int and isinstance(event, str):
            self._remember(subscriber, request_id, event)

    def _remember(self, subscriber: str, request_id: int, event: str) -> None:
        self._events[subscriber, request_id] = event
        if len(self._events) > _KEPT:
            del self._events[next(iter(self._events))]

    def _answer(self, subscriber: str, reply: dict[str, Any], at: float) -> None:
        request_id = reply.get("id")
        failed = reply.get("error") is not None
        if type(request_id) is int and (failed or "result" in reply):
            event = self._events.get((subscriber, request_id))
            if event is not None:
                self._history.answered(subscriber, event, request_id, confirmed=not failed, at=at)
