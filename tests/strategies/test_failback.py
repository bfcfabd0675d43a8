"""How a child comes back: cautiously, eagerly, never while others do, by hand, and by probes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf

import pytest

from failover.event import Event
from failover.health import Failback, Health, Probe
from failover.receipt import Receipt
from failover.records import OnTrial, Quarantined, Record, Recovered, Reinstated
from failover.sequential import Sequential
from failover.sink import Sink
from failover.strategies import (
    Failover,
    LatencyAware,
    LeastInFlight,
    RoundRobin,
    Sticky,
    Tiers,
    WeightedRandom,
    WeightedRoundRobin,
)
from tests.doubles import (
    DOWN,
    NO,
    SILENT,
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

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


def test_cautious_is_one_event_on_trial_then_as_many_as_it_has_answered() -> None:
    """When its time is over one event goes there, the others go on as before; each answer makes room for one more."""
    records: list[Record] = []

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES.after(1)), FastSink("b", YES.after(1))
        health = Health(slow_start=4)
        async with opened(Failover(first, second, health=health), records.append) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(29)
            most: list[int] = []
            for _ in range(5):
                before = len(first.given)
                receipts = await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(10)])
                assert all(receipt.confirmed for receipt in receipts)
                most.append(len(first.given) - before)
            assert most == [1, 2, 4, 10, 10]
            assert strategy.children[0].steady
            assert outcomes(await strategy.deliver(EVENT)) == [("a", "confirmed")]

    run(main())
    assert [type(record) for record in records] == [Quarantined, OnTrial, Reinstated, Recovered]
    assert of(OnTrial, records) == [OnTrial("Failover", "a", "its quarantine is over", 30.0)]
    assert of(Reinstated, records) == [Reinstated("Failover", "a", "it answered: confirmed", 31.0)]
    assert of(Recovered, records)[0].at == 33.0


def test_receipts_say_why_a_child_on_trial_or_in_slow_start_was_passed_over() -> None:
    """Who is passed over for it can read why."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES.after(1)), FastSink("b")
        async with opened(Failover(first, second)) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(30)
            _, receipt = await asyncio.gather(strategy.deliver(EVENT), strategy.deliver(EVENT))
            assert receipt.children[0].reason == "on trial after its quarantine (unreachable)"
            assert strategy.status().children[0].up
            both = asyncio.gather(*[strategy.deliver(EVENT) for _ in range(3)])
            await asyncio.sleep(0)
            status = strategy.status().children[0]
            assert status.up
            receipt = (await both)[2]
            assert receipt.children[0].reason == "in slow start, as much in flight as it may have: 2"
            assert status.reason == receipt.children[0].reason

    run(main())


@pytest.mark.parametrize("seconds", [30, 0])
def test_a_trial_that_can_not_begin_is_none(seconds: int) -> None:
    """A sink that raises where it should begin, which is its misuse, doesn't keep its trial's place for ever."""

    class Raising(FastSink):
        def start(self, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
            raise RuntimeError("not to be begun")

    async def main() -> None:
        async with opened(Failover(Raising("a"))) as strategy:
            strategy.take_out(strategy.children[0], 30, "a test", 0.0)
            await asyncio.sleep(seconds)  # its time is over, or it is the last resort
            with pytest.raises(RuntimeError):
                await strategy.deliver(EVENT)
            assert strategy.children[0].trial == 0

    run(main())


def test_a_failed_trial_costs_one_event_an_attempt() -> None:
    """Of all that come while a dead child is on trial only one has to wait for it."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, SILENT.after(1)), FastSink("b")
        async with opened(Failover(first, second)) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(30)
            began = now()
            receipts = await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(100)])
            assert sorted(receipt.ended - began for receipt in receipts) == [0.0] * 99 + [1.0]
            assert len(first.given) == 2
            assert strategy.children[0].out_until == 61

    run(main())


def test_eager_gives_all_back_at_once() -> None:
    """OpenSIPS's way: when its time is over, all events go there again."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, SILENT.after(1)), FastSink("b")
        async with opened(Failover(first, second, health=Health(failback="eager"))) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(30)
            await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(10)])
            assert len(first.given) == 11

    run(main())


