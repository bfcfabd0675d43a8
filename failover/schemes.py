"""The registry of socket schemes; another distribution adds one by an entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import field, frozen

from failover.address import SCHEMES, Address, SocketParser
from failover.errors import ConfigError
from failover.grammar import parse
from failover.options import Kind, Options
from failover.policy import SOCKETS
from failover.sink import check_name, check_seconds

if TYPE_CHECKING:
    from failover.sink import Sink

__all__ = ["ENTRY_POINTS", "Defaults", "Maker", "Scheme", "find", "parse_address", "parsers", "register"]

ENTRY_POINTS: Final = "failover.schemes"
"""The group of entry points; each names a scheme and leads to a `Scheme`."""


@frozen
class Defaults:
    """What sockets given as text get, since their text says nothing of it.

    Args:
        timeout: Seconds for one attempt.
        confirm: Whether events are confirmed by a reply; else they are notifications.
        event_param: The name under which the event's name leads the params; None leaves it out.
        id_param: The name under which the event's id ends the params; None leaves it out.
        null_id: Whether notifications carry `"id":null`.
        quarantine: Seconds for which FAILOVER and ROUND-ROBIN skip a child at fault.

    Raises:
        ConfigError: a time out of its range, or an empty event_param or id_param.

    Source: OpenSIPS event_jsonrpc (`timeout`, `sync_mode`, `event_param`), event_virtual (`failover_timeout`).
    """

    timeout: float = 1.0
    confirm: bool = True
    event_param: str | None = None
    id_param: str | None = None
    null_id: bool = True
    quarantine: float = 30.0

    def __attrs_post_init__(self) -> None:
        check_seconds("timeout", self.timeout)
        check_seconds("quarantine", self.quarantine, zero=True)
        if self.event_param is not None:
            check_name("parameter (event_param)", self.event_param)
        if self.id_param is not None:
            check_name("parameter (id_param)", self.id_param)


Maker: TypeAlias = "Callable[..., Sink]"
"""Makes the sink of an address that the scheme's own parser gave; it is called with that and the `Defaults`, and with
what a text says of the socket besides, each as a keyword argument."""


@frozen
class Scheme:
    """One kind of socket address.

    Args:
        name: The word before the colon, lower case.
        parse: Makes the address of what follows the colon; raises `rest.error(…)` for what doesn't fit.
        make: Makes the sink of such an address.
        options: What a text can say of such a socket inside `virtual:`, by name.
    """

    name: str
    parse: SocketParser
    make: Maker = field(repr=False)
    options: Options = field(factory=dict[str, Kind], repr=False)


_registry: Final[dict[str, Scheme]] = {}
_searched: Final[set[str]] = set()  # groups of entry points that were loaded; once is enough


def register(scheme: Scheme) -> None:
    """Add a scheme.

    Raises:
        ConfigError: another scheme of that name is there.
    """
    known = _registry.setdefault(scheme.name, scheme)
    if known is not scheme:
        raise ConfigError(f"the scheme {scheme.name!r} is there already; two distributions can't both add it")
    SOCKETS[scheme.name] = scheme.options


def find(name: str) -> Scheme | None:
    """The scheme of that name, or None; entry points are looked at when a name is not known."""
    if name not in _registry:
        _load()
    return _registry.get(name)


def parsers() -> Mapping[str, SocketParser]:
    """What parses each scheme's addresses, for `failover.grammar.parse`."""
    _load()
    return SCHEMES | {name: scheme.parse for name, scheme in _registry.items()}


def parse_address(text: str) -> Address:
    """The tree of an address of any registered scheme.

    Raises:
        AddressError: the first thing that doesn't fit.
    """
    return parse(text, schemes=parsers())


def _load() -> None:
    if ENTRY_POINTS in _searched:
        return
    for point in entry_points(group=ENTRY_POINTS):
        scheme = point.load()
        if not isinstance(scheme, Scheme) or scheme.name != point.name:
            raise ConfigError(
                f"the entry point {point.name!r} of {ENTRY_POINTS} must lead to a Scheme of that name, not {scheme!r}"
            )
        register(scheme)
    _searched.add(ENTRY_POINTS)
