"""Hedge: a second attempt where the first one is slow; what it gains, what it costs, and that it harms nobody."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, Literal

import pytest

from failover import Group, jsonrpc
from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.records import LateConfirmation, Quarantined, Record
from failover.sim import Simulation
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Hedge
from failover.subscriber import Subscriber
from tests.contract import check_sink
from tests.doubles import (
    ANSWERS,
    NO,
    SETTLES,
    SILENT,
    YES,
    FastSink,
    PlainSink,
    expected_of_sequence,
    now,
    of,
    opened,
    opening,
    outcomes,
    run,
)

EVENT = Event("E_A", {"caller": "alice"})
COUNT = 5_000


def expected(first: str, second: str, *, late: bool, keep: bool) -> tuple[bool, float, Outcome, Verdict | None]:
    """Whether the second child is asked, when it ends, and with what."""
    if not late and first in SETTLES:
        return False, 0.25, *_taken(SETTLES[first])
    if second in SETTLES:
        left = "LEFT" if keep or ANSWERS[first].sent else "UNSENT"
        before = left if late else first
        return True, 1.5 if late else 0.75, *_taken(expected_of_sequence([before, second]))
    if late and first in SETTLES:
        return True, 4.0, *_taken(expected_of_sequence([second, first]))
    return True, 4.0 if late else 0.75, *expected_of_sequence([first, second])


def _taken(row: tuple[Outcome, Verdict | None]) -> tuple[Outcome, Verdict | None]:
    return (Outcome.CONFIRMED, None) if row[1] is Verdict.CONFIRM else row


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("loser", ["cancel", "keep"])
def test_every_combination_of_outcomes(kind: type[PlainSink], loser: Literal["cancel", "keep"], *, late: bool) -> None:
    """Each answer of the first, before and after the delay of 1 s, with each of the second, half a second after it."""

    async def main() -> None:
        for name, other in itertools.product(ANSWERS, repeat=2):
            first = kind("first", ANSWERS[name].after(4 if late else 0.25))
            second = kind("second", ANSWERS[other].after(0.5))
            async with opened(Hedge(first, second, delay=1.0, loser=loser)) as hedge:
                began = now()
                receipt = await hedge.deliver(EVENT)
                asked, took, outcome, verdict = expected(name, other, late=late, keep=loser == "keep")
                assert (now() - began, receipt.outcome, receipt.verdict) == (took, outcome, verdict), (name, other)
                assert (len(first.given), len(second.given)) == (1, int(asked))
                assert hedge.hedged == int(late)
                if late and other in SETTLES:
                    assert receipt.children[0].outcome is Outcome.ABANDONED
                    assert not receipt.at_fault
                assert receipt.possible_duplicates == max(
                    0, sum(child.maybe_processed for child in receipt.children) - 1
                )
                await asyncio.sleep(5)

    run(main())


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all doesn't exceed."""
    return sorted(values)[round(share * len(values)) - 1]


def simulated(tree: Callable[[], Sink], records: list[Record]) -> tuple[list[float], int]:
    """Five thousand events, one a millisecond, to a subscriber of which 1 % of the replies take 1 s; the rest, 1 ms.

    Returns:
        Seconds that each delivery took, and how many requests the subscriber got.
    """
    simulation = Simulation(seed=7, latency=0.0)
    rng = Random(7)
    asked = 0

    async def subscribe() -> None:
        subscriber = Subscriber("0.0.0.0", 80, in_order=False)  # noqa: S104

        @subscriber.default
        async def _answer(_method: str, _params: object) -> None:
            nonlocal asked
            asked += 1
            await asyncio.sleep(1.0 if rng.random() < 0.01 else 0.001)

        async with subscriber:
            await asyncio.get_running_loop().create_future()

    async def main() -> list[float]:
        await asyncio.sleep(1)
        took: list[float] = []

        async def one(group: Group) -> None:
            receipt = await group.deliver(EVENT)
            assert receipt.confirmed
            took.append(receipt.took)

        async with Group("hedged", tree(), observers=[records.append]) as group:
            await asyncio.sleep(1)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(COUNT):
                    tasks.create_task(one(group))
                    await asyncio.sleep(0.001)
            await asyncio.sleep(3)
        return took

    simulation.network.host("app", start=subscribe)
    return simulation.run(main()), asked


def ways() -> tuple[Sink, Sink]:
    """Two ways to the same peer, each of which would be quarantined if it were taken for broken."""
    return (
        Failover(jsonrpc("app:80", timeout=2), name="first"),
        Failover(jsonrpc("app:80", timeout=2), name="second"),
    )