def test_stay() -> None:
    """Where it works it stays, whatever is heard of the first one, until that fails; then back, and stay there."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES), FastSink("b", YES, YES, DOWN, YES)
        async with opened(Failover(first, second, health=Health(failback="stay"))) as strategy:
            receipts = [await strategy.deliver(EVENT)]
            await asyncio.sleep(1000)
            strategy.take_back(strategy.children[0], "late confirmation", now(), tried=False)
            receipts += [await strategy.deliver(EVENT) for _ in range(3)]
            assert [receipt.children[-1].sink for receipt in receipts[:2]] == ["b", "b"]
            assert receipts[1].children[0].reason == "out until the others fail (unreachable)"
            assert outcomes(receipts[2]) == [("b", "unreachable"), ("a", "confirmed")]
            assert outcomes(receipts[3]) == [("a", "confirmed")]
            assert strategy.children[1].out_until == inf

    run(main())


def test_manual() -> None:
    """Nothing but somebody brings it back; as the last resort it is tried all the same."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES), FastSink("b", YES, DOWN, YES)
        async with opened(Failover(first, second, health=Health(failback="manual"))) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(1000)
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("b", "unreachable"), ("a", "confirmed")]
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("a", "confirmed"), ("b", "skipped")]  # who has answered meanwhile comes first
            assert receipt.children[0].why == "last resort: out until it is reinstated (unreachable)"
            assert receipt.children[1].reason == "out until it is reinstated (unreachable)"
            assert all(child.out_until == inf for child in strategy.children)
            strategy.release(strategy.children[0], "by hand")
            assert outcomes(await strategy.deliver(EVENT)) == [("a", "confirmed")]

    run(main())


@pytest.mark.parametrize("failback", ["cautious", "eager"])
def test_the_second_event_goes_straight_on_and_the_first_is_used_again_on_time(failback: Failback) -> None:
    """Two sockets at 5 events a second, the first one dies: one event pays for it, and it is back when declared."""

    async def main() -> None:
        first, second = FastSink("a", YES, YES, YES, SILENT.after(1), YES), FastSink("b")
        async with opened(Failover(first, second, health=Health(quarantine=10, failback=failback))) as strategy:

            async def deliver(pause: float) -> str:
                await asyncio.sleep(pause)
                receipt = await strategy.deliver(EVENT)
                assert receipt.confirmed
                return "+".join(attempt.sink for attempt in receipt.attempts)

            assert [await deliver(0.2) for _ in range(6)] == ["a", "a", "a", "a+b", "b", "b"]
            back = strategy.children[0].out_until
            assert back == pytest.approx(4 * 0.2 + 1 + 10)  # from when its timeout had run
            while (used := await deliver(0.005)) == "b":
                assert now() < back
            assert used == "a"
            assert now() - back < 0.01

    run(main())


def test_a_stay_is_no_rotation() -> None:
    """Of three, the next in declared order takes over, and those that failed wait behind it, the longest out first."""

    async def main() -> None:
        a, b, c = FastSink("a", DOWN, YES), FastSink("b", YES, DOWN), FastSink("c", DOWN)
        async with opened(Failover(a, b, c, health=Health(failback="stay"))) as strategy:
            ways = [[one.sink for one in (await strategy.deliver(EVENT)).attempts] for _ in range(4)]
            assert ways == [["a", "b"], ["b", "c", "a"], ["a"], ["a"]]

    run(main())


