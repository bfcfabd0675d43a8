"""The group of a drill: from text or tables to sinks, each known by the name of its subscriber."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final, TypeVar, cast

from attrs import frozen

from failover.address import Address, SocketAddress
from failover.build import build
from failover.drill.plan import Drill, Own
from failover.drill.tables import check_known, made, said_of, strategy_of
from failover.errors import AddressError, ConfigError, FailoverError, did_you_mean
from failover.grammar import VirtualAddress
from failover.schemes import Defaults, parse_address
from failover.sink import Sink
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc

__all__ = ["Tree", "subscribers_of", "tree_of"]

T = TypeVar("T")

_SOCKET_ARGUMENTS: Final = frozenset(
    {"at_limit", "confirm", "dedicated", "event_param", "id_param", "lazy", "name", "null_id", "timeout"}
)


@frozen
class Tree:
    """A group's tree, ready to be opened.

    Args:
        root: Its root.
        behind: The subscriber behind each socket, by the socket's name.
    """

    root: Sink
    behind: Mapping[str, str]


def tree_of(drill: Drill, where: Mapping[str, tuple[str, int]]) -> Tree:
    """Make the sinks.

    Args:
        drill: The drill, all of its subscribers in it (`subscribers_of`).
        where: Host and port to connect to, by the subscriber's name.

    Raises:
        ConfigError: a strategy or an argument that doesn't exist, or a value that doesn't fit; it names the key.
    """
    return _Builder(drill, where).build()


def subscribers_of(drill: Drill) -> tuple[Own, ...]:
    """All subscribers of a drill: those declared, and those that its group names without declaring them.

    A name that is declared nowhere is a scripted subscriber that confirms; an address of this machine's loopback is a
    subscriber of your own.

    Raises:
        ConfigError: a socket that can't be parsed, an address elsewhere, a fault on somebody who isn't there.
    """
    known = {own.name: own for own in drill.subscriber}
    for path, leaf in _leaves(drill):
        name = _name(leaf)
        if name not in known:
            known[name] = Own(name=name, address=name) if _numeric(leaf.host) else Own(name=name)
        own = known[name]
        if own.address is not None:
            _check_loopback(path, own.address)
    _check_places(drill)
    _check_targets(drill, known)
    for own in known.values():
        _check_reach(drill, own)
    return tuple(known.values())


def _check_reach(drill: Drill, own: Own) -> None:
    if drill.drill.on == "simulation" and own.own and own.start is None:
        raise ConfigError(
            f"subscriber {own.name!r} is one of your own, which a simulation can't reach: "
            'say on = "sockets" in [drill], or --on sockets; or name an async function of host and port that a '
            'simulated host can run, start = "module:function"'
        )
    if drill.drill.on == "sockets" and own.start is not None and own.address is None and own.command is None:
        raise ConfigError(
            f"subscriber {own.name!r} has a `start`, which is for the simulation alone: on sockets it is started by a "
            "`command`, or it runs already at an `address`"
        )


def _check_places(drill: Drill) -> None:
    for index, own in enumerate(drill.subscriber):
        host = f"[{own.host}]" if ":" in own.host else own.host
        _check_loopback(f"subscriber[{index}].host", f"{host}:{own.port or 1}")
        if own.address is not None:
            _check_loopback(f"subscriber[{index}].address", own.address)


def _check_targets(drill: Drill, known: Mapping[str, Own]) -> None:
    for index, fault in enumerate(drill.fault):
        for name in fault.targets or ():
            if name not in known:
                meant = did_you_mean(name, known)
                raise ConfigError(f"fault[{index}].on: no subscriber {name!r}; {meant}there are {', '.join(known)}")


def _check_loopback(path: str, address: str) -> None:
    try:
        host = _socket(address, path).host
    except ConfigError:
        raise ConfigError(f"{path}: {address!r} is no host:port") from None
    if host != "localhost" and not (_numeric(host) and ip_address(host).is_loopback):
        raise ConfigError(
            f"{path}: {host} is not this machine's loopback; a drill makes load and faults there alone, e.g. 127.0.0.1"
        )


def _numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _socket(text: str, path: str) -> SocketAddress:
    """The address of one socket: with its scheme, as host:port, or as a subscriber's name."""
    shown = text if ":" in text else f"{text}:1"
    try:
        scheme = shown.partition(":")[0] in {"jsonrpc", "tcp"}
        address = parse_address(shown if scheme else f"jsonrpc:{shown}")
    except AddressError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(address, SocketAddress):
        raise ConfigError(f"{path}: {text!r} is no single socket")
    return address


def _name(leaf: SocketAddress) -> str:
    """The subscriber that a socket means."""
    if not _numeric(leaf.host):
        return leaf.host.lower()
    return f"[{leaf.host}]:{leaf.port}" if ":" in leaf.host else f"{leaf.host}:{leaf.port}"


