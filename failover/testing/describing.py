"""A declared tree of sinks as plain data, for histories that can be checked without the program that made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from failover.address import Address, SocketAddress
from failover.build import build
from failover.fan_out import FanOut
from failover.group import Group
from failover.schemes import Defaults
from failover.sequential import Sequential
from failover.sink import Sink
from failover.sinks.jsonrpc import JsonRpcSink
from failover.strategies import Hedge, Retry
from failover.strategy import Strategy
from failover.testing.entries import Node

__all__ = ["describe"]

_NOBODY: Final[Mapping[str, str]] = {}


def describe(sink: Sink | Address, *, behind: Mapping[str, str] = _NOBODY, defaults: Defaults | None = None) -> Node:
    """Describe a sink and all below it, opened or not.

    Args:
        sink: A group, a strategy, a socket's sink, an address, or anything else that delivers.
        behind: The subscriber behind a socket, by its sink's name; otherwise its address as `jsonrpc:host:port`, which
            is a `ScriptedSubscriber`'s own name for itself; of a sink without address, the sink's name.
        defaults: For sockets given as text, as the group has them.
    """
    if isinstance(sink, Address):
        sink = build(sink, defaults=Defaults() if defaults is None else defaults)
    if isinstance(sink, Group):
        return Node(sink.name, "Group", (describe(sink.declared, behind=behind, defaults=defaults),), need=1)
    kind = type(sink).__name__
    if isinstance(sink, Strategy):
        children = tuple(describe(child, behind=behind, defaults=defaults) for child in sink.declared)
        common: dict[str, Any] = {
            "side_by_side": sink.side_by_side,
            "paced": isinstance(sink, Hedge | Retry),
            "need": 1,
        }
        if isinstance(sink, FanOut):
            common["need"] = sink.need
        if isinstance(sink, Sequential):
            health = sink.health
            longest = max(health.longest, health.quarantine) if health.growth > 1 else health.quarantine
            common |= {
                "quarantine": sink.quarantine * (1 - health.jitter) or None,
                "quarantine_most": longest * (1 + health.jitter) if health.growth > 1 or health.jitter else None,
                "failures": int(health.trips_at) if health.ratio is None else 0,
                "failback": health.failback,
                "slow_start": 1 if health.failback == "eager" else health.slow_start,
                "probed": health.probe is not None,
                "quarantine_rejected": sink.quarantine_rejected,
                "last_resort": sink.last_resort,
                "move_on": getattr(sink, "move_on", True),
            }
        return Node(sink.name, kind, children, **common)
    if isinstance(sink, JsonRpcSink):
        subscriber = behind.get(sink.name) or _place(sink.address)
        return Node(sink.name, kind, timeout=sink.timeout, confirms=sink.confirm, subscriber=subscriber)
    timeout = getattr(sink, "timeout", None)
    return Node(
        sink.name,
        kind,
        timeout=timeout if isinstance(timeout, float) else None,
        subscriber=behind.get(sink.name, sink.name),
    )


def _place(address: SocketAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"jsonrpc:{host}:{address.port}"