@cache
def unhedged() -> list[float]:
    """Seconds that each takes without a second attempt."""
    took, asked = simulated(lambda: ways()[0], [])
    assert asked == COUNT
    return took


@pytest.mark.parametrize(
    ("loser", "rank"),
    [("cancel", None), *(pytest.param(*more, marks=pytest.mark.slow) for more in (("cancel", 98.0), ("keep", None)))],
)
def test_what_it_gains_and_costs(loser: Literal["cancel", "keep"], rank: float | None) -> None:
    """p99.9 at least ten times better than without, extra load at most 5 %, and nobody quarantined by it."""
    without = unhedged()
    records: list[Record] = []
    took, asked = simulated(lambda: Hedge(*ways(), delay=0.005, percentile=rank, loser=loser), records)
    assert len(took) == len(without) == COUNT
    assert percentile(without, 0.999) >= 10 * percentile(took, 0.999)
    assert COUNT < asked <= 1.05 * COUNT
    assert of(Quarantined, records) == []
    assert len(of(LateConfirmation, records)) >= COUNT // 200


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_the_load_stays_within_the_budget(share: float) -> None:
    """Where every reply is slow, second attempts keep to the share and the floor, and the others wait."""

    async def main() -> None:
        first, second = FastSink("first", YES.after(1.0)), FastSink("second", YES.after(1.0))
        async with opened(Hedge(first, second, delay=0.1, share=share, floor=2.0)) as hedge:
            tasks: list[asyncio.Task[Receipt]] = []
            for _ in range(1000):
                tasks.append(asyncio.ensure_future(hedge.deliver(EVENT)))
                await asyncio.sleep(0.01)
            receipts = await asyncio.gather(*tasks)
            assert all(receipt.confirmed for receipt in receipts)
            assert len(first.given) == 1000
            assert hedge.hedged == len(second.given) <= share * 1000 + 2.0 * (now() + 10)
            assert len(second.given) >= 0.9 * share * 1000
            spent = [receipt for receipt in receipts if receipt.reason]
            assert len(spent) == 1000 - hedge.hedged
            assert {receipt.reason for receipt in spent} == {"no second attempt: the budget was spent"}

    run(main())


def test_a_spent_budget_still_moves_on_from_a_failure() -> None:
    """The second child is the spare as well: what the first one refused goes there, whatever the budget says."""

    async def main() -> None:
        first, second = FastSink("first", NO.after(2)), FastSink("second")
        async with opened(Hedge(first, second, delay=1, share=0, floor=0)) as hedge:
            assert outcomes(await hedge.deliver(EVENT)) == [("first", "rejected"), ("second", "confirmed")]
            assert hedge.hedged == 0

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("loser", ["cancel", "keep"])
def test_the_loser_is_judged_by_its_peer_alone(kind: type[PlainSink], loser: Literal["cancel", "keep"]) -> None:
    """Being abandoned says nothing; a peer that is silent past its own timeout is out where a Failover judges it."""

    async def main() -> None:
        for answer, out in ((YES.after(2), False), (SILENT.after(2), True)):
            inner = Failover(kind("slow", answer), name="inner")
            async with opened(Failover(Hedge(inner, kind("quick", YES.after(0.5)), delay=1, loser=loser))) as tree:
                began = now()
                receipt = (await tree.deliver(EVENT)).children[0]
                assert outcomes(receipt) == [("inner", "abandoned"), ("quick", "confirmed")]
                assert "quick (no answer after 1000.0 ms) confirmed" in receipt.explain()
                assert now() - began == 1.5
                await asyncio.sleep(5)
                assert bool(inner.children[0].out_until) is out
                assert not tree.children[0].out_until

    run(main())


@pytest.mark.parametrize("loser", ["cancel", "keep"])
def test_a_loser_that_answers_late_is_told_of(loser: Literal["cancel", "keep"]) -> None:
    """Whether it was ended or goes on, its reply is a late confirmation."""
    heard: list[object] = []

    async def main() -> None:
        async with opened(Hedge(FastSink("a", YES.after(2)), FastSink("b"), delay=1, loser=loser)) as hedge:
            hedge.watchers.append(heard.append)
            assert (await hedge.deliver(EVENT)).possible_duplicates == 1
            await asyncio.sleep(5)

    run(main())
    (news,) = heard
    assert isinstance(news, LateConfirmation)
    assert (news.sink, news.confirmed, news.at) == ("Hedge", True, 2.0)


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("loser", ["cancel", "keep"])
def test_a_second_attempt_that_loses(kind: type[PlainSink], loser: Literal["cancel", "keep"]) -> None:
    """Its receipt says when it began itself, and why, whether it was ended or goes on."""

    async def main() -> None:
        tree = Hedge(kind("a", YES.after(2)), kind("b", YES.after(5)), delay=1, loser=loser)
        async with opened(tree) as hedge:
            first, second = (await hedge.deliver(EVENT)).children
            assert (first.began, second.began, second.ended) == (0, 1, 2)
            assert second.why == "no answer after 1000.0 ms"

    run(main())