def _leaves(drill: Drill) -> Iterator[tuple[str, SocketAddress]]:
    """Every socket of the group, with the path of its key."""
    group = drill.group
    if group.socket is not None:
        yield from _addressed(group.socket, "group.socket")
    else:
        yield from _below(group.tree, "group.tree")


def _below(node: Any, path: str) -> Iterator[tuple[str, SocketAddress]]:
    if isinstance(node, str):
        yield from _addressed(node, path)
    elif not isinstance(node, dict):
        raise ConfigError(f"{path}: expected a subscriber's name, an address or a table, not {node!r}")
    else:
        table = cast("dict[str, Any]", node)
        if "socket" in table:
            yield path, _socket(_text(table["socket"], f"{path}.socket"), f"{path}.socket")
        else:
            for index, child in enumerate(_children(table, path)):
                yield from _below(child, f"{path}.children[{index}]")


def _addressed(text: str, path: str) -> Iterator[tuple[str, SocketAddress]]:
    if not text.startswith("virtual:"):
        yield path, _socket(text, path)
        return
    for child in _sockets(_virtual(text, path)):
        yield path, _socket(str(child), path)


def _virtual(text: str, path: str) -> VirtualAddress:
    try:
        return cast("VirtualAddress", parse_address(text))
    except AddressError as error:
        raise ConfigError(f"{path}: {error}") from None


def _sockets(address: VirtualAddress) -> Iterator[Address]:
    for child in address.children:
        if isinstance(child, VirtualAddress):
            yield from _sockets(child)
        else:
            yield child


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{path}: expected text, not {value!r}")
    return value


def _children(table: dict[str, Any], path: str) -> list[object]:
    children = table.get("children")
    if not isinstance(children, list) or not children:
        raise ConfigError(f'{path}: expected `strategy = "…"` and `children = […]`, or `socket = "…"`')
    return cast("list[object]", children)


class _Builder:
    def __init__(self, drill: Drill, where: Mapping[str, tuple[str, int]]) -> None:
        self._drill = drill
        self._where = where
        self._names: Counter[str] = Counter()
        self.behind: dict[str, str] = {}

    def build(self) -> Tree:
        group = self._drill.group
        text = group.socket
        root = self._node(group.tree, "group.tree") if text is None else self._address(text, "group.socket")
        return Tree(root, self.behind)

    def _unique(self, name: str) -> str:
        """A name that occurs once in the tree, so that checkers know which node is meant."""
        self._names[name] += 1
        times = self._names[name]
        return name if times == 1 else f"{name} ({times})"

    def _node(self, node: Any, path: str) -> Sink:
        if isinstance(node, str):
            return self._address(node, path)
        table = dict(cast("dict[str, Any]", node))
        if "socket" in table:
            address = _socket(table.pop("socket"), f"{path}.socket")
            check_known(table, _SOCKET_ARGUMENTS, path, "a socket")
            return _made(path, self._sink, address, **table)
        return self._strategy(table, path)

    def _address(self, text: str, path: str) -> Sink:
        if not text.startswith("virtual:"):
            return _made(path, self._sink, _socket(text, path))
        address = _virtual(text, path)

        def socket(child: Address, options: Mapping[str, Any]) -> Sink:
            return self._sink(_socket(str(child), path), **options)

        def called(name: str) -> str:
            return self._unique(address.policy if name == str(address) else name)

        group = self._drill.group
        defaults = Defaults(timeout=group.timeout, quarantine=group.quarantine)
        return _made(path, build, address, defaults, socket=socket, called=called)

    def _sink(self, leaf: SocketAddress, **options: Any) -> JsonRpcSink:
        subscriber = _name(leaf)
        shown = subscriber if leaf.method is None else f"{subscriber}/{leaf.method}"
        name = self._unique(options.pop("name", shown))
        host, port = self._where[subscriber]
        host = f"[{host}]" if ":" in host else host
        method = "" if leaf.method is None else f"/{leaf.method}"
        self.behind[name] = subscriber
        options.setdefault("timeout", self._drill.group.timeout)
        return jsonrpc(f"{leaf.scheme}:{host}:{port}{method}", name=name, **options)

    def _strategy(self, table: dict[str, Any], path: str) -> Sink:
        children = _children(table, path)
        del table["children"]
        strategy = strategy_of(_text(table.pop("strategy", None), f"{path}.strategy"), f"{path}.strategy")
        name = self._unique(table.pop("name", getattr(strategy, "__name__", "strategy")))
        keys = said_of(strategy)
        sinks: list[Sink] = []
        said: list[dict[str, Any]] = []
        for index, child in enumerate(children):
            own = cast("dict[str, Any]", child) if isinstance(child, dict) else {}
            said.append({key: own[key] for key in keys if key in own})
            left = {key: value for key, value in own.items() if key not in keys}
            sinks.append(self._node(left or child, f"{path}.children[{index}]"))
        return made(strategy, sinks, said, {**table, "name": name}, path)


def _made(path: str, make: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What is made; an argument that doesn't fit names the key."""
    try:
        return make(*arguments, **options)
    except (FailoverError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
