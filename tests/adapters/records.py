"""A record of every kind, and a kind that no adapter knows: what all of them are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from failover.event import Event
from failover.group import Group
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.records import (
    AttemptEnded,
    BadReply,
    ConnectionChanged,
    DeliveryEnded,
    LateConfirmation,
    Observer,
    Quarantined,
    Record,
    Reinstated,
    Silence,
)
from failover.sink import Sink
from tests.doubles import run

EVENT: Final = Event("E_ACC_CDR", {"password": "secret"}, id="call-1")


@frozen
class Recovering:
    """A kind of record that comes later: adapters have no row for it."""

    strategy: str
    child: str
    reason: str
    extra: tuple[str, ...]
    at: float


def attempt(sink: str = "a", outcome: Outcome = Outcome.CONFIRMED, began: float = 10.0, **fields: Any) -> Attempt:
    """An attempt of 5 ms."""
    sent = outcome is not Outcome.UNREACHABLE
    settings: dict[str, Any] = {"sent": sent, "request_id": 7, **fields}
    return Attempt(EVENT, sink, outcome, began, began + 0.005, **settings)


DOWN: Final = attempt("a", Outcome.UNREACHABLE, reason="connect: Connection refused", request_id=None)
BAD: Final = attempt(
    "b", Outcome.REJECTED, 10.005, error=ErrorReply(-32602, "bad"), verdict=Verdict.STOP, reason="-32602 bad"
)


def receipt(*children: Receipt, outcome: Outcome | None = None) -> Receipt:
    """Of a sequence."""
    last = children[-1]
    ended = Outcome.SKIPPED if outcome is None else outcome
    return Receipt(EVENT, "Failover", ended, children[0].began, last.ended, children, last.verdict)


DELIVERED: Final = DeliveryEnded("cdr", receipt(attempt(), outcome=Outcome.CONFIRMED))
MOVED: Final = DeliveryEnded("cdr", receipt(DOWN, attempt("b", began=10.005), outcome=Outcome.CONFIRMED))
REFUSED: Final = DeliveryEnded("cdr", receipt(DOWN, BAD, outcome=Outcome.REJECTED))
PART: Final = DeliveryEnded("inner", DELIVERED.receipt, part=True)

EVERY: Final[Sequence[Record]] = (
    AttemptEnded(attempt()),
    PART,
    DELIVERED,
    MOVED,
    REFUSED,
    LateConfirmation("a", attempt(), confirmed=True, at=12.0, group="cdr"),
    LateConfirmation("a", attempt(), confirmed=False, at=12.0, group="cdr"),
    Silence("a", attempt(), 12.0, "cdr"),
    Silence("Failover", None, 12.0, "cdr"),
    Quarantined("Failover", "a", 42.0, "no reply within the timeout", 12.0, "cdr"),
    Reinstated("Failover", "a", "late confirmation", 13.0, "cdr"),
    BadReply("10.0.0.5:8080", "no JSON", b'{"secret"', 14.0),
    ConnectionChanged("10.0.0.5:8080", connected=True, reason="", at=15.0),
    ConnectionChanged("10.0.0.5:8080", connected=False, reason="reset", at=16.0),
)
NEW: Final[Any] = Recovering("Failover", "a", "a probe was answered", ("x",), 17.0)
STRANGE: Final[Any] = object()


def deliver(observer: Observer, tree: Sink, *, events: int = 1) -> list[Receipt]:
    """Deliver events to a group of this tree, on virtual time."""

    async def main() -> list[Receipt]:
        async with Group("cdr", tree, observers=[observer]) as group:
            return [await group.deliver(EVENT) for _ in range(events)]

    return run(main())
