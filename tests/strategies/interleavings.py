"""Random schedules for what lets events wait: raised alone or in batches, late, cut short, cancelled, closed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from attrs import Factory, define, frozen
from hypothesis import strategies as st

from failover.event import Event
from failover.receipt import Receipt
from failover.sink import deliver_many
from failover.strategies.queueing import Queueing
from tests.doubles import ANSWERS, Answer, FastSink, PlainSink, now, opening, run

NAMES = ("YES", "NO", "STOP", "DOWN", "SILENT", "FULL")
DELAYS = (0.0, 0.5, 1.0, 2.5)


@frozen
class Step:
    """Some events are raised.

    Args:
        pause: Seconds since the step before it.
        events: Name and key of each; several are a batch.
        within: Seconds until the deadline; None without.
        cancel: Seconds until it is cancelled; None if it isn't.
    """

    pause: float
    events: list[tuple[str, str | None]]
    within: float | None
    cancel: float | None


def steps(names: Sequence[str] = ("E_A",)) -> st.SearchStrategy[list[Step]]:
    """Schedules of events of these names."""
    events = st.tuples(st.sampled_from(names), st.sampled_from(("x", "y", "z", None)))
    return st.lists(
        st.builds(
            Step,
            pause=st.sampled_from((0.0, 0.0, 0.5, 1.0)),
            events=st.one_of(st.lists(events, min_size=1, max_size=1), st.lists(events, min_size=1, max_size=6)),
            within=st.sampled_from((None, None, 0.0, 0.5, 1.5, 4.0)),
            cancel=st.sampled_from((None, None, None, 0.0, 0.5, 1.0, 3.0)),
        ),
        max_size=12,
    )


SCRIPTS: st.SearchStrategy[list[Answer]] = st.lists(
    st.sampled_from([ANSWERS[name].after(delay) for name in NAMES for delay in DELAYS]),
    min_size=1,
    max_size=8,
)
CLOSINGS = st.sampled_from((None, None, None, 0.5, 2.0))
KINDS: st.SearchStrategy[type[PlainSink]] = st.sampled_from([PlainSink, FastSink])


@define
class Raised:
    """One step, as it went.

    Args:
        events: What was raised.
        task: Its delivery.
        receipts: What came of it; none if it was cancelled.
        left: What it left if it was; none if it hadn't begun.
    """

    events: list[Event]
    task: asyncio.Task[Any]
    receipts: list[Receipt] = Factory(list[Receipt])
    left: list[Receipt] = Factory(list[Receipt])


def play(tree: Queueing, plan: Sequence[Step], closing: float | None) -> list[Raised]:
    """Play a schedule to its end, and check what holds of any: a receipt for each event, and nothing left behind.

    Args:
        tree: Over doubles; not open.
        plan: The schedule.
        closing: Seconds after the last step at which the tree is closed; None once all have ended.

    Returns:
        The steps in the order in which they were raised; their events are numbered by the param `n`.

    Raises:
        AssertionError: something is missing, or was left.
    """

    async def main() -> list[Raised]:
        await tree.open(opening())
        raised: list[Raised] = []
        number = 0
        for step in plan:
            await asyncio.sleep(step.pause)
            events: list[Event] = []
            for name, key in step.events:
                events.append(Event(name, {"n": number} if key is None else {"n": number, "callid": key}))
                number += 1
            deadline = None if step.within is None else now() + step.within
            task = asyncio.ensure_future(_deliver(tree, events, deadline))
            raised.append(Raised(events, task))
            if step.cancel is not None:
                asyncio.get_running_loop().call_later(step.cancel, task.cancel)
        if closing is not None:
            await asyncio.sleep(closing)
            await tree.aclose()
        for one in raised:
            await asyncio.wait([one.task])
            try:
                one.receipts = await one.task
            except asyncio.CancelledError as cancelled:
                one.left = _left(cancelled)
            told = one.receipts or one.left
            assert one.task.cancelled() or told
            assert [receipt.event for receipt in told] == (one.events if told else [])
            assert all(receipt.sink == tree.name for receipt in told)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert tree.status().in_flight == 0
        assert (len(tree._turns), tree._ends, tree._timer) == (0, [], None)  # pyright: ignore[reportPrivateUsage]
        await tree.aclose()
        return raised

    return run(main())


def number_of(event: Event) -> int:
    """Its place among all that were raised."""
    params: Any = event.params
    return params["n"]


def key_of(event: Event) -> str | None:
    """Its key."""
    params: Any = event.params
    return params.get("callid")


def _left(cancelled: asyncio.CancelledError) -> list[Receipt]:
    """What travels with a cancellation, of one event or of a batch."""
    receipt: Receipt | None = getattr(cancelled, "receipt", None)
    return [receipt] if receipt is not None else list(getattr(cancelled, "receipts", ()))


def check_left(raised: Sequence[Raised], given: Sequence[Event]) -> None:
    """Check that what was cancelled leaves word of every event that had reached a sink.

    Raises:
        AssertionError: there is an event of which nothing is told.
    """
    for one in raised:
        if one.task.cancelled():
            told = {number_of(receipt.event) for receipt in one.left if receipt.children}
            assert told >= {number_of(event) for event in given if event in one.events}


async def _deliver(tree: Queueing, events: list[Event], deadline: float | None) -> list[Receipt]:
    if len(events) == 1:
        return [await tree.deliver(events[0], deadline=deadline)]
    return await deliver_many(tree, events, deadline=deadline)
