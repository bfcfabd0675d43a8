"""Keys: what tells which events belong together, by a param or by a function of yours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from failover.errors import ConfigError
from failover.event import Event, Params

__all__ = ["EventKey", "check_key", "key_of"]

EventKey: TypeAlias = str | Callable[[Event], object]
"""The name of the param that holds the key, or a function of the event that returns it; None is no key."""

_log = logging.getLogger("failover")


def check_key(owner: str, key: EventKey) -> EventKey:
    """Check a key as it is declared.

    Args:
        owner: The name of the strategy it is for.
        key: What was given.

    Raises:
        ConfigError: neither the name of a param nor a function.
    """
    if not callable(key) and not (isinstance(key, str) and key):
        raise ConfigError(f"the key of {owner} must be the name of a param or a function of the event, not {key!r}")
    return key


def key_of(key: EventKey, event: Event) -> bytes | None:
    """The text of an event's key, so that `5`, `"5"` and `b"5"` are one; None if it has none.

    A function that raises is logged, and its event has no key: a fault in it must not cost the event.

    Args:
        key: The name of the param, the first of several of that name, or a function of the event.
        event: The event.
    """
    try:
        value = key(event) if callable(key) else _param(event.params, key)
        if value is None or isinstance(value, bytes):
            return value
        return str(value).encode("utf-8", "surrogatepass")
    except Exception:  # noqa: BLE001  # a fault in it must not cost the event
        _log.exception("no key can be made of %r by %r; it is taken to have none", event, key)
        return None


def _param(params: Params, key: str) -> object:
    """A param by its name; the first of several. None if there is none, also where params are values alone."""
    if isinstance(params, (dict, Mapping)):  # almost always a dict, which is seen at once
        return params.get(key)
    pairs: list[Any] = [item for item in params or () if type(item) is tuple]
    return next((value for name, value in pairs if name == key), None)