@pytest.mark.parametrize("failback", ["cautious", "eager", "stay", "manual"])
def test_a_batch_is_as_careful_as_single_events(failback: Failback) -> None:
    """Of a batch that comes when a child's time is over, as many go there as single events would."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES.after(1)), FastSink("b", YES.after(1))
        async with opened(Failover(first, second, health=Health(failback=failback, slow_start=4))) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(29)
            shares: list[int] = []
            for _ in range(4):
                before = len(first.given)
                receipts = await strategy.deliver_many([EVENT] * 10)
                assert all(receipt.confirmed for receipt in receipts)
                shares.append(len(first.given) - before)
            assert shares == {"cautious": [1, 2, 4, 10], "eager": [10] * 4}.get(failback, [0] * 4)
            assert not any(child.trial for child in strategy.children)

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_slow_start_never_loses_an_event(batch: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A child in slow start that nobody can stand in for takes them all: slow start is for those who have a choice."""

    async def main() -> None:
        sink = FastSink("a", DOWN, YES.after(1))
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(30)
            await strategy.deliver(EVENT)
            assert strategy.children[0].in_slow_start
            if batch:
                receipts = await strategy.deliver_many([EVENT] * 10)
            else:
                receipts = await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(10)])
                assert receipts[9].children[0].why == "in slow start, and no other took it"
            assert all(receipt.confirmed for receipt in receipts)
            assert strategy.children[0].trial == 0

    run(main())


