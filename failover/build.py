"""From addresses to sinks: sockets by their scheme, virtual subscribers by their policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, get_args

from failover.address import Address, SocketAddress, Span, parse_socket
from failover.errors import ConfigError
from failover.grammar import Pairs, VirtualAddress
from failover.options import TEXT, TIME, YES_NO, Options, choice
from failover.policies import TABLE
from failover.policy import POLICIES, SOCKETS, Parts, add
from failover.protocol.datagrams import DatagramFormat
from failover.schemes import Defaults, Scheme, find, register
from failover.sink import Sink
from failover.sinks.datagram import make_datagram, parse_udp, parse_unix
from failover.sinks.jsonrpc import AtLimit, JsonRpcSink, jsonrpc

__all__ = ["SocketMaker", "build"]

SocketMaker: TypeAlias = Callable[[Address, Mapping[str, Any]], Sink]
"""Makes the sink of one socket from its address and what its text says besides: names and values as arguments."""


def build(
    address: Address,
    defaults: Defaults | None = None,
    *,
    socket: SocketMaker | None = None,
    called: Callable[[str], str] = str,
) -> Sink:
    """Make the sink that an address means; nothing is connected yet.

    Args:
        address: A parsed address.
        defaults: What its text says nothing of.
        socket: What makes the sink of each socket; the socket's scheme by default.
        called: What a strategy is called, given what it would be called by itself.

    Raises:
        ConfigError: no scheme of that name makes sinks, or a strategy can't be meant: the same socket twice, say.
    """
    defaults = Defaults() if defaults is None else defaults
    socket = partial(_by_scheme, defaults) if socket is None else socket
    if isinstance(address, VirtualAddress):
        return _Builder(defaults, socket, called).strategy(address, address.called)
    return socket(address, {})


class _Builder:
    def __init__(self, defaults: Defaults, socket: SocketMaker, called: Callable[[str], str]) -> None:
        self._defaults = defaults
        self._socket = socket
        self._called = called

    def strategy(self, address: VirtualAddress, name: str) -> Sink:
        """A strategy with all that is below it."""
        policy = POLICIES[address.policy]
        options = _values(address.options, policy.known)
        options.pop("name", None)
        said = [_values(pairs, policy.said) for pairs in address.said]
        children = self._children(address, policy.said)
        return policy.make(Parts(self._called(name), children, said, options, self._defaults))

    def _children(self, address: VirtualAddress, of_policy: Options) -> list[Sink]:
        taken = {
            child.called if isinstance(child, VirtualAddress) else dict(pairs).get("name", child.called)
            for child, pairs in zip(address.children, address.said, strict=True)
        }
        children: list[Sink] = []
        for child, pairs in zip(address.children, address.said, strict=True):
            if isinstance(child, VirtualAddress):
                children.append(self.strategy(child, _name(child, taken)))
            else:
                own = [pair for pair in pairs if pair[0] not in of_policy]
                children.append(self._socket(child, _values(own, SOCKETS.get(child.scheme, {}))))
        return children


def _name(child: VirtualAddress, taken: set[str]) -> str:
    """What a strategy within another is called: as its text says, else its policy, and a number from the second on."""
    given = dict(child.options).get("name")
    if given is not None:
        return given
    name, number = child.policy, 1
    while name in taken:
        number += 1
        name = f"{child.policy} {number}"
    taken.add(name)
    return name


def _values(pairs: Pairs | list[tuple[str, str]], kinds: Options) -> dict[str, Any]:
    """What options mean; those of another kind are left out."""
    return {name: kinds[name].read(Span(value)) for name, value in pairs if name in kinds}


def _by_scheme(defaults: Defaults, address: Address, options: Mapping[str, Any]) -> Sink:
    scheme = find(address.scheme)
    if scheme is None:
        raise ConfigError(f"no scheme {address.scheme!r} is registered; it is needed for {address}")
    return scheme.make(address, defaults, **options)


def _jsonrpc(address: Address, defaults: Defaults, **options: Any) -> JsonRpcSink:
    assert isinstance(address, SocketAddress)  # noqa: S101  # what this scheme's own parser makes
    given: dict[str, Any] = {
        "timeout": defaults.timeout,
        "confirm": defaults.confirm,
        "event_param": defaults.event_param,
        "id_param": defaults.id_param,
        "null_id": defaults.null_id,
    }
    return jsonrpc(str(address), **(given | options))


_JSONRPC: Final[Options] = {
    "name": TEXT,
    "timeout": TIME,
    "confirm": YES_NO,
    "event_param": TEXT,
    "id_param": TEXT,
    "null_id": YES_NO,
    "at_limit": choice(*get_args(AtLimit)),
    "lazy": YES_NO,
    "dedicated": YES_NO,
}
"""What can be said of a JSON-RPC socket in a text: arguments of `jsonrpc`."""

_DATAGRAM: Final[Options] = {
    "name": TEXT,
    "timeout": TIME,
    "format": choice(*get_args(DatagramFormat)),
    "id_param": TEXT,
}
"""What can be said of a datagram socket in a text: arguments of `udp` and `unix`."""

add(*TABLE)
register(Scheme("jsonrpc", parse_socket, _jsonrpc, _JSONRPC))
register(Scheme("tcp", parse_socket, _jsonrpc, _JSONRPC))
register(Scheme("udp", parse_udp, make_datagram, _DATAGRAM))
register(Scheme("unix", parse_unix, make_datagram, _DATAGRAM))
