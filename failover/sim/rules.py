"""What a fault is made of: a rule sees a packet and says what becomes of it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

import attrs

__all__ = ["DROP", "HOLD", "PASS", "RESET", "Deliver", "Fate", "Kind", "Packet", "Rule", "Verdict"]


class Kind(enum.Enum):
    """What a packet is.

    Acknowledgements are packets only where a program could tell that they are lost: in handshakes, when the writer
    waits for room, and of any segment while a fault is on their way.
    """

    SYN = "syn"
    SYN_ACK = "syn-ack"
    ACK = "ack"
    DATA = "data"
    FIN = "fin"
    RST = "rst"
    DATAGRAM = "datagram"


class Fate(enum.Enum):
    """What becomes of a packet.

    `PASS`: the next rule is asked, and after the last one it is sent. `DROP`: it is lost; a stream sends it again,
    after 200 ms, 400 ms and so on, a datagram or a RST is gone. `HOLD`: it waits, and all of its connection behind
    it, until the fault is repaired. `RESET`: it is lost and its sender gets a RST, as from a firewall that rejects.
    """

    PASS = "sent"  # noqa: S105  no password
    DROP = "dropped"
    HOLD = "held"
    RESET = "reset"


PASS: Final = Fate.PASS
DROP: Final = Fate.DROP
HOLD: Final = Fate.HOLD
RESET: Final = Fate.RESET


@attrs.frozen(slots=True)
class Deliver:
    """The packet arrives later than the link alone would have it; the next rule is asked too.

    Args:
        delay: Seconds, >= 0.
    """

    delay: float


@attrs.define(slots=True)
class Packet:
    """What a rule sees: a segment of a stream, or a datagram.

    Args:
        kind: What it is.
        source: The name of the host that sent it.
        source_port: Its port.
        destination: The name of the host it goes to.
        destination_port: The port there.
        data: The bytes carried.
        time: Virtual time, in seconds.
    """

    kind: Kind
    source: str
    source_port: int
    destination: str
    destination_port: int
    data: bytes
    time: float


Verdict = Fate | Deliver
Rule = Callable[[Packet], Verdict]