@pytest.mark.parametrize("under_way", [0, 1])
def test_a_child_that_comes_back_while_the_others_are_tried_is_no_last_resort(under_way: int) -> None:
    """An event that passed it over is tried there after all, whatever else is, and its receipt says why."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES.after(9), YES), FastSink("b", DOWN, NO.after(1))
        async with opened(Failover(first, second, health=Health(failback="eager"), last_resort=True)) as strategy:
            await strategy.deliver(EVENT)
            begun = [asyncio.ensure_future(strategy.deliver(EVENT)) for _ in range(under_way)]
            await asyncio.sleep(0)
            strategy.release(strategy.children[1], "a test")
            delivery = asyncio.ensure_future(strategy.deliver(EVENT))
            await asyncio.sleep(0.5)
            strategy.take_back(strategy.children[0], "late reply", now(), tried=False)
            receipt = await delivery
            assert outcomes(receipt) == [("b", "rejected"), ("a", "confirmed")]
            assert receipt.children[1].why == "back in service meanwhile"
            await asyncio.gather(*begun)

    run(main())


@pytest.mark.parametrize("failback", ["cautious", "eager"])
def test_a_quarantine_that_ends_while_the_others_are_tried_is_over(failback: Failback) -> None:
    """What is tried then is no last resort, and so is tried too where there is none."""

    async def main() -> None:
        first, second = FastSink("a", DOWN, YES), FastSink("b", YES, NO.after(2))
        health = Health(failback=failback, quarantine=30)
        async with opened(Failover(first, second, health=health, last_resort=False)) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(29)
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("b", "rejected"), ("a", "confirmed")]
            assert receipt.children[1].why == "its quarantine is over"

    run(main())


MAKERS: dict[str, Callable[[Health, Sequence[Sink]], Sequential]] = {
    "Failover": lambda health, sinks: Failover(*sinks, health=health),
    "RoundRobin": lambda health, sinks: RoundRobin(*sinks, health=health),
    "WeightedRoundRobin": lambda health, sinks: WeightedRoundRobin(dict.fromkeys(sinks, 1), health=health),
    "WeightedRandom": lambda health, sinks: WeightedRandom(dict.fromkeys(sinks, 1), health=health),
    "LeastInFlight": lambda health, sinks: LeastInFlight(*sinks, health=health),
    "LatencyAware": lambda health, sinks: LatencyAware(*sinks, health=health),
    "Sticky": lambda health, sinks: Sticky(*sinks, health=health),
    "Tiers": lambda health, sinks: Tiers(dict.fromkeys(sinks, 1), health=health),
}


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("failback", ["cautious", "eager", "stay", "manual"])
def test_every_sequence_has_the_same_rules(name: str, failback: Failback) -> None:
    """While a child is out nobody gives it an event; when its time is over it gets as many as its fail-back says."""

    async def main() -> None:
        sick = FastSink("a", YES.after(1))
        sinks = (sick, FastSink("b", YES.after(1)), FastSink("c", YES.after(1)))
        async with opened(MAKERS[name](Health(failback=failback), sinks)) as strategy:
            strategy.take_out(strategy.children[0], 30.0, "a test", 0.0)
            await asyncio.gather(*[strategy.deliver(event) for event in events])
            assert not sick.given
            await asyncio.sleep(29)
            receipts = await asyncio.gather(*[strategy.deliver(event) for event in events])
            assert all(receipt.confirmed for receipt in receipts)
            if failback == "cautious":
                assert len(sick.given) == 1
            else:
                assert bool(sick.given) is (failback == "eager")

    events = [Event("E_A", {"callid": f"call-{number}"}) for number in range(30)]
    run(main())


class Asked(FastSink):
    """One that can be asked whether it would answer."""

    def __init__(self, name: str, *script: Answer, answers: Sequence[str]) -> None:
        super().__init__(name, *script)
        self.answers = list(answers)
        self.asked: list[tuple[float, str | None, float]] = []

    async def probe(self, method: str | None, timeout: float) -> str:
        """As its list says."""
        self.asked.append((now(), method, timeout))
        await asyncio.sleep(0.25)
        if self.answers[0] == "raise":
            del self.answers[0]
            raise RuntimeError("a fault in a probe")
        return self.answers.pop(0)


@pytest.mark.parametrize("failback", ["cautious", "eager"])
def test_probes_run_while_a_child_is_out_and_bring_it_back(failback: Failback) -> None:
    """Every so often it is asked, until it answers: then the next event is its trial, or all go there again."""
    records: list[Record] = []

    async def main() -> None:
        first = Asked("a", DOWN, YES.after(1), answers=["no", "no", ""])
        health = Health(failback=failback, probe=Probe(method="ping", every=2.0, timeout=0.5))
        async with opened(Failover(first, FastSink("b"), health=health), records.append) as strategy:
            await asyncio.sleep(10)
            assert first.asked == []
            await strategy.deliver(EVENT)
            await asyncio.sleep(30)
            assert first.asked == [(12.0, "ping", 0.5), (14.25, "ping", 0.5), (16.5, "ping", 0.5)]
            await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(5)])
            assert len(first.given) == (2 if failback == "cautious" else 6)

    run(main())
    (back,) = [record for record in records if isinstance(record, (OnTrial, Reinstated)) and record.at < 30]
    assert (type(back), back.reason, back.at) == (
        OnTrial if failback == "cautious" else Reinstated,
        "a probe was answered",
        16.75,
    )


def test_probes_end_with_everything_else(caplog: pytest.LogCaptureFixture) -> None:
    """Closing cancels a probe that is under way; one that raises is logged and asked again."""

    async def main() -> None:
        first = Asked("a", DOWN, answers=["raise", "no", "no", "no"])
        health = Health(quarantine=4.0, probe=Probe(every=1.0))
        async with opened(Failover(first, FastSink("b"), health=health)) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(2.5)
            assert [at for at, _, _ in first.asked] == [1.0, 2.25]
            await asyncio.sleep(1.1)
        assert len(asyncio.all_tasks()) == 1

    run(main())
    assert "a can't be probed" in caplog.text


def test_a_strategy_is_probed_by_its_children() -> None:
    """A strategy that is out answers if any of its children does."""

    async def main() -> None:
        for answers, said in (((["no"], [""]), ""), ((["no"], ["never"]), "never"), (([""], ["no"]), "")):
            inner = Failover(*[Asked(name, answers=one) for name, one in zip("ab", answers, strict=True)])
            async with opened(Failover(inner, PlainSink("c"))) as strategy:
                assert await strategy.probe(None, 1.0) == said
        async with opened(Failover(PlainSink("a"))) as strategy:
            assert await strategy.probe(None, 1.0) == "no child can be probed"

    run(main())
