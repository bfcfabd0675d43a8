"""One event on one connection while it is under way; it leaves an attempt, which is the record of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import UNSET, Raw, Struct

from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.protocol.encoding import Dialect
from failover.protocol.replies import Reply
from failover.receipt import Attempt, ErrorReply

if TYPE_CHECKING:
    from failover.net.outgoing import Outgoing

__all__ = ["Exchange", "Owner", "Waiter"]

_CONFIRMED: Final = Outcome.CONFIRMED  # a global is half the price of an attribute of a class, and is asked per event


class Waiter(Protocol):
    """Whoever waits for an exchange: a future, or a batch of many exchanges."""

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: Attempt, /) -> None:
        """Take what an exchange has left."""


class Owner(Protocol):
    """The sink that an exchange belongs to."""

    name: str
    timeout: float
    watched: bool
    """Whether anybody observes each attempt's end."""
    dialect: Dialect
    """How it writes events."""
    confirmed: int
    """How many of its attempts were confirmed."""

    def judge(self, error: ErrorReply, /) -> Verdict:
        """What an error reply means."""
        ...

    def ended(self, attempt: Attempt) -> None:
        """An attempt ended other than confirmed, or is watched."""

    def heard_late(self, attempt: Attempt, *, confirmed: bool, now: float) -> None:
        """A reply came after its attempt had ended."""

    def heard_nothing(self, attempt: Attempt, now: float) -> None:
        """An abandoned attempt got no reply within the sink's own timeout."""

    def misled(self, attempt: Attempt, problem: str, now: float) -> None:
        """A reply with its id was neither a result nor an error."""