def test_the_delay_follows_what_is_seen() -> None:
    """With a percentile, it is a tenth above that of the last thousand; the first hundred take the delay as given."""
    rng = Random(3)
    script = [YES.after(rng.choice((0.01, 0.02, 0.03, 0.04))) for _ in range(2000)] + [YES.after(0.2)] * 3000

    async def main() -> None:
        async with opened(Hedge(FastSink("a", *script), FastSink("b"), delay=5, percentile=70, share=0)) as hedge:
            for count in range(5000):
                assert hedge.delay == 5 or count >= 100
                await hedge.deliver(EVENT)
                if 200 < count < 2000:
                    assert hedge.delay == pytest.approx(0.033)
            assert hedge.delay == pytest.approx(0.22)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("delay", [0, 0.005, 0.5])
@pytest.mark.parametrize("loser", ["cancel", "keep"])
def test_contract(kind: type[PlainSink], delay: float, loser: Literal["cancel", "keep"]) -> None:
    """What `check_sink` asks of any sink holds, with and without second attempts."""

    async def make() -> Sink:
        hedge = Hedge(kind("a", YES.after(0.01)), kind("b", YES.after(0.01)), delay=delay, loser=loser)
        await open_sink(hedge, opening())
        return hedge

    run(check_sink(make))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_ends_as_its_events_would_alone(kind: type[PlainSink]) -> None:
    """Each event of a batch has the outcome and the attempts that it would have had alone."""

    async def main() -> None:
        events = [Event("E_A", {"n": number}) for number in range(20)]
        ends: list[Any] = []
        for batch in (True, False):
            first, second = kind("a", YES.after(2)), kind("b", NO.after(0.5))
            async with opened(Hedge(first, second, delay=1, share=1)) as hedge:
                receipts = await deliver_many(hedge, events) if batch else [await hedge.deliver(one) for one in events]
                ends.append(([outcomes(receipt) for receipt in receipts], first.given, second.given))
        assert ends[0] == ends[1]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("moment", [0, 0.5, 1.0, 1.5, 2.0, 2.5])
def test_cancelled(kind: type[PlainSink], moment: float) -> None:
    """At any moment it leaves no task and nothing in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        async with opened(Hedge(kind("a", YES.after(3)), kind("b", NO.after(1)), delay=1)) as hedge:
            task = asyncio.ensure_future(hedge.deliver(EVENT))
            await asyncio.sleep(moment)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            receipt = getattr(caught.value, "receipt")  # noqa: B009
            assert len(receipt.children) in ((0, 1) if moment < 1 else (1, 2))
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert hedge.status().in_flight == 0

    run(main())


def test_a_delay_that_is_never_reached() -> None:
    """It is refused where it is declared; for an address, where the group opens."""
    with pytest.raises(ConfigError, match=r"a delay of 1 s is never reached, as a:1 has a timeout of 1 s"):
        Hedge(jsonrpc("a:1", name="a:1", timeout=1), "jsonrpc:b:1", delay=1)

    async def main() -> None:
        with pytest.raises(
            ConfigError, match=r"a delay of 2 s is never reached, as jsonrpc:127\.0\.0\.1:1 has a timeout"
        ):
            async with Group("g", Hedge("jsonrpc:127.0.0.1:1", "jsonrpc:127.0.0.1:2", delay=2)):
                pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"delay": -1}, "delay must be a number of seconds"),
        ({"delay": 1, "percentile": 0}, "percentile must be above 0 and below 100"),
        ({"delay": 1, "percentile": 100}, "percentile must be above 0 and below 100"),
        ({"delay": 1, "loser": "drop"}, "loser must be 'cancel' or 'keep'"),
        ({"delay": 1, "share": -1}, "the share of a budget"),
        ({"delay": 1, "floor": None}, "the floor of a budget"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Hedge(PlainSink("a"), PlainSink("b"), **given)
