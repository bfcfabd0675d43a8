"""Draws an address as a tree."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from rich.text import Text
from rich.tree import Tree

from failover.address import Address, SocketAddress, VirtualAddress

__all__ = ["draw"]

_POLICIES: Final = {
    "FAILOVER": "the first that is in service gets the event; if it doesn't confirm, the next one does",
    "PARALLEL": "all get the event at once, and all must confirm it",
    "ROUND-ROBIN": "they take turns; if one doesn't confirm, the one after it gets the event",
}
_SCHEMES: Final = {
    "jsonrpc": "JSON-RPC 2.0 over TCP, as OpenSIPS 2.4 and 3.0 write it",
    "tcp": "JSON-RPC 2.0 over TCP, as OpenSIPS 3.1 and later write it",
}


def draw(address: Address) -> Tree:
    """The tree of an address, with what each part of it means."""
    if isinstance(address, VirtualAddress):
        tree = Tree(_line(address.policy, _POLICIES[address.policy]), guide_style="dim")
        tree.children.extend(draw(child) for child in address.children)
        return tree
    tree = Tree(Text(str(address), style="bold"), guide_style="dim")
    tree.add(_line(address.scheme, _SCHEMES.get(address.scheme, "a scheme that another distribution adds")))
    if isinstance(address, SocketAddress):
        tree.add(_line(f"host {address.host}", _kind(address.host)))
        tree.add(_line(f"port {address.port}"))
        if address.method is None:
            tree.add(_line("no method", "the event's name is the JSON-RPC method"))
        else:
            tree.add(_line(f"method {address.method}", "the JSON-RPC method, whatever the event's name is"))
    return tree


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
