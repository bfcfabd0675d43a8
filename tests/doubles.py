"""Sinks that do what a script says, and what the tests above the network need to run them on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final, TypeVar

from attrs import evolve, frozen
from msgspec.structs import replace

from failover.address import Address
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.records import LateConfirmation, Observer, Record, Silence
from failover.sim import Simulation
from failover.sink import News, Opening, Sink, Status
from failover.strategy import Strategy
from failover.taking import Taker, begin_many

T = TypeVar("T")
S = TypeVar("S", bound=Strategy)


@frozen
class Answer:
    """How one attempt ends: after `delay` seconds, with this outcome."""

    outcome: Outcome
    delay: float = 0.0
    verdict: Verdict | None = None
    sent: bool = True
    error: ErrorReply | None = None

    def after(self, delay: float) -> Answer:
        """The same, later."""
        return evolve(self, delay=delay)


YES: Final = Answer(Outcome.CONFIRMED)
NOTED: Final = Answer(Outcome.SENT)
NO: Final = Answer(Outcome.REJECTED, verdict=Verdict.NEXT)
BUSY: Final = Answer(Outcome.REJECTED, verdict=Verdict.BUSY)
STOP: Final = Answer(Outcome.REJECTED, verdict=Verdict.STOP)
DONE: Final = Answer(Outcome.REJECTED, verdict=Verdict.CONFIRM)
DOWN: Final = Answer(Outcome.UNREACHABLE, sent=False)
SILENT: Final = Answer(Outcome.UNCONFIRMED)
LEFT: Final = Answer(Outcome.ABANDONED)
UNSENT: Final = Answer(Outcome.ABANDONED, sent=False)
FULL: Final = Answer(Outcome.SKIPPED, sent=False)
REFUSED: Final = Answer(Outcome.SKIPPED, verdict=Verdict.STOP, sent=False)
ANSWERS: Final = {name: value for name, value in sorted(globals().items()) if isinstance(value, Answer)}
"""Every answer by its name."""


@frozen
class Under:
    """An attempt that is under way."""

    event: Event
    began: float
    answer: Answer


class PlainSink:
    """A sink of the bare protocol: the next answer of its script for each attempt, the last one for all after it."""

    def __init__(self, name: str, *script: Answer) -> None:
        self.name = name
        self.script = script or (YES,)
        self.given: list[Event] = []
        """The events of its attempts, in order."""
        self.deadlines: list[float | None] = []
        self.times: list[float] = []
        self.watchers: list[Callable[[News], None]] = []
        self.closes = 0
        self.opened = False
        self.most = 0
        """How many attempts were under way at once, at most."""
        self._open: dict[asyncio.Future[Receipt], Under] = {}
        self._left: dict[asyncio.Future[Receipt], tuple[Under, Attempt]] = {}

    async def open(self, opening: Opening) -> None:
        """Take what a real one takes."""
        assert isinstance(opening, Opening)
        self.opened = True

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """As the script says."""
        begun = self._begin(event, deadline)
        try:
            return await begun
        except asyncio.CancelledError as cancelled:
            left = self._abandon(begun, "cancelled")
            cancelled.receipt = replace(left, event=event)  # type: ignore[attr-defined]
            raise

    def status(self) -> Status:
        """Up while it is open."""
        return Status(self.name, up=self.opened, reason="" if self.opened else "not open", in_flight=len(self._open))

    async def aclose(self) -> None:
        """Abandon what is under way."""
        self.closes += 1
        self.opened = False
        for begun in list(self._open):
            self._abandon(begun, "closed")
        self.watchers.clear()

    def tell(self, news: News) -> None:
        """Tell those who watch."""
        for watcher in list(self.watchers):
            watcher(news)

    def _begin(self, event: Event, deadline: float | None) -> asyncio.Future[Receipt]:
        loop = asyncio.get_running_loop()
        now = loop.time()
        begun: asyncio.Future[Receipt] = loop.create_future()
        if not self.opened or (deadline is not None and deadline <= now):
            reason = "no time left before the deadline" if self.opened else "the sink is not open"
            begun.set_result(Attempt(event, self.name, Outcome.SKIPPED, now, now, reason=reason))
        else:
            answer = self.script[min(len(self.given), len(self.script) - 1)]
            self.given.append(event)
            self.deadlines.append(deadline)
            self.times.append(now)
            self._open[begun] = Under(event, now, answer)
            self.most = max(self.most, len(self._open))
            loop.call_later(answer.delay, self._answer, begun)
            if deadline is not None:
                loop.call_at(deadline, self._abandon, begun, "deadline")
        return begun

    def _answer(self, begun: asyncio.Future[Receipt]) -> None:
        now = asyncio.get_running_loop().time()
        under = self._open.pop(begun, None)
        if under is not None and not begun.done():
            begun.set_result(self._attempt(under, under.answer.outcome))
            return
        left = self._left.pop(begun, None)
        if left is not None:
            under, attempt = left
            answer = under.answer
            if answer.outcome in (Outcome.CONFIRMED, Outcome.REJECTED):
                confirmed = answer.outcome is Outcome.CONFIRMED or answer.verdict is Verdict.CONFIRM
                self.tell(LateConfirmation(self.name, attempt, confirmed, now))
            elif answer.outcome is Outcome.UNCONFIRMED:
                self.tell(Silence(self.name, attempt, now))

    def _abandon(self, begun: Awaitable[Receipt], reason: str) -> Receipt:
        assert isinstance(begun, asyncio.Future)
        under = self._open.pop(begun, None)
        if under is None:
            if not begun.cancelled():
                return begun.result()
            now = asyncio.get_running_loop().time()
            return Attempt(Event("unknown"), self.name, Outcome.ABANDONED, now, now, reason=reason, sent=True)
        attempt = self._attempt(under, Outcome.ABANDONED, reason)
        self._left[begun] = under, attempt
        if not begun.done():
            begun.set_result(attempt)
        return attempt

    def _attempt(self, under: Under, outcome: Outcome, reason: str = "") -> Attempt:
        now = asyncio.get_running_loop().time()
        verdict = None if outcome is Outcome.ABANDONED else under.answer.verdict
        sent = under.answer.sent
        return Attempt(
            under.event,
            self.name,
            outcome,
            under.began,
            now,
            verdict=verdict,
            reason=reason,
            sent=sent,
            error=under.answer.error,
        )


class FastSink(PlainSink):
    """The same with all that a socket's sink offers besides: bare futures, windows, joint beginnings."""

    window = 4

    def start(self, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
        """A bare future."""
        return self._begin(event, deadline)

    def abandon(self, begun: Awaitable[Receipt], reason: str) -> Receipt:
        """Stop waiting."""
        return self._abandon(begun, reason)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """As many at once as the window allows, none after a receipt that meets `until`."""
        begun: list[asyncio.Future[Receipt]] = []
        receipts: list[Receipt] = []
        stopped = False
        try:
            for event in events:
                if len(begun) - len(receipts) >= self.window:
                    receipts.append(await begun[len(receipts)])
                    stopped = stopped or (until is not None and until(receipts[-1]))
                if stopped:
                    break
                begun.append(self._begin(event, deadline))
            receipts += [await waiting for waiting in begun[len(receipts) :]]
        except asyncio.CancelledError as cancelled:
            left = [self._abandon(waiting, "cancelled") for waiting in begun]
            left = [replace(receipt, event=event) for event, receipt in zip(events, left, strict=False)]
            left += self._unsent(events[len(begun) :], "cancelled before it was sent")
            cancelled.receipts = left  # type: ignore[attr-defined]
            raise
        return receipts + self._unsent(events[len(receipts) :], "stopped")

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """All at once, each taken by itself."""
        for event in events:
            self._begin(event, deadline).add_done_callback(lambda begun: taker.take([begun.result()]))

    def _unsent(self, events: Sequence[Event], reason: str) -> list[Receipt]:
        now = asyncio.get_running_loop().time()
        return [Attempt(event, self.name, Outcome.SKIPPED, now, now, reason=reason) for event in events]


class Collector:
    """Takes the receipts of events that were begun together; what goes on has a task."""

    def __init__(self, events: Sequence[Event]) -> None:
        loop = asyncio.get_running_loop()
        self.begun: dict[Event, asyncio.Future[Receipt]] = {event: loop.create_future() for event in events}
        """What gives the receipt of each; its task once it has one."""

    def take(self, receipts: list[Receipt], /) -> None:
        """Each once."""
        for receipt in receipts:
            self.begun[receipt.event].set_result(receipt)

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:
        """In a task."""
        assert not self.begun[event].done()
        self.begun[event] = asyncio.ensure_future(rest)


async def begun(sink: Sink, events: Sequence[Event], *, deadline: float | None = None) -> list[Receipt]:
    """Begin events together, and wait for all of them; one receipt per event, in the same order."""
    collector = Collector(events)
    begin_many(sink, events, collector, deadline=deadline)
    while left := [waiting for waiting in collector.begun.values() if not waiting.done()]:
        await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED, timeout=0.001)  # one may go on in a task
    return [collector.begun[event].result() for event in events]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on virtual time; a task that is left behind is an error."""
    return Simulation(0, strict=True).run(main)


def opening(*observers: Observer) -> Opening:
    """What a tree of doubles is opened with: nothing is resolved, nothing is connected."""
    return Opening(None, _unresolved, Random(0), observers)


@asynccontextmanager
async def opened(strategy: S, *observers: Observer) -> AsyncGenerator[S]:
    """Open a strategy over doubles for a while."""
    await strategy.open(opening(*observers))
    try:
        yield strategy
    finally:
        await strategy.aclose()


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


def outcomes(receipt: Receipt) -> list[tuple[str, str]]:
    """Name and outcome of each child, in the receipt's order."""
    return [(child.sink, child.outcome.value) for child in receipt.children]


