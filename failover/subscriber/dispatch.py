"""Which function answers which method: the one place that every request passes on its way to the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from failover.errors import ConfigError
from failover.subscriber.wire import METHOD_NOT_FOUND

__all__ = ["Dispatch", "Request", "RpcError"]


class RpcError(Exception):
    """Raised by a function to refuse an event with a code of its own.

    Args:
        code: The code; -32768 to -32100 belong to JSON-RPC itself. The sender's verdict may depend on it.
        text: What was wrong, in a sentence; JSON-RPC's member `message`.
        data: More about it, anything that JSON can tell; None is left out.
    """

    def __init__(self, code: int, text: str, data: object = None) -> None:
        super().__init__(code, text, data)
        self.code = code
        self.text = text
        self.data = data

    def __str__(self) -> str:
        return f"{self.text} ({self.code})"


class Request(msgspec.Struct, frozen=True):
    """One request or notification as the application may see it.

    Args:
        method: The method, which is the event's name unless the sender's socket names another.
        params: A dict, a list, or None when there were none.
        raw_id: The id as it came, in JSON; None for a notification.
        peer: Who sent it, as `host:port`.
        event_id: The event's id, taken out of the params if the subscriber's `id_param` asks for it; None without one.
    """

    method: str
    params: Any
    raw_id: bytes | None
    peer: str
    event_id: str | int | None = None

    @property
    def id(self) -> int | float | str | None:
        """The id, decoded; None for a notification."""
        return None if self.raw_id is None else msgspec.json.decode(self.raw_id, type=int | float | str)


class Dispatch:
    """Knows the application's functions by method."""

    def __init__(self) -> None:
        self._functions: dict[str, Callable[[Request], object]] = {}
        self._default: Callable[[Request], object] | None = None

    def __call__(self, request: Request) -> object:
        """Call the function that the request is for; what it returns may have to be awaited.

        Raises:
            RpcError: -32601, no function is for this method.
            Exception: what the function raised.
        """
        function = self._functions.get(request.method, self._default)
        if function is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", request.method)
        return function(request)

    def add(self, name: str, function: Callable[[Request], object]) -> None:
        """Name the function for one method.

        Raises:
            ConfigError: the method has one already.
        """
        if name in self._functions:
            raise ConfigError(f"method {name!r} has a function already; expected one function for each method")
        self._functions[name] = function

    def otherwise(self, function: Callable[[Request], object]) -> None:
        """Name the function for every other method.

        Raises:
            ConfigError: there is one already.
        """
        if self._default is not None:
            raise ConfigError("there is a default function already; expected one")
        self._default = function
