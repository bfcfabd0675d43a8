"""Events that come again: each is handled once, whatever connection it comes over, and answered as the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import attrs
import msgspec

from failover.subscriber.dispatch import Request, RpcError
from failover.subscriber.service import Counters
from failover.subscriber.wire import INTERNAL_ERROR

__all__ = ["MEMORY", "Repeats", "take_id"]

MEMORY: Final = 64 * 2**20
"""Bytes of ids and results that are remembered; beyond it the oldest are forgotten before their time."""

_Key = tuple[str, str | int]
_encode: Final = msgspec.json.Encoder().encode


def take_id(
    params: dict[str, Any] | list[Any] | None, name: str
) -> tuple[dict[str, Any] | list[Any] | None, str | int | None]:
    """Take an event's id out of its params, as `jsonrpc(…, id_param=…)` puts it there.

    It is a member of that name or, where the params have no names, the only member of an object that is their last. A
    string that is not empty, or an integer; anything else is a param like others.

    Args:
        params: What came; a dict is changed.
        name: The id's name.

    Returns:
        The event's own params, None if there was nothing but the id; and the id, None without one.
    """
    if isinstance(params, dict):
        found = _as_id(params.get(name))
        if found is not None:
            del params[name]
            return params or None, found
    elif params:
        *values, last = params
        if isinstance(last, dict) and cast("dict[str, Any]", last).keys() == {name}:
            found = _as_id(cast("Any", last[name]))
            if found is not None:
                return values, found
    return params, None


def _as_id(value: Any) -> str | int | None:
    return value if type(value) is int or (type(value) is str and value) else None


@attrs.define(eq=False)
class _Handled:
    """An event whose function has not returned yet, and the repetitions that wait for what it says."""

    key: _Key
    first: Request
    waiting: list[asyncio.Future[object]] = attrs.field(factory=list[asyncio.Future[object]])


class Repeats:
    """Stands before the application's functions and knows which events were confirmed, or are being handled.

    The same event is the same id under the same method. What is confirmed is remembered, with its result; what is
    refused is not, since it was not processed and may rightly come again. A repetition of what is still being handled
    waits for it and gets its answer, an error as well; that of a notification is dropped.

    Args:
        dispatch: Calls the application's function for a request.
        loop: Whose time it goes by.
        window: Seconds for which a confirmed event is remembered, from its confirmation on.
        most: How many confirmed events are remembered; the oldest are forgotten first.
        counters: What it counts in.
    """

    def __init__(
        self,
        dispatch: Callable[[Request], object],
        loop: asyncio.AbstractEventLoop,
        *,
        window: float,
        most: int,
        counters: Counters,
    ) -> None:
        self._dispatch = dispatch
        self._loop = loop
        self._window = window
        self._most = most
        self._counters = counters
        self._handled: dict[_Key, _Handled] = {}
        self._confirmed: dict[_Key, tuple[float, msgspec.Raw | None]] = {}  # until when, oldest first, and the result
        self._size = 0

    def __call__(self, request: Request) -> object:
        """Call the function that the request is for, unless the event was seen before; see `Dispatch`.

        Raises:
            RpcError: -32601, no function is for this method.
            Exception: what the function raised.
        """
        key = _key(request)
        if key is None:
            return self._dispatch(request)
        self._forget_old()
        if key in self._confirmed:
            self._counters.repeats += 1
            return self._confirmed[key][1]
        handled = self._handled.get(key)
        if handled is None:
            self._handled[key] = _Handled(key, request)
            return self._dispatch(request)
        self._counters.repeats += 1
        if request.raw_id is None:
            return None
        handled.waiting.append(self._loop.create_future())
        return handled.waiting[-1]

    def confirmed(self, request: Request, result: object) -> None:
        """Learn that a function has returned; of a repetition this says nothing new."""
        handled = self._end(request)
        if handled is None:
            return
        try:
            told = None if result is None else msgspec.Raw(cast("Any", _encode(result)))
        except Exception:  # noqa: BLE001  # whatever the result is made of: its connection refuses the request for it
            _tell(handled, RpcError(INTERNAL_ERROR, "Internal error"))
            return
        self._confirmed[handled.key] = (self._loop.time() + self._window, told)
        self._size += _size(handled.key, told)
        while len(self._confirmed) > self._most or self._size > MEMORY:
            self._counters.forgotten += 1
            self._forget_oldest()
        for repetition in handled.waiting:
            if not repetition.done():
                repetition.set_result(told)

    def refused(self, request: Request, error: RpcError) -> None:
        """Learn that a request was refused; of a repetition this says nothing new."""
        handled = self._end(request)
        if handled is not None:
            _tell(handled, error)

    def _end(self, request: Request) -> _Handled | None:
        """Take out the event that a request was the first to bring; None for any other request."""
        key = _key(request)
        handled = None if key is None else self._handled.get(key)
        if key is None or handled is None or handled.first is not request:
            return None
        return self._handled.pop(key)

    def _forget_old(self) -> None:
        now = self._loop.time()
        while self._confirmed and next(iter(self._confirmed.values()))[0] <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        key = next(iter(self._confirmed))
        self._size -= _size(key, self._confirmed.pop(key)[1])


def _key(request: Request) -> _Key | None:
    return None if request.event_id is None else (request.method, request.event_id)


def _size(key: _Key, told: msgspec.Raw | None) -> int:
    return len(key[0]) + len(str(key[1])) + (0 if told is None else len(bytes(told)))


def _tell(handled: _Handled, error: RpcError) -> None:
    for repetition in handled.waiting:
        if not repetition.done():
            repetition.set_exception(error)