def of(kind: type[T], records: Sequence[Record]) -> list[T]:
    """The records of one kind."""
    return [record for record in records if isinstance(record, kind)]


def _unresolved(address: Address) -> Sink:
    raise AssertionError(f"no test here resolves {address}")


SETTLES: Final = {
    "YES": (Outcome.CONFIRMED, None),
    "NOTED": (Outcome.SENT, None),
    "STOP": (Outcome.REJECTED, Verdict.STOP),
    "DONE": (Outcome.REJECTED, Verdict.CONFIRM),
    "REFUSED": (Outcome.SKIPPED, Verdict.STOP),
}
"""The answers after which a sequence tries nobody else, and what it reports then."""
UNSETTLED: Final = (
    ("SILENT", (Outcome.UNCONFIRMED, None)),
    ("LEFT", (Outcome.UNCONFIRMED, None)),
    ("NO", (Outcome.REJECTED, Verdict.NEXT)),
    ("BUSY", (Outcome.REJECTED, Verdict.BUSY)),
    ("DOWN", (Outcome.UNREACHABLE, None)),
    ("UNSENT", (Outcome.ABANDONED, None)),
    ("FULL", (Outcome.SKIPPED, None)),
)
"""What a sequence reports if nobody settled the event: the first row that occurs (of NO and BUSY, the earlier one)."""
REFUSALS: Final = ("NO", "BUSY")


