"""A batch ends as its events would one by one: outcomes, attempts, quarantine, last resort; nesting; cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import DeliveryEnded, Record
from failover.sink import Sink, deliver_many
from failover.strategies import Failover, Parallel, RoundRobin
from failover.strategy import Strategy
from tests.doubles import (
    ANSWERS,
    DOWN,
    LEFT,
    NO,
    SILENT,
    STOP,
    YES,
    Answer,
    FastSink,
    PlainSink,
    now,
    of,
    opened,
    outcomes,
    run,
)
from tests.examples import examples

EVENT = Event("E_A")
KINDS = st.sampled_from([PlainSink, FastSink])
Script = list[str]
Plan = Script | tuple[str, list[Any]]
"""A socket is a script, a strategy its kind and its children."""


def events(count: int) -> list[Event]:
    """Told apart by their params."""
    return [Event("E_A", {"n": number}) for number in range(count)]


def grow(plan: Plan, kind: type[PlainSink], path: str, leaves: list[PlainSink], quarantine: float) -> Sink:
    """Make the sink of a plan; its name is its place in the tree."""
    if isinstance(plan, list):
        leaves.append(kind(path, *(ANSWERS[name] for name in plan)))
        return leaves[-1]
    name, plans = plan
    children = [grow(child, kind, f"{path}{place}", leaves, quarantine) for place, child in enumerate(plans)]
    if name == "failover":
        return Failover(*children, name=path, quarantine=quarantine)
    if name == "round robin":
        return RoundRobin(*children, name=path, quarantine=quarantine)
    return Parallel(*children, name=path, require="all" if name == "all" else "any")


# What never changes: then it makes no difference that a batch asks one child for all before it asks the next.
STEADY = st.sampled_from(sorted(ANSWERS)).map(lambda name: [name])
# All but FULL: what is skipped after an earlier event of the batch has failed is asked again.
ANY_SCRIPT = st.lists(st.sampled_from(sorted(set(ANSWERS) - {"FULL"})), min_size=1, max_size=5)


def plans(leaf: st.SearchStrategy[Script], kinds: list[str], *, turns: bool = True) -> st.SearchStrategy[Plan]:
    """Trees of up to four levels.

    Without `turns` no ROUND-ROBIN stands below another: whose turn it is there depends on which event comes first, and
    a batch goes to the next child when all of it is back from the one before.
    """
    tree: st.SearchStrategy[Any] = leaf
    for _ in range(2):
        tree = leaf | st.tuples(st.sampled_from(kinds), st.lists(tree, min_size=1, max_size=3))
    tree |= st.tuples(st.just("round robin"), st.lists(tree, min_size=1, max_size=3))
    outer = [*kinds, "round robin"] if turns else kinds
    return st.tuples(st.sampled_from(outer), st.lists(tree, min_size=1, max_size=4))


async def one_by_one(sink: Sink, batch: list[Event]) -> list[Receipt]:
    """What a batch stands for."""
    return [await sink.deliver(event) for event in batch]


@pytest.mark.parametrize("kinds", [["failover", "all"], ["failover", "all", "any"]])
@examples(60)
@given(data=st.data(), kind=st.sampled_from([PlainSink, FastSink]), count=st.integers(1, 7))
def test_same_outcomes_without_quarantine(
    kinds: list[str], data: st.DataObject, kind: type[PlainSink], count: int
) -> None:
    """Where nobody is ever skipped, every event has the outcome and the attempts that it would have had alone."""
    plan = data.draw(plans(STEADY, kinds, turns=False))

    async def main(deliver: Callable[[Sink, list[Event]], Any]) -> tuple[list[Any], list[list[int]]]:
        leaves: list[PlainSink] = []
        strategy = grow(plan, kind, "t", leaves, 0)
        assert isinstance(strategy, Strategy)
        async with opened(strategy):
            batch = events(count)
            receipts = await deliver(strategy, batch)
            assert [receipt.event for receipt in receipts] == batch
            # alone, "any" may be decided by a notification before the confirmation is there
            shown = [r.settled if "any" in kinds else (r.outcome, r.verdict) for r in receipts]
            await asyncio.sleep(1)  # for the stragglers
            return shown, [sorted(batch.index(event) for event in leaf.given) for leaf in leaves]

    assert run(main(deliver_many)) == run(main(one_by_one))


@examples(100)
@given(plans(STEADY, ["failover"]), st.sampled_from([PlainSink, FastSink]), st.integers(1, 9))
def test_nothing_is_lost_that_a_child_would_take(plan: Plan, kind: type[PlainSink], count: int) -> None:
    """With quarantine, of children that never change: an event is settled in a batch if it would be alone."""

    async def main(deliver: Callable[[Sink, list[Event]], Any]) -> list[bool]:
        leaves: list[PlainSink] = []
        strategy = grow(plan, kind, "t", leaves, 30)
        assert isinstance(strategy, Strategy)
        async with opened(strategy):
            return [receipt.settled for receipt in await deliver(strategy, events(count))]

    assert run(main(deliver_many)) == run(main(one_by_one))


@examples(150)
@given(plans(ANY_SCRIPT, ["failover", "all", "any"]), KINDS, st.integers(1, 9))
def test_laws_of_a_batch(plan: Plan, kind: type[PlainSink], count: int) -> None:
    """For any tree and script: a receipt for each event; no child is asked or listed twice; all attempts are listed."""

    async def main() -> None:
        leaves: list[PlainSink] = []
        strategy = grow(plan, kind, "t", leaves, 30)
        assert isinstance(strategy, Strategy)
        async with opened(strategy):
            batch = events(count)
            receipts = await deliver_many(strategy, batch)
            assert [receipt.event for receipt in receipts] == batch
            for leaf in leaves:
                assert len(set(map(id, leaf.given))) == len(leaf.given)
            for receipt in receipts:
                tried = {node.sink for node in receipt.walk() if isinstance(node, Attempt)}
                asked = {leaf.name for leaf in leaves if receipt.event in leaf.given}
                # one that goes on by itself is listed as a whole, not with what is below it
                assert all(any(leaf.startswith(listed) for listed in tried) for leaf in asked)
                for node in receipt.walk():
                    names = [child.sink for child in node.children]
                    assert len(set(names)) == len(names)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_order_and_quarantine_hold_within_a_batch(kind: type[PlainSink]) -> None:
    """The batch goes to the first child, moves on as it fails, and leaves the first one alone afterwards."""

    async def main() -> None:
        a, b = kind("a", DOWN.after(1)), kind("b")
        async with opened(Failover(a, b)) as strategy:
            receipts = await strategy.deliver_many(events(500))
            assert all(receipt.confirmed for receipt in receipts)
            assert [child.outcome.value for child in receipts[0].children] == ["unreachable", "confirmed"]
            assert len(b.given) == 500
            assert b.given == [receipt.event for receipt in receipts]
            if kind is FastSink:
                assert len(a.given) <= 2 * FastSink.window  # a window of silence, not five hundred
                assert now() <= 2
            asked = len(a.given)
            await strategy.deliver_many(events(10))
            assert len(a.given) == asked

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_one_trial_for_a_batch(kind: type[PlainSink]) -> None:
    """If all are out one event is the trial; if that fails the rest is skipped, each with its receipt."""

    async def main() -> None:
        children = [kind("a", DOWN), kind("b", DOWN)]
        async with opened(Failover(*children)) as strategy:
            await strategy.deliver(EVENT)
            receipts = await strategy.deliver_many(events(20))
            assert [len(child.given) for child in children] == [2, 2]
            assert outcomes(receipts[0]) == [("a", "unreachable"), ("b", "unreachable")]
            assert {receipt.outcome for receipt in receipts[1:]} == {Outcome.SKIPPED}
            assert outcomes(receipts[9]) == [("a", "skipped"), ("b", "skipped")]
            assert receipts[9].children[0].reason.startswith("quarantined for 30.0 s more (unreachable)")

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_trial_that_succeeds_frees_the_batch(kind: type[PlainSink]) -> None:
    """If the trial shows that a child is back, the rest of the batch goes there."""

    async def main() -> None:
        children = [kind("a", DOWN), kind("b", DOWN, YES)]
        async with opened(Failover(*children)) as strategy:
            await strategy.deliver(EVENT)
            receipts = await strategy.deliver_many(events(20))
            assert all(receipt.confirmed for receipt in receipts)
            assert [len(child.given) for child in children] == [2, 21]
            assert outcomes(receipts[9]) == [("a", "skipped"), ("b", "confirmed")]

    run(main())


def test_what_a_failing_socket_was_spared_is_not_lost() -> None:
    """A batch that stops at a failing socket goes on as if each event had found it in quarantine: by last resort."""

    async def main() -> None:
        sink = FastSink("a", YES, YES, DOWN, YES)
        async with opened(Failover(sink)) as strategy:
            receipts = await strategy.deliver_many(events(40))
            assert [index for index, receipt in enumerate(receipts) if not receipt.confirmed] == [2]
            assert len(sink.given) == 40

    run(main())


def test_a_batch_shares_its_deadline() -> None:
    """Each child gets an equal share of the time that is left for the batch, and the last one all of it."""

    async def main() -> None:
        children = [FastSink(letter, SILENT.after(99)) for letter in "abc"]
        async with opened(Failover(*children)) as strategy:
            receipts = await strategy.deliver_many(events(3), deadline=6)
            assert [set(child.deadlines) for child in children] == [{2.0}, {4.0}, {6.0}]
            assert now() == 6
            assert all(receipt.cut_short for receipt in receipts)

    run(main())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_nesting(depth: int) -> None:
    """A failure at the bottom of any depth moves to the next child there, then one level up, to the outermost."""

    async def main() -> None:
        sinks = [PlainSink(f"s{level}", DOWN) for level in range(depth)]
        tree: Sink = PlainSink("deepest", DOWN)
        for level in range(depth):
            tree = (Failover, RoundRobin)[level % 2](tree, sinks[level], name=f"level{level}")
        last = PlainSink("last")
        async with opened(Failover(tree, last)) as strategy:
            receipt = await strategy.deliver(EVENT)
            assert receipt.confirmed
            expected = ["deepest", *(sink.name for sink in sinks), "last"]
            assert [attempt.sink for attempt in receipt.attempts] == expected
            assert bool(strategy.children[0].out_until)
            assert outcomes(await strategy.deliver(EVENT)) == [(f"level{depth - 1}", "skipped"), ("last", "confirmed")]
            await asyncio.sleep(30)
            assert len((await strategy.deliver(EVENT)).attempts) == depth + 2

    run(main())


def test_a_parallel_is_judged_by_its_own_receipt() -> None:
    """A fan-out that met its requirement is in service although a child of it failed; one that did not is out."""

    async def main() -> None:
        for require, out in (("any", False), ("all", True)):
            group = Parallel(PlainSink("a"), PlainSink("b", DOWN), require=1 if require == "any" else 2, name="pair")
            async with opened(Failover(group, PlainSink("c"))) as strategy:
                receipt = await strategy.deliver(EVENT)
                assert receipt.confirmed
                assert bool(strategy.children[0].out_until) is out
                assert receipt.possible_duplicates == int(out)

    run(main())


def trees() -> dict[str, Callable[[type[PlainSink]], Strategy]]:
    """Every strategy over children that take a second each, also as a last resort."""
    slow: list[Answer] = [NO.after(1), SILENT.after(1), LEFT.after(1), YES.after(1)]

    def four(kind: type[PlainSink]) -> list[PlainSink]:
        return [kind(letter, answer) for letter, answer in zip("abcd", slow, strict=True)]

    return {
        "failover": lambda kind: Failover(*four(kind)),
        "round robin": lambda kind: RoundRobin(*four(kind)),
        "all": lambda kind: Parallel(*four(kind)),
        "any": lambda kind: Parallel(
            *[kind(letter, NO.after(1)) for letter in "ab"], kind("c", YES.after(3)), require="any"
        ),
        "deep": lambda kind: Failover(
            kind("y", NO.after(0.5)), Parallel(Failover(*four(kind), name="f"), kind("z", STOP.after(2)), name="p")
        ),
    }


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("tree", list(trees()))
def test_cancelled_at_every_await(tree: str, kind: type[PlainSink]) -> None:
    """Cancelled at any moment: no task stays, nothing is in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        for moment in range(40):
            strategy = trees()[tree](kind)
            async with opened(strategy):
                task = asyncio.ensure_future(strategy.deliver(EVENT))
                await asyncio.sleep(moment * 0.125)
                if task.done():
                    continue
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                receipt: Receipt = getattr(caught.value, "receipt")  # noqa: B009 - no attribute that a checker knows
                assert receipt.sink == strategy.name
                if moment % 4:  # else in the same turn as a reply
                    assert not receipt.confirmed
                    assert Outcome.ABANDONED in {attempt.outcome for attempt in receipt.attempts}
                    assert not receipt.at_fault
                if tree == "deep" and moment > 4:
                    assert {attempt.sink for attempt in receipt.attempts} >= {"y", "a", "z"}
                assert asyncio.all_tasks() == {asyncio.current_task()}
                assert strategy.status().in_flight == 0
                assert not any(child.trial for child in strategy.children)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("tree", list(trees()))
