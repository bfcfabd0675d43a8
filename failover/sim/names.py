"""Names and addresses of a simulated network: what `getaddrinfo` answers, without asking anyone."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Final

from failover.errors import ConfigError

if TYPE_CHECKING:
    from failover.sim.network import Network

__all__ = ["AddressInfo", "address_of", "is_simulated", "lookup", "numeric", "sockaddr"]

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]

RANGE: Final = ipaddress.IPv4Network("198.18.0.0/15")
"""Reserved for benchmarks of networks (RFC 2544): no real host has such an address."""
RANGE6: Final = ipaddress.IPv6Network("2001:db8::/64")
"""Reserved for documentation (RFC 3849)."""


def address_of(number: int) -> tuple[str, str]:
    """The IPv4 and IPv6 address of the host with this number, 1 first.

    Raises:
        ConfigError: the range is used up, at 131,070 hosts.
    """
    if number >= RANGE.num_addresses - 1:
        raise ConfigError(f"host number {number}: a simulated network has room for {RANGE.num_addresses - 2} hosts")
    return str(RANGE[number]), str(RANGE6[number])


def numeric(text: str) -> str | None:
    """The address in its usual spelling, or None if the text is a name."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def is_simulated(address: str) -> bool:
    """Whether a host of some simulation could have the address."""
    parsed = ipaddress.ip_address(address)
    return parsed in RANGE if isinstance(parsed, ipaddress.IPv4Address) else parsed in RANGE6


def sockaddr(address: str, port: int) -> tuple[Any, ...]:
    """An address as the socket module has it: four parts for IPv6."""
    return (address, port, 0, 0) if ":" in address else (address, port)


def lookup(
    network: Network, host: str | bytes | None, port: str | bytes | int | None, *, family: int, type: int, flags: int
) -> list[AddressInfo]:
    """What `socket.getaddrinfo` would say on the simulated network; arguments as there.

    Raises:
        socket.gaierror: no such host, service or address family, with the resolver's numbers.
    """
    name = host.decode() if isinstance(host, bytes) else host
    number = _port(port, "bind" if flags & socket.AI_PASSIVE else "connect")
    if name is None or name == "":
        addresses = ["0.0.0.0", "::"] if flags & socket.AI_PASSIVE else ["127.0.0.1", "::1"]  # noqa: S104  as glibc
    elif (address := numeric(name)) is not None:
        addresses = [address]
    elif name == "localhost":
        addresses = ["127.0.0.1", "::1"]
    else:
        found = network.hosts.get(name.rstrip(".").lower()) if not flags & socket.AI_NUMERICHOST else None
        if found is None:
            known = ", ".join(network.hosts) or "none"
            raise socket.gaierror(
                socket.EAI_NONAME, f"Name or service not known ({name!r}; the simulated network has the hosts {known})"
            )
        addresses = [found.address, found.address6]
    if family:
        addresses = [address for address in addresses if (":" in address) == (family == socket.AF_INET6)]
    else:
        addresses = addresses[:1]
    if not addresses:
        raise socket.gaierror(socket.EAI_ADDRFAMILY, f"Address family for hostname not supported ({name!r})")
    kinds = [kind for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) if type in (0, kind)]
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            kind,
            socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP,
            "",
            sockaddr(address, number),
        )
        for address in addresses
        for kind in kinds
    ]


def _port(port: str | bytes | int | None, call: str) -> int:
    if port is None or port in {"", b""}:
        return 0
    try:
        number = int(port)
    except ValueError:
        raise socket.gaierror(
            socket.EAI_SERVICE, f"Servname not supported ({port!r}; a simulation has port numbers only)"
        ) from None
    if not 0 <= number <= 65535:  # noqa: PLR2004  16 bits
        raise OverflowError(f"{call}(): port must be 0-65535.")
    return number