def expected_of_sequence(names: Sequence[str]) -> tuple[Outcome, Verdict | None]:
    """Look a sequence up in the tables above."""
    for place, name in enumerate(names):
        if name == "REFUSED" and {"SILENT", "LEFT"}.intersection(names[:place]):
            return Outcome.UNCONFIRMED, Verdict.STOP
        if name in SETTLES:
            return SETTLES[name]
    rows = dict(UNSETTLED)
    for name, row in UNSETTLED:
        if name in names:
            return rows[next(other for other in names if other in REFUSALS)] if name in REFUSALS else row
    return Outcome.SKIPPED, None


CONFIRMING: Final = {"YES", "DONE"}
NOTING: Final = {"NOTED"}
STOPPING: Final = {"STOP"}
"""The event is at fault, everywhere."""
FILLED: Final = {"REFUSED"}
"""A window is full, and overload isn't passed on: that says nothing of the event, nor of what others did with it."""
PROCESSED: Final = {"YES", "DONE", "NOTED", "SILENT", "LEFT"}
"""What may have been processed; of a fan-out that fell short it makes UNCONFIRMED."""


def expected_of_fan_out(names: Sequence[str], need: int) -> tuple[Outcome, Verdict | None]:
    """The rows of a fan-out, from the first."""
    confirmed = sum(name in CONFIRMING for name in names)
    noted = sum(name in NOTING for name in names)
    rows = [
        (confirmed >= need, (Outcome.CONFIRMED, None)),
        (confirmed + noted >= need, (Outcome.SENT, None)),
        (bool(STOPPING & set(names)), (Outcome.REJECTED, Verdict.STOP)),
        (bool(FILLED & set(names) and PROCESSED & set(names)), (Outcome.UNCONFIRMED, Verdict.STOP)),
        (bool(FILLED & set(names)), (Outcome.SKIPPED, Verdict.STOP)),
        (bool(PROCESSED & set(names)), (Outcome.UNCONFIRMED, None)),
        *((name in REFUSALS, dict(UNSETTLED).get(name)) for name in names),
        ("DOWN" in names, (Outcome.UNREACHABLE, None)),
        ("UNSENT" in names, (Outcome.ABANDONED, None)),
        (True, (Outcome.SKIPPED, None)),
    ]
    return next(row for holds, row in rows if holds)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
