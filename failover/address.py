"""Addresses of sockets: text to values, and back to the same text.

The grammar is OpenSIPS's, written down strictly::

    socket  = ( "jsonrpc:" | "tcp:" ) host ":" port [ "/" method ]
    host    = name | IPv4 | "[" IPv6 "]"

A method holds slashes and spaces. Without one (or with an empty one) the event's name is the method. Nothing is
resolved here: an address becomes a sink when a group opens. Several sockets in one text are `failover.grammar`'s.

Source: OpenSIPS event_jsonrpc and event_stream (its `tcp:`), "socket syntax".
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import Factory, field, frozen

from failover.errors import AddressError

__all__ = [
    "SCHEMES",
    "VIRTUAL",
    "Address",
    "SocketAddress",
    "SocketParser",
    "Span",
    "check_text",
    "one_of",
    "parse_socket",
]

VIRTUAL: Final = "virtual"
"""The word before the colon of several sockets in one text."""

_PORT_MAX = 65535
_PORT = f"a port from 1 to {_PORT_MAX}"
_HOST = "a host name, an IPv4 address, or an IPv6 address in brackets"
_NOT_IN_SCHEME = re.compile(r"^[^a-z]|[^a-z0-9+.-]")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_NOT_IN_PORT = re.compile(r"[^0-9]")
_NOT_IN_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LABEL_EXPECTED = "1 to 63 letters, digits, '_' or '-', no '-' first or last"
_NAME_MAX = 253  # RFC 1035 section 2.3.4, as text
_ZONE = re.compile(r"(%[A-Za-z0-9_.~-]+)?")


def _end_of_text(span: Span) -> int:
    return len(span.text)


@frozen
class Span:
    """A stretch of a text that remembers where it stands there, so that an error in it can say so.

    Args:
        text: The whole text.
        start: Where the stretch begins in `text`.
        end: Where it ends, exclusive; the end of `text` by default.
    """

    text: str
    start: int = 0
    end: int = field(default=Factory(_end_of_text, takes_self=True))

    def __str__(self) -> str:
        return self.text[self.start : self.end]

    def cut(self, start: int, end: int | None = None) -> Span:
        """A stretch of this stretch; both offsets count from its start, and the end is its own by default."""
        return Span(self.text, self.start + start, self.end if end is None else self.start + end)

    def error(self, offset: int, problem: str, expected: str) -> AddressError:
        """The error to raise for what stands `offset` characters into this stretch."""
        return AddressError(self.text, self.start + offset, problem, expected)


@frozen
class Address(ABC):
    """Base of every address: `parse(str(address))` gives an equal one.

    Args:
        scheme: The word before the first colon, as written.
    """

    scheme: str

    @abstractmethod
    def __str__(self) -> str:
        """Text that parses to an equal address."""

    @property
    def called(self) -> str:
        """How its sink is called in receipts, unless another name is given."""
        return str(self)


def _none_if_empty(method: str | None) -> str | None:
    return method or None


@frozen
class SocketAddress(Address):
    """One JSON-RPC subscriber over TCP: `jsonrpc:host:port[/method]`, or `tcp:` as OpenSIPS 3.1 and later spell it.

    Args:
        scheme: `jsonrpc` or `tcp`, as written, or one that another distribution adds.
        host: A host name or an IP address; IPv6 without brackets.
        port: 1 to 65535.
        method: The JSON-RPC method; `None` (an empty one becomes that) stands for the event's name.

    Raises:
        AddressError: one of them can't stand in an address.
    """

    host: str
    port: int
    method: str | None = field(default=None, converter=_none_if_empty)

    def __attrs_post_init__(self) -> None:
        _check_scheme(Span(self.scheme))
        _check_host(Span(self.host))
        _port(Span(str(self.port)))
        check_text(Span(self.method or ""), "a method")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        method = "" if self.method is None else f"/{self.method}"
        return f"{self.scheme}:{host}:{self.port}{method}"


SocketParser: TypeAlias = Callable[[str, Span], Address]
"""Makes the address of one socket from its scheme and the rest of its text; raises `rest.error(…)`."""


def parse_socket(scheme: str, rest: Span) -> SocketAddress:
    """The address `scheme:host:port[/method]`, given its scheme and what follows the first colon.

    Args:
        scheme: The word before the first colon.
        rest: What follows it.

    Returns:
        The address, its host and port checked, nothing resolved.

    Raises:
        AddressError: `rest` isn't `host:port[/method]`; the position is that in the whole text.
    """
    before, _, method = str(rest).partition("/")
    place = rest.cut(0, len(before))
    if before.startswith("["):
        closing = before.find("]")
        if closing < 0:
            raise place.error(len(before), "no ']' after the IPv6 address", "']', a colon and a port")
        host, after = place.cut(1, closing), closing + 1
        _check_ipv6(host)
    else:
        name, _, number = before.partition(":")
        if ":" in number:
            second = len(name) + 1 + number.index(":")
            raise place.error(second, "a second colon", "host:port, an IPv6 address in brackets as in [::1]:8080")
        host, after = place.cut(0, len(name)), len(name)
        _check_host(host)
    if before[after : after + 1] != ":":
        raise place.error(after, "no port after the host", f"a colon and {_PORT}")
    port = _port(place.cut(after + 1))
    check_text(rest.cut(len(before)), "a method")
    return SocketAddress(scheme, str(host), port, method)


SCHEMES: Final[MappingProxyType[str, SocketParser]] = MappingProxyType({"jsonrpc": parse_socket, "tcp": parse_socket})
"""What parses the addresses of each scheme that is built in."""


def _check_scheme(span: Span) -> None:
    scheme = str(span)
    if odd := _NOT_IN_SCHEME.search(scheme):
        raise span.error(odd.start(), f"{odd[0]!r} in a scheme", "lower-case letters, digits, '+', '.' or '-'")
    if scheme in {"", VIRTUAL}:
        raise span.error(0, f"scheme {scheme!r} for a socket", one_of(SCHEMES))


def _check_host(span: Span) -> None:
    host = str(span)
    if ":" in host:
        _check_ipv6(span)
        return
    if not host:
        raise span.error(0, "no host", _HOST)
    if odd := _NOT_IN_NAME.search(host):
        raise span.error(odd.start(), f"{odd[0]!r} in a host", _HOST)
    name = host.removesuffix(".")
    if len(name) > _NAME_MAX:
        raise span.error(_NAME_MAX, f"a host name of {len(name)} characters", f"at most {_NAME_MAX}")
    labels, offset = name.split("."), 0
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise span.error(offset, f"{label!r} as a part of a host name", _LABEL_EXPECTED)
        offset += len(label) + 1
    # No top-level domain is a number: what ends with one is meant as IPv4, and 127.1 or 010.0.0.1 isn't clear.
    if labels[-1].isdigit():
        try:
            IPv4Address(host)
        except ValueError:
            raise span.error(0, f"{host!r} is no IPv4 address", "four numbers from 0 to 255, as in 127.0.0.1") from None


def _check_ipv6(span: Span) -> None:
    address, percent, zone = str(span).partition("%")
    try:
        IPv6Address(address)
    except ValueError:
        raise span.error(0, f"{address!r} is no IPv6 address", "one as in [::1] or [2001:db8::7]") from None
    if not _ZONE.fullmatch(percent + zone):
        raise span.error(len(address), f"{percent + zone!r} is no zone", "an interface, as in [fe80::1%eth0]")


def _port(span: Span) -> int:
    number = str(span)
    if not number:
        raise span.error(0, "no port", _PORT)
    if odd := _NOT_IN_PORT.search(number):
        raise span.error(odd.start(), f"{odd[0]!r} in a port", _PORT)
    if number.startswith("0"):
        raise span.error(0, f"port {number} with a 0 first", _PORT)
    if len(number) > len(str(_PORT_MAX)) or int(number) > _PORT_MAX:
        raise span.error(0, f"port {number} is out of range", _PORT)
    return int(number)


def check_text(span: Span, what: str) -> None:
    """Refuse what can't be shown, and so can't be seen in an address.

    Args:
        span: A stretch of text.
        what: What it is, e.g. "a method".

    Raises:
        AddressError: a control character or half a surrogate pair.
    """
    if odd := _NOT_IN_TEXT.search(str(span)):
        raise span.error(odd.start(), f"{odd[0]!r} in {what}", "text without control characters or lone surrogates")


def one_of(words: Iterable[str]) -> str:
    """A list of words as a sentence has it: "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
