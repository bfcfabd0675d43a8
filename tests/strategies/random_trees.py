"""Random trees of all strategies over scripted doubles, what is done with them, and what really happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeAlias

from attrs import Factory, define, frozen
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from failover.errors import ClosedError
from failover.event import Event
from failover.group import Group
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import LateConfirmation, Record
from failover.sink import Sink
from failover.strategies.budget import Budget
from failover.strategies.two_choices import TwoChoices
from failover.strategy import Strategy
from tests.doubles import ANSWERS, Answer, FastSink, PlainSink, now, run
from tests.strategies.kinds import KINDS, Kind

__all__ = ["Branch", "Leaf", "Played", "Program", "Raised", "Step", "Tried", "play", "programs"]

DELAYS = (0.0, 0.001, 0.03, 0.1, 0.3, 1.0)
PAUSES = (0.0, 0.01, 0.04, 0.1, 0.3, 1.5)
WITHIN = (0.0, 0.005, 0.05, 0.12, 0.5)
SETTLE = 60.0  # seconds in which everything that goes on by itself ends


@frozen
class Leaf:
    """A double: how it is called in a plan, and how its attempts end, the last way for all after it."""

    kind: str
    script: tuple[tuple[str, float], ...]

    @property
    def answers(self) -> list[Answer]:
        """The script as doubles take it."""
        return [ANSWERS[name].after(delay) for name, delay in self.script]


@frozen
class Branch:
    """A strategy, by its name in `KINDS`."""

    kind: str
    children: tuple[Branch | Leaf, ...]


Plan: TypeAlias = Branch | Leaf


@frozen
class Step:
    """Something that is done: what, and how much of it.

    `wait` so many seconds; `raise` an event, or a batch of `count`, within so many seconds; `cancel` the delivery of
    that number; a `late` reply of the leaf of that number, which confirms if `count` is not 0; `close` the group with
    so many seconds to drain.
    """

    what: str
    seconds: float | None = None
    count: int = 0


@frozen
class Program:
    """A tree and what is done with it."""

    plan: Plan
    steps: tuple[Step, ...]


class Mute(PlainSink):
    """A sink of the bare protocol that leaves no receipt when it is cancelled."""

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """As the script says."""
        try:
            return await super().deliver(event, deadline=deadline)
        except asyncio.CancelledError:
            raise asyncio.CancelledError from None


LEAVES: dict[str, type[PlainSink]] = {"plain": PlainSink, "fast": FastSink, "mute": Mute}


@frozen
class Tried:
    """An attempt that was really made."""

    leaf: str
    event: Event
    began: float
    answer: Answer

    @property
    def processed(self) -> bool:
        """Whether the event was processed, as far as the other end is concerned."""
        outcome, verdict = self.answer.outcome, self.answer.verdict
        done = outcome in (Outcome.CONFIRMED, Outcome.SENT, Outcome.UNCONFIRMED)
        return self.answer.sent and (done or (verdict is not None and verdict.value == "confirm"))


@define
class Raised:
    """A delivery, alone or of a batch."""

    events: tuple[Event, ...]
    at: float
    deadline: float | None
    batch: bool
    begun: bool = False
    """Whether the group was asked: one that was cancelled before that is nobody's."""
    cancelled: bool = False
    ended: float = 0.0
    receipts: Sequence[Receipt] = ()
    """What was returned; nothing if it was cancelled."""


class Spent(Budget):
    """A budget that counts."""

    def __init__(self, share: float, floor: float) -> None:
        super().__init__(share, floor)
        self.events = 0
        self.granted = 0

    def deposit(self, count: int = 1) -> None:
        """Count them."""
        self.events += count
        super().deposit(count)

    def withdraw(self, now: float) -> bool:
        """Count what is granted."""
        granted = super().withdraw(now)
        self.granted += granted
        return granted


@define
class Played:
    """What came of a program."""

    root: Sink
    sinks: dict[str, Sink] = Factory(dict[str, Sink])
    """Every sink of the tree by its name, which is its place in it."""
    kinds: dict[str, Kind] = Factory(dict[str, Kind])
    """What each strategy is, by its name."""
    leaves: list[PlainSink] = Factory(list[PlainSink])
    budgets: dict[str, Spent] = Factory(dict[str, Spent])
    raised: list[Raised] = Factory(list[Raised])
    records: list[tuple[float, Record]] = Factory(list[tuple[float, Record]])
    left: list[str] = Factory(list[str])
    """What was still under way when all should have ended."""

    def tried(self) -> Iterator[Tried]:
        """All attempts, leaf by leaf."""
        for leaf in self.leaves:
            for number, (event, began) in enumerate(zip(leaf.given, leaf.times, strict=True)):
                yield Tried(leaf.name, event, began, leaf.script[min(number, len(leaf.script) - 1)])


# -- what may be drawn -----------------------------------------------------------------------------------------------


def _leaves() -> SearchStrategy[Leaf]:
    ends = st.tuples(st.sampled_from(["YES", *sorted(set(ANSWERS) - {"YES"})]), st.sampled_from(DELAYS))
    return st.builds(Leaf, st.sampled_from(list(LEAVES)), st.lists(ends, min_size=1, max_size=3).map(tuple))