class Exchange(Struct, eq=False, gc=False):
    """What a connection knows of one event. It outlives its attempt for as long as a reply can tell us something.

    Unknown to the garbage collector, which would otherwise look at all that is in flight again and again (a fifth of
    the cost of a large batch): ending or closing cuts its ties, so cycles last only as long as what it is a part of.

    Args:
        event: What is delivered.
        owner: The sink it belongs to.
        waiter: Who waits; None once it has ended.
        connection: Where it is sent; None if the sink has none.
        tail: What goes on the wire after the id, or the whole of a notification; empty once written.
        began: Loop time, seconds.
    """

    event: Event
    owner: Owner
    waiter: Waiter | None
    connection: Outgoing | None
    tail: bytes
    began: float
    request_id: int | None = None
    """Its id on the wire; None before it has one, and for a notification."""
    sent: bool = False
    """Whether bytes of it left, or may have."""
    timer: asyncio.TimerHandle | None = None
    """Cuts it short at a deadline of its own."""
    attempt: Attempt | None = None
    """The record of it, once it has ended."""

    def at(self, place: int) -> Exchange:
        """Itself: see `failover.net.deadlines.Holder`."""
        return self

    def request(self) -> bytes:
        """What goes on the wire."""
        return self.tail if self.request_id is None else b'{"id":%d%b' % (self.request_id, self.tail)

    def waits(self, request_id: int) -> bool:
        """Whether somebody waits for it."""
        return self.waiter is not None

    def of(self, request_id: int) -> Exchange:
        """Itself: see `failover.protocol.pipeline.Waiting`."""
        return self

    def answered_together(self, replies: list[Reply], now: float) -> None:
        """Take the reply to it: it has but one."""
        self.answered(replies[0], now)

    def answered(self, reply: Reply, now: float) -> None:
        """Take the reply to it."""
        waiter = self.waiter
        if not self.sent:
            if self.connection is not None:
                self.connection.withdraw(self)
            self.end(Outcome.UNREACHABLE, now, "a reply came before the request had left: its peer makes up replies")
        elif waiter is None or waiter.done():
            confirmed = _confirms(reply, self.owner)
            self.owner.heard_late(self._left(now), confirmed=confirmed, now=now)
        elif reply.error is UNSET and reply.result is not UNSET:
            owner = self.owner
            owner.confirmed += 1
            result = reply.result.copy()  # else it would keep everything read with it in memory
            attempt = Attempt(
                self.event, owner.name, _CONFIRMED, self.began, now, (), None, "", "", False, "", self.request_id, True,  # noqa: FBT003  # by position, at half the cost
                None, result,
            )  # fmt: skip
            self.attempt = attempt
            if self.timer is None and not owner.watched:
                self.waiter = None
                waiter.set_result(attempt)
            else:
                self._tell(attempt)
        else:
            self._refused(reply, now)

    def expired(self, now: float) -> bool:
        """Take the sink's own timeout."""
        if self.waiter is None or self.waiter.done():
            self._unheard(now)
        elif self.sent:
            self.end(Outcome.UNCONFIRMED, now, "no reply within the timeout")
        elif self.connection is not None and not self.connection.established:
            self.end(Outcome.UNREACHABLE, now, "no connection within the timeout")
        else:
            self.end(Outcome.SKIPPED, now, "no slot within the timeout: too much in flight")
        return self.sent

    def overdue(self, now: float) -> bool:
        """Expire it if it is a notification that could not be written in time; requests expire in their lane."""
        if self.request_id is None and self.began + self.owner.timeout <= now:
            self.expired(now)
            return True
        return False

    def broken(self, reason: str, now: float) -> None:
        """Take the loss of its connection."""
        if self.waiter is None or self.waiter.done():
            self._unheard(now)
        else:
            self.end(Outcome.UNCONFIRMED if self.sent else Outcome.UNREACHABLE, now, reason)

    def written(self, now: float) -> None:
        """Take that a notification has left."""
        self.end(Outcome.SENT, now)

    def abandon(self, reason: str, now: float) -> Attempt:
        """Stop waiting for it; if nothing of it has left yet, nothing will."""
        if self.attempt is not None:
            return self.attempt
        if not self.sent and self.connection is not None:
            self.connection.withdraw(self)
        return self.end(Outcome.ABANDONED, now, reason)

    def end(
        self,
        outcome: Outcome,
        now: float,
        reason: str = "",
        *,
        verdict: Verdict | None = None,
        error: ErrorReply | None = None,
        result: Raw | None = None,
    ) -> Attempt:
        """End it: make its record, tell the owner and who waits."""
        self.attempt = attempt = Attempt(
            self.event, self.owner.name, outcome, self.began, now, (), verdict, reason, "", False, "",  # noqa: FBT003
            self.request_id if self.sent else None, self.sent, error, result,
        )  # fmt: skip  # by position, as above
        self._tell(attempt)
        return attempt

    def _tell(self, attempt: Attempt) -> None:
        waiter, self.waiter = self.waiter, None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.owner.ended(attempt)
        if waiter is None:
            return
        if not waiter.done():
            waiter.set_result(attempt)
        elif isinstance(waiter, asyncio.Future):  # cancelled; whoever held it asks for this in the next turn
            waiter.receipt = attempt  # type: ignore[attr-defined]

    def _unheard(self, now: float) -> None:
        """Take that no reply will come, after whoever waited for one has gone."""
        left = self._left(now)
        if self.sent:
            self.owner.heard_nothing(left, now)

    def _left(self, now: float) -> Attempt:
        """Its record, also if its waiter was cancelled without a word to us."""
        return self.attempt if self.attempt is not None else self.end(Outcome.ABANDONED, now, "cancelled")

    def _refused(self, reply: Reply, now: float) -> None:
        """Take a reply that is no plain result."""
        if reply.failed:
            error = reply.error_reply()
            self.end(Outcome.REJECTED, now, str(error), verdict=self.owner.judge(error), error=error)
        elif reply.result is not UNSET:  # beside "error":null
            self.owner.confirmed += 1
            self.end(Outcome.CONFIRMED, now, result=reply.result.copy())
        else:
            problem = "malformed reply: neither a result nor an error"
            self.owner.misled(self.end(Outcome.UNCONFIRMED, now, problem), problem, now)


def _confirms(reply: Reply, owner: Owner) -> bool:
    if reply.failed:
        return owner.judge(reply.error_reply()) is Verdict.CONFIRM
    return reply.result is not UNSET
