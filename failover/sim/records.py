"""What observers of a simulated network are told."""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["Observer", "Record"]


@attrs.frozen(slots=True)
class Record:
    """One thing that happened on the network: a segment was sent or arrived, a fault began, a host crashed.

    Args:
        time: Virtual time in seconds.
        what: A segment's kind (`syn`, `syn-ack`, `ack`, `data`, `fin`, `rst`, `datagram`), or `accept`, `fault`,
            `repair`, `crash`, `restart`, `timeout`.
        fate: For a segment `sent`, `dropped`, `held`, `reset` or `arrived`; otherwise a description.
        source: Where from, as `host:port`; a host's name where there is no port.
        destination: Where to, likewise; empty where there is none.
        data: The bytes carried.
    """

    time: float
    what: str
    fate: str
    source: str
    destination: str = ""
    data: bytes = b""

    def __str__(self) -> str:
        route = f"{self.source} > {self.destination}" if self.destination else self.source
        return f"{self.time:.9f} {route} {self.what} {self.fate} {len(self.data)}"


Observer = Callable[[Record], None]
