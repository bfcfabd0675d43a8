"""One event on one connection: the live attempt, which is also the record of it once it has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from msgspec import UNSET

from failover.outcome import Outcome, Verdict
from failover.protocol.replies import Reply
from failover.receipt import Attempt, ErrorReply

if TYPE_CHECKING:
    from failover.net.connection import Connection

__all__ = ["Exchange", "Owner", "Waiter"]

CONFIRMED = Outcome.CONFIRMED  # a global is half the price of an attribute of a class, and this is asked per event


class Waiter(Protocol):
    """Whoever waits for an exchange: a future, or a batch of many exchanges."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Exchange, /) -> None:
        """Take the ended exchange."""


class Owner(Protocol):
    """The sink that an exchange belongs to."""

    timeout: float
    watched: bool
    """Whether anybody observes each attempt's end."""
    confirmed: int
    """How many of its attempts were confirmed."""

    def judge(self, error: ErrorReply) -> Verdict:
        """What an error reply means."""

    def ended(self, exchange: Exchange) -> None:
        """An attempt ended other than confirmed, or is watched."""

    def heard_late(self, exchange: Exchange, *, confirmed: bool, now: float) -> None:
        """A reply came after its attempt had ended."""

    def heard_nothing(self, exchange: Exchange, now: float) -> None:
        """An abandoned attempt got no reply within the sink's own timeout."""

    def misled(self, exchange: Exchange, problem: str, now: float) -> None:
        """A reply with its id was neither a result nor an error."""


class Exchange(Attempt, eq=False):
    """An attempt while it is under way. Everything but the last three fields is what its receipt shows."""

    owner: Owner | None = None
    waiter: Waiter | None = None
    """Who waits; None once it has ended. It stays with the pipeline for as long as a reply can tell us something."""
    connection: Connection | None = None
    tail: bytes = b""
    """What goes on the wire after the id, or the whole of a notification; empty once written."""
    timer: asyncio.TimerHandle | None = None
    """Cuts it short at a deadline of its own."""

    def answered(self, reply: Reply, now: float) -> None:
        """Take the reply to it."""
        waiter = self.waiter
        owner = self.owner
        assert owner is not None  # noqa: S101  # set when it is made
        if waiter is None or waiter.done():
            self.waiter = None
            owner.heard_late(self, confirmed=_confirms(reply, owner), now=now)
            return
        self.ended = now
        if reply.error is UNSET and reply.result is not UNSET:
            self.outcome = CONFIRMED
            self.raw_result = reply.result.copy()  # else it would keep everything read with it in memory
            owner.confirmed += 1
            if self.timer is None and not owner.watched:
                self.waiter = None
                waiter.set_result(self)
                return
        else:
            self._refused(reply, owner, now)
        self._tell()

    def expired(self, now: float) -> bool:
        """Take the sink's own timeout."""
        if self.waiter is None or self.waiter.done():
            self.waiter = None
            if self.sent and self.owner is not None:
                self.owner.heard_nothing(self, now)
        elif self.sent:
            self.end(Outcome.UNCONFIRMED, "no reply within the timeout", now)
        elif self.connection is not None and not self.connection.established:
            self.end(Outcome.UNREACHABLE, "no connection within the timeout", now)
        else:
            self.end(Outcome.SKIPPED, "no slot within the timeout: too much in flight", now)
        return self.sent

    def overdue(self, now: float) -> bool:
        """Expire it if it is a notification that could not be written in time; requests expire in their lane."""
        if self.request_id is None and self.owner is not None and self.began + self.owner.timeout <= now:
            self.expired(now)
            return True
        return False

    def broken(self, reason: str, now: float) -> None:
        """Take the loss of its connection."""
        if self.waiter is None or self.waiter.done():
            self.waiter = None
            if self.sent and self.owner is not None:
                self.owner.heard_nothing(self, now)
        else:
            self.end(Outcome.UNCONFIRMED if self.sent else Outcome.UNREACHABLE, reason, now)

    def written(self, now: float) -> None:
        """Take that a notification has left."""
        self.end(Outcome.SENT, "", now)

    def abandon(self, reason: str, now: float) -> None:
        """Stop waiting for it; if nothing of it has left yet, nothing will."""
        if self.waiter is None:
            return
        if not self.sent and self.connection is not None:
            self.connection.withdraw(self)
        self.end(Outcome.ABANDONED, reason, now)

    def end(self, outcome: Outcome, reason: str, now: float, verdict: Verdict | None = None) -> None:
        """End it and tell who waits."""
        self.outcome = outcome
        self.reason = reason
        self.verdict = verdict
        self.ended = now
        self._tell()

    def _tell(self) -> None:
        """Tell the owner and who waits that it has ended."""
        waiter, self.waiter = self.waiter, None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.owner is not None:
            self.owner.ended(self)
        if waiter is not None and not waiter.done():
            waiter.set_result(self)

    def _refused(self, reply: Reply, owner: Owner, now: float) -> None:
        """Take a reply that is no plain result."""
        if reply.failed:
            self.outcome = Outcome.REJECTED
            self.error = reply.error_reply()
            self.verdict = owner.judge(self.error)
            self.reason = str(self.error)
        elif reply.result is not UNSET:  # beside "error":null
            self.outcome = Outcome.CONFIRMED
            self.raw_result = reply.result.copy()
            owner.confirmed += 1
        else:
            self.outcome = Outcome.UNCONFIRMED
            self.reason = "malformed reply: neither a result nor an error"
            owner.misled(self, self.reason, now)


def _confirms(reply: Reply, owner: Owner) -> bool:
    if reply.failed:
        return owner.judge(reply.error_reply()) is Verdict.CONFIRM
    return reply.result is not UNSET
