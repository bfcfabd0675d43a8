"""From addresses to sinks: sockets by their scheme, virtual subscribers by their policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from failover.address import Address, SocketAddress, VirtualAddress, parse_socket
from failover.errors import ConfigError
from failover.health import Health
from failover.schemes import Defaults, Scheme, find, register
from failover.sink import Sink
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.strategies.failover import Failover
from failover.strategies.parallel import Parallel
from failover.strategies.round_robin import RoundRobin

__all__ = ["build"]


def build(address: Address, defaults: Defaults | None = None) -> Sink:
    """Make the sink that an address means; nothing is connected yet.

    Args:
        address: A parsed address.
        defaults: What its text says nothing of.

    Raises:
        ConfigError: no scheme of that name makes sinks.
    """
    defaults = Defaults() if defaults is None else defaults
    if isinstance(address, VirtualAddress):
        return _POLICIES[address.policy](address, defaults)
    scheme = find(address.scheme)
    if scheme is None:
        raise ConfigError(f"no scheme {address.scheme!r} is registered; it is needed for {address}")
    return scheme.make(address, defaults)


def _jsonrpc(address: Address, defaults: Defaults) -> JsonRpcSink:
    assert isinstance(address, SocketAddress)  # noqa: S101  # what this scheme's own parser makes
    return jsonrpc(
        str(address),
        timeout=defaults.timeout,
        confirm=defaults.confirm,
        event_param=defaults.event_param,
        id_param=defaults.id_param,
        null_id=defaults.null_id,
    )


def _failover(address: VirtualAddress, defaults: Defaults) -> Sink:
    children = [build(child, defaults) for child in address.children]
    return Failover(*children, name=str(address), health=_letter(defaults))


def _parallel(address: VirtualAddress, defaults: Defaults) -> Sink:
    return Parallel(*[build(child, defaults) for child in address.children], name=str(address))


def _round_robin(address: VirtualAddress, defaults: Defaults) -> Sink:
    children = [build(child, defaults) for child in address.children]
    return RoundRobin(*children, name=str(address), health=_letter(defaults))


def _letter(defaults: Defaults) -> Health:
    """What OpenSIPS's text means: all events go back to a child as soon as its time is over."""
    return Health(quarantine=defaults.quarantine, failback="eager")


_POLICIES: Final[dict[str, Callable[[VirtualAddress, Defaults], Sink]]] = {
    "FAILOVER": _failover,
    "PARALLEL": _parallel,
    "ROUND-ROBIN": _round_robin,
}

register(Scheme("jsonrpc", parse_socket, _jsonrpc))
register(Scheme("tcp", parse_socket, _jsonrpc))
