"""Draws an address as a tree."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final, cast

from rich.text import Text
from rich.tree import Tree

from failover.address import Address, SocketAddress
from failover.grammar import Pairs, VirtualAddress
from failover.policy import POLICIES
from failover.sinks.datagram import UnixAddress
from failover.tokens import quote

__all__ = ["draw"]

_SCHEMES: Final = {
    "jsonrpc": "JSON-RPC 2.0 over TCP, as OpenSIPS 2.4 and 3.0 write it",
    "tcp": "JSON-RPC 2.0 over TCP, as OpenSIPS 3.1 and later write it",
    "udp": "a JSON-RPC notification in a datagram, which nobody confirms",
    "unix": "a JSON-RPC notification in a datagram to a socket of this machine, which nobody confirms",
}


def draw(address: Address, said: Pairs = ()) -> Tree:
    """The tree of an address, with what each part of it means.

    Args:
        address: The address.
        said: What the policy above it says of it, or its text besides the address.
    """
    options = _options(said)
    if isinstance(address, VirtualAddress):
        own = _options(address.options)
        tree = Tree(_line(f"{address.policy}{own}", POLICIES[address.policy].meaning), guide_style="dim")
        if options:
            tree.label = Text.assemble((f"{options.strip()} ", "bold"), cast("Text", tree.label))
        tree.children.extend(draw(*child) for child in zip(address.children, address.said, strict=True))
        return tree
    tree = Tree(Text(f"{address}{options}", style="bold"), guide_style="dim")
    tree.add(_line(address.scheme, _SCHEMES.get(address.scheme, "a scheme that another distribution adds")))
    if isinstance(address, SocketAddress):
        tree.add(_line(f"host {address.host}", _kind(address.host)))
        tree.add(_line(f"port {address.port}"))
        if address.scheme == "udp":
            return tree
        if address.method is None:
            tree.add(_line("no method", "the event's name is the JSON-RPC method"))
        else:
            tree.add(_line(f"method {address.method}", "the JSON-RPC method, whatever the event's name is"))
    elif isinstance(address, UnixAddress):
        tree.add(_line(f"path {address.path}"))
    return tree


def _options(pairs: Pairs) -> str:
    return "".join(f" {name}={quote(value, closing=False)}" for name, value in pairs)


def _line(what: str, meaning: str = "") -> Text:
    line = Text(what, style="bold")
    return line.append(f": {meaning}", style="not bold") if meaning else line


def _kind(host: str) -> str:
    for kind, name in ((IPv4Address, "an IPv4 address"), (IPv6Address, "an IPv6 address")):
        try:
            kind(host)
        except ValueError:
            continue
        return name
    return "a name, looked up when it is connected"