@st.composite
def _plans(draw: DrawFn, depth: int) -> Plan:
    if not depth or draw(st.integers(0, 3)) == 0:
        return draw(_leaves())
    name = draw(st.sampled_from(list(KINDS)))
    kind = KINDS[name]
    count = draw(st.integers(kind.least, min(kind.most, 3 if depth > 1 else 4)))
    return Branch(name, tuple(draw(_plans(depth - 1)) for _ in range(count)))


def _steps() -> SearchStrategy[Step]:
    within = st.none() | st.sampled_from(WITHIN)
    return st.one_of(
        st.builds(Step, st.just("raise"), within, st.just(1)),
        st.builds(Step, st.just("wait"), st.sampled_from(PAUSES)),
        st.builds(Step, st.just("raise"), within, st.integers(2, 6)),
        st.builds(Step, st.just("cancel"), st.none(), st.integers(0, 5)),
        st.builds(Step, st.just("late"), st.sampled_from((0.0, 1.0)), st.integers(0, 5)),
        st.builds(Step, st.just("close"), st.sampled_from((0.0, 0.05))),
    )


def programs(*, depth: int = 4, steps: int = 12) -> SearchStrategy[Program]:
    """Programs over trees of that many levels of strategies, at most."""
    return st.builds(Program, _plans(depth), st.lists(_steps(), min_size=1, max_size=steps).map(tuple))


# -- doing it --------------------------------------------------------------------------------------------------------


def play(program: Program) -> Played:
    """Do it on virtual time; a task that is left behind is an error."""
    return run(_play(program))


async def _play(program: Program) -> Played:
    played = Played(PlainSink("none"))
    played.root = _grow(program.plan, "t", played)

    def observe(record: Record) -> None:
        played.records.append((now(), record))

    group = Group("root", played.root, observers=[observe], rng=Random(0), drain=0)
    await group.open()
    tasks: list[asyncio.Task[None]] = []
    drain = 0.0
    for step in program.steps:
        if step.what == "close":
            drain = step.seconds or 0.0
            break
        if step.what == "wait":
            await asyncio.sleep(step.seconds or 0.0)
        elif step.what == "raise":
            tasks.append(_raise(group, played, step))
        elif step.what == "cancel" and tasks:
            at = step.count % len(tasks)
            played.raised[at].cancelled |= tasks[at].cancel()
        elif step.what == "late":
            _late(played.leaves[step.count % len(played.leaves)], confirmed=bool(step.seconds))
    else:
        await _over(tasks)
        await asyncio.sleep(SETTLE)
        played.left += _busy(group, played)
    await group.aclose(drain=drain)
    await _over(tasks)
    played.left += [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return played


async def _over(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        _, hanging = await asyncio.wait(tasks, timeout=SETTLE)
        assert not hanging, "a delivery hangs"
        for task in tasks:
            if not task.cancelled():
                task.result()


def _grow(plan: Plan, path: str, played: Played) -> Sink:
    if isinstance(plan, Leaf):
        leaf = LEAVES[plan.kind](path, *plan.answers)
        played.leaves.append(leaf)
        played.sinks[path] = leaf
        return leaf
    kind = played.kinds[path] = KINDS[plan.kind]
    sink = kind.make([_grow(child, f"{path}{at}", played) for at, child in enumerate(plan.children)], path)
    budget: Budget | None = getattr(sink, "budget", None)
    if budget is not None:
        spent = played.budgets[path] = Spent(budget.share, budget.floor)
        sink.budget = spent  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    played.sinks[path] = sink
    return sink


def _raise(group: Group, played: Played, step: Step) -> asyncio.Task[None]:
    number = len(played.raised)
    events = tuple(Event(f"E_{number}_{at}", {"callid": f"call-{number % 3}"}) for at in range(step.count))
    deadline = None if step.seconds is None else now() + step.seconds
    raised = Raised(events, now(), deadline, step.count > 1)
    played.raised.append(raised)
    return asyncio.ensure_future(_deliver(group, raised))


async def _deliver(group: Group, raised: Raised) -> None:
    raised.begun = True
    try:
        if raised.batch:
            raised.receipts = await group.deliver_many(raised.events, deadline=raised.deadline)
        else:
            raised.receipts = [await group.deliver(raised.events[0], deadline=raised.deadline)]
    except ClosedError:  # closed before it had its turn
        raised.begun = False
    finally:
        raised.ended = now()


def _late(leaf: PlainSink, *, confirmed: bool) -> None:
    """Tell of a reply to the newest attempt of a leaf, which has been given up by now."""
    if leaf.given:
        event, began = leaf.given[-1], leaf.times[-1]
        attempt = Attempt(event, leaf.name, Outcome.UNCONFIRMED, began, now(), sent=True)
        leaf.tell(LateConfirmation(leaf.name, attempt, confirmed, now()))


def _busy(group: Group, played: Played) -> Iterator[str]:
    """What is under way although all has ended."""
    if group.status().in_flight:
        yield f"the group has {group.status().in_flight} events"
    for name, sink in played.sinks.items():
        if sink.status().in_flight:
            yield f"{name} has {sink.status().in_flight} events"
        if isinstance(sink, Strategy):
            if isinstance(sink, TwoChoices) and any(sink.in_flight.values()):
                yield f"{name} counts {list(sink.in_flight.values())} in flight"
            if any(child.trial for child in sink.children):
                yield f"a child of {name} is on trial"
            if getattr(sink, "_stragglers", None):
                yield f"{name} has stragglers"
