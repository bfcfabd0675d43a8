"""What a history is made of: one frozen entry per thing that happened, and the tree that it happened in."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt

__all__ = [
    "Answered",
    "Attempted",
    "Broken",
    "ConnectionChange",
    "Declared",
    "Ended",
    "Entry",
    "FaultSet",
    "HealthChange",
    "HealthStep",
    "Late",
    "Node",
    "OddReply",
    "Processed",
    "Raised",
    "Silent",
]


@frozen
class Node:
    """A sink or a strategy as it was declared: what checkers need to know to say what it owed.

    Args:
        name: Its name in receipts.
        kind: Its class.
        children: A strategy's children, in declared order; empty for a socket.
        side_by_side: Whether it tries its children at once.
        timeout: Seconds for one attempt on a socket; None for a strategy.
        quarantine: Seconds for which it skips a child at fault; None if it never does.
        quarantine_most: Seconds for which it skips one at most, as it grows or at random; None if that is the same.
        failures: After how many failures in a row it does; 0 if that can't be told from their number.
        failback: How a child comes back, see `failover.health.Health`.
        slow_start: How many answers it takes until one that is back may have any number of events at once.
        probed: Whether a child that is out is asked, and an answer ends its time.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether it tries quarantined children rather than leaving an event unsettled.
        move_on: Whether an event that a child didn't settle goes on to the next one.
        paced: Whether the next child may begin some time after the one before has ended, or before it has.
        need: How many children must take an event; 0 for a socket.
        confirms: Whether a socket's events are requests, which replies confirm.
        subscriber: Who is behind a socket, by the name under which it tells what it processed; empty for a strategy.
    """

    name: str
    kind: str = ""
    children: tuple[Node, ...] = ()
    side_by_side: bool = False
    timeout: float | None = None
    quarantine: float | None = None
    quarantine_most: float | None = None
    failures: int = 1
    failback: str = "cautious"
    slow_start: int = 1
    probed: bool = False
    quarantine_rejected: bool = False
    last_resort: bool = True
    move_on: bool = True
    paced: bool = False
    need: int = 0
    confirms: bool = True
    subscriber: str = ""

    def walk(self) -> list[Node]:
        """This node and all below it, parents before children."""
        return [self, *(below for child in self.children for below in child.walk())]

    def sockets(self) -> list[Node]:
        """The nodes without children, left to right."""
        return [node for node in self.walk() if not node.children]


@frozen
class Declared:
    """A group was declared (or opened) with this tree.

    Args:
        at: Loop time, seconds; so in all entries.
        group: The group's name.
        root: Its tree.
    """

    at: float
    group: str
    root: Node


@frozen
class Raised:
    """An event was given to a group.

    Args:
        at: When.
        event: The event's id; so in all entries.
        name: Its name.
        deadline: Loop time after which nobody waits for it any more; None without.
        key: What it must keep its order with, a Call-ID say; empty without.
        batched: Whether it is one of a batch, which goes on to the next child as a whole.
    """

    at: float
    event: str
    name: str
    deadline: float | None = None
    key: str = ""
    batched: bool = False


@frozen
class Attempted:
    """An attempt on a socket ended, or was skipped at the socket itself.

    Args:
        at: When it ended.
        event: Of which event.
        sink: Name of the socket's sink.
        began: When it began.
        outcome: How it ended.
        verdict: What the outcome means for the event, where that was said.
        reason: Why it ended so.
        request_id: Its id on the wire; None without.
        sent: Whether bytes of it left.
    """

    at: float
    event: str
    sink: str
    began: float
    outcome: Outcome
    verdict: Verdict | None = None
    reason: str = ""
    request_id: int | None = None
    sent: bool = False

    @property
    def maybe_processed(self) -> bool:
        """Whether it says of itself that the subscriber may have processed the event."""
        return self.outcome is Outcome.CONFIRMED or (
            self.sent and (self.outcome is not Outcome.REJECTED or self.verdict is Verdict.CONFIRM)
        )


@frozen
class Ended:
    """A delivery ended.

    Args:
        at: When whoever raised the event was told.
        event: Of which event.
        group: The group's name.
        receipt: Its receipt. Read back from a line, its event has a name and an id, and no params.
    """

    at: float
    event: str
    group: str
    receipt: Receipt


@frozen
class Processed:
    """A subscriber did its work for an event; the truth that all else is held against.

    Args:
        at: When.
        event: Which event.
        subscriber: Who did it.
        connection: Over which of its connections it came, however it tells them apart.
    """

    at: float
    event: str
    subscriber: str
    connection: str = ""


@frozen
class Answered:
    """The bytes of a reply came back over the network, whatever the sink made of it.

    Args:
        at: When its last byte came.
        event: Which event it answers.
        subscriber: Whose reply it is.
        request_id: The id in it.
        confirmed: Whether it is a result, not an error.
    """

    at: float
    event: str
    subscriber: str
    request_id: int
    confirmed: bool


@frozen
class Broken:
    """The end of a connection came over the network: a FIN or a RST of the subscriber's side.

    Args:
        at: When it came.
        subscriber: Whose connection it ends.
        how: `fin` or `rst`.
    """

    at: float
    subscriber: str
    how: str


@frozen
class Late:
    """A sink told of a reply to an attempt that had ended.

    Args:
        at: When the reply came.
        event: Of which event.
        sink: Name of the sink.
        confirmed: Whether the reply confirms.
    """

    at: float
    event: str
    sink: str
    confirmed: bool


@frozen
class Silent:
    """A sink told that an abandoned attempt got no reply within the sink's own timeout either.

    Args:
        at: When.
        event: Of which event; empty for a strategy whose children are all out.
        sink: Name of the sink.
    """

    at: float
    event: str
    sink: str


@frozen
class HealthChange:
    """A strategy took a child out of service, or back into it.

    Args:
        at: When.
        strategy: Name of the strategy.
        child: Name of the child.
        up: Whether it is in service now.
        until: Loop time until which it is skipped; 0 if it is up, infinite (null as text) if no time brings it back.
        reason: What it did.
        told: When that was decided, if later than `at`: a batch is judged when all of it has ended, by then old facts.
    """

    at: float
    strategy: str
    child: str
    up: bool
    until: float = 0.0
    reason: str = ""
    told: float = 0.0

    @property
    def since(self) -> float:
        """Loop time from which it counts."""
        return max(self.at, self.told)


@frozen
class HealthStep:
    """Something happened on a child's way out of service or back that neither takes it out nor brings it back.

    Args:
        at: When.
        strategy: Name of the strategy.
        child: Name of the child.
        step: `on trial`, `recovered` or `pushed back`.
        reason: Why.
        until: Loop time until which it is passed over; 0 if no time was said.
        told: As of `HealthChange`.
    """

    at: float
    strategy: str
    child: str
    step: str
    reason: str = ""
    until: float = 0.0
    told: float = 0.0

    @property
    def since(self) -> float:
        """Loop time from which it counts."""
        return max(self.at, self.told)


@frozen
class ConnectionChange:
    """A connection to a peer was made, failed or broke.

    Args:
        at: When.
        peer: The peer's address.
        connected: Whether there is one now.
        reason: Why not.
    """

    at: float
    peer: str
    connected: bool
    reason: str = ""


@frozen
class OddReply:
    """A peer sent something that answers nothing.

    Args:
        at: When.
        peer: The peer's address.
        problem: What is wrong with it.
    """

    at: float
    peer: str
    problem: str


@frozen
class FaultSet:
    """A fault was set or repaired, by whoever plays the faults.

    Args:
        at: When.
        fault: Its name, e.g. `black_hole`.
        where: The subscriber (or host) that it concerns; empty for all.
        active: Whether it acts from now on; a fault of one moment, as a reset, is set and never repaired.
        detail: Anything else that tells it from others.
    """

    at: float
    fault: str
    where: str = ""
    active: bool = True
    detail: str = ""


Entry: TypeAlias = (
    Declared
    | Raised
    | Attempted
    | Ended
    | Processed
    | Answered
    | Broken
    | Late
    | Silent
    | HealthChange
    | HealthStep
    | ConnectionChange
    | OddReply
    | FaultSet
)
