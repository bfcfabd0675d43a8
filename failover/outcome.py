"""Outcomes and verdicts, and the one table that makes a composite's outcome from its children's."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from failover.receipt import Receipt

__all__ = ["Outcome", "Verdict", "dead_letter_outcome", "fan_out_outcome", "sequential_outcome"]


class Outcome(enum.Enum):
    """How a delivery ended. Never a bare boolean: what is not confirmed may still have been processed."""

    CONFIRMED = "confirmed"
    """A reply with our id and no error."""
    SENT = "sent"
    """A notification was written; it has no confirmation by design."""
    REJECTED = "rejected"
    """An error reply with our id: the peer is alive and refused. Its verdict says what follows."""
    UNREACHABLE = "unreachable"
    """Resolving, connecting or TLS failed, or the connection broke before a byte left: never processed."""
    UNCONFIRMED = "unconfirmed"
    """Bytes left and no answer came (timeout, reset, unreadable reply): it may have been processed."""
    ABANDONED = "abandoned"
    """We stopped waiting: cancelled, decided elsewhere, or a deadline shorter than the sink's own timeout."""
    SKIPPED = "skipped"
    """Not attempted; the reason stands beside it."""

    __hash__ = object.__hash__  # as its equality; Enum's own is written in Python, and outcomes are counted per event


class Verdict(enum.Enum):
    """What an error reply means for the event (by its code), or a full window for the delivery."""

    NEXT = "next"
    """Try the next sink (what OpenSIPS does)."""
    STOP = "stop"
    """The event is at fault: trying it elsewhere is pointless. Settled, not confirmed."""
    BUSY = "busy"
    """The peer pushes back: try the next one, and don't judge this one broken."""
    CONFIRM = "confirm"
    """As good as a confirmation, e.g. an error that says "already done". Settled."""


# What an unsettled composite reports: the first of these that any child gives. UNCONFIRMED stands for "some child may
# have processed it", whatever that child's own outcome is.
_UNSETTLED: Final = (Outcome.REJECTED, Outcome.UNREACHABLE, Outcome.ABANDONED, Outcome.SKIPPED)


def sequential_outcome(children: Sequence[Receipt]) -> tuple[Outcome, Verdict | None]:
    """Outcome and verdict of children tried one after the other until the event was settled.

    The settled child's; else UNCONFIRMED if any child may have processed it; else REJECTED, UNREACHABLE, ABANDONED,
    SKIPPED, whichever comes first. SKIPPED without children. A full window that settles it is SKIPPED as well, but
    UNCONFIRMED if a child before it may have processed the event: SKIPPED always means that nobody has.
    """
    for place, child in enumerate(children):
        if child.settled:
            return _full(children[:place]) if child.outcome is Outcome.SKIPPED else (child.outcome, child.verdict)
    return _unsettled(children)


def fan_out_outcome(children: Sequence[Receipt], need: int) -> tuple[Outcome, Verdict | None]:
    """Outcome and verdict of children tried side by side, of which `need` must take the event.

    CONFIRMED if enough are confirmed, SENT if enough are confirmed or sent; else REJECTED with STOP if a child says so
    (the event is at fault everywhere). Any other STOP is a full window's: it settles the event, so that overload isn't
    passed on, as UNCONFIRMED if any child may have processed it, else SKIPPED. Without one as of an unsettled sequence,
    where a confirmed child counts as "may have been processed".
    """
    confirmed = sum([child.confirmed for child in children])  # a list's half the price of a generator's
    if confirmed >= need:
        return Outcome.CONFIRMED, None
    if confirmed + sum(child.outcome is Outcome.SENT for child in children) >= need:
        return Outcome.SENT, None
    stops = [child.outcome for child in children if child.verdict is Verdict.STOP]
    if Outcome.REJECTED in stops:
        return Outcome.REJECTED, Verdict.STOP
    return _full(children) if stops else _unsettled(children)


def _full(children: Sequence[Receipt]) -> tuple[Outcome, Verdict | None]:
    processed = any(child.maybe_processed for child in children)
    return Outcome.UNCONFIRMED if processed else Outcome.SKIPPED, Verdict.STOP


def dead_letter_outcome(child: Receipt, letter: Receipt) -> tuple[Outcome, Verdict | None]:
    """Outcome and verdict of an event that a child didn't take and that went elsewhere.

    Whoever took the letter has the event: its outcome. Else the child's, but UNCONFIRMED if the letter may have arrived
    and the child had not settled the event, or had never been given it.
    """
    if letter.confirmed or letter.outcome is Outcome.SENT:
        return letter.outcome, letter.verdict
    if letter.maybe_processed and (not child.settled or child.outcome is Outcome.SKIPPED):
        return Outcome.UNCONFIRMED, child.verdict if child.settled else None
    return child.outcome, child.verdict


def _unsettled(children: Sequence[Receipt]) -> tuple[Outcome, Verdict | None]:
    if any(child.maybe_processed for child in children):
        return Outcome.UNCONFIRMED, None
    for outcome in _UNSETTLED:
        for child in children:
            if child.outcome is outcome:
                return outcome, child.verdict
    return Outcome.SKIPPED, None