def test_a_batch_cancelled_at_every_await(tree: str, kind: type[PlainSink]) -> None:
    """The same for a batch."""

    async def main() -> None:
        for moment in range(20):
            strategy = trees()[tree](kind)
            async with opened(strategy):
                task = asyncio.ensure_future(deliver_many(strategy, events(10)))
                await asyncio.sleep(moment * 0.25)
                task.cancel()
                await asyncio.wait([task])
                assert asyncio.all_tasks() == {asyncio.current_task()}
                assert strategy.status().in_flight == 0
                assert not any(child.trial for child in strategy.children)

    run(main())


def test_a_cancelled_trial_leaves_room_for_the_next() -> None:
    """Cancelling the event that is a child's trial lets the next event be the trial."""

    async def main() -> None:
        sink = PlainSink("a", DOWN, SILENT.after(10), YES)
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            task = asyncio.ensure_future(strategy.deliver(EVENT))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            assert (await strategy.deliver(EVENT)).confirmed

    run(main())


def test_cancellation_is_no_delivery() -> None:
    """No record of a strategy's own says that a cancelled delivery ended: that is the group's to tell."""
    records: list[Record] = []

    async def main() -> None:
        async with opened(Failover(PlainSink("a", YES.after(1))), records.append) as strategy:
            task = asyncio.ensure_future(strategy.deliver(EVENT))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

    run(main())
    assert of(DeliveryEnded, records) == []


def test_the_newest_evidence_counts() -> None:
    """In a batch a child that confirmed and then fell silent is out, and one that failed and then confirmed is not."""

    async def main() -> None:
        for answers, out in (((SILENT.after(1), YES), True), ((DOWN, YES.after(0.5)), False)):
            a, b = FastSink("a", *answers), FastSink("b", YES)
            async with opened(Failover(a, b)) as strategy:
                receipts = await strategy.deliver_many(events(2))
                assert all(receipt.confirmed for receipt in receipts)
                assert bool(strategy.children[0].out_until) is out

    run(main())


def test_a_fan_outs_evidence_is_as_old_as_it_is() -> None:
    """In a batch the receipt of a fan-out ends with its last child, so that an old answer isn't taken for a new one."""

    async def main() -> None:
        a = FastSink("a", YES.after(1), SILENT.after(2))
        async with opened(Failover(Parallel(a), FastSink("b"))) as strategy:
            receipts = await strategy.deliver_many(events(2))
            assert [receipt.children[0].ended - receipt.began for receipt in receipts] == [1, 2]
            assert strategy.children[0].out_until

    run(main())
