"""Retry: the same child again, as often and as long as policy, deadline and budget allow."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
import tenacity
from tenacity import stop_after_attempt, stop_after_delay, stop_before_delay, wait_fixed, wait_random

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Retry
from tests.contract import check_sink
from tests.doubles import (
    ANSWERS,
    DOWN,
    NO,
    SETTLES,
    SILENT,
    YES,
    FastSink,
    PlainSink,
    expected_of_sequence,
    now,
    opened,
    opening,
    run,
)

EVENT = Event("E_A", {"caller": "alice"})
FEWER = ("YES", "STOP", "DOWN", "SILENT", "NO", "FULL")


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(("count", "usual"), [(1, tuple(ANSWERS)), (2, tuple(ANSWERS)), (3, FEWER), (4, FEWER)])
def test_every_combination_of_outcomes(
    kind: type[PlainSink], count: int, usual: tuple[str, ...], *, batch: bool
) -> None:
    """Of up to four attempts: up to the first that settles the event, and as a sequence of these would end."""

    async def main() -> None:
        for names in itertools.product(usual, repeat=count):
            sink = kind("a", *(ANSWERS[name] for name in names))
            async with opened(Retry(sink, stop=stop_after_attempt(count), wait=wait_fixed(1), share=9)) as retry:
                began = now()
                receipt = (await deliver_many(retry, [EVENT]))[0] if batch else await retry.deliver(EVENT)
                tries = next((place for place, name in enumerate(names, 1) if name in SETTLES), count)
                assert len(sink.given) == len(receipt.children) == tries
                assert retry.retried == tries - 1
                assert (receipt.outcome, receipt.verdict) == expected_of_sequence(names)
                assert now() - began == tries - 1
                copies = sum(child.maybe_processed for child in receipt.children)
                assert receipt.possible_duplicates == max(0, copies - 1)

    run(main())


@pytest.mark.parametrize(
    ("stop", "within", "times", "reason"),
    [
        (stop_after_attempt(3), None, [0, 1, 2], "given up after 3 attempts"),
        (stop_after_delay(2.5), None, [0, 1, 2, 3], "given up after 4 attempts"),
        (stop_before_delay(2.5), None, [0, 1, 2], "given up after 3 attempts"),
        (stop_after_attempt(9) | stop_after_delay(1), None, [0, 1], "given up after 2 attempts"),
        (tenacity.stop_never, 2.5, [0, 1, 2], "no time left for another attempt"),
    ],
)
def test_when_it_ends(stop: Any, within: float | None, times: list[float], reason: str) -> None:
    """As the policy says by the loop's clock, or with the time: a wait that would end too late isn't begun."""

    async def main() -> None:
        sink = FastSink("a", DOWN)
        async with opened(Retry(sink, stop=stop, wait=wait_fixed(1), within=within)) as retry:
            receipt = await retry.deliver(EVENT)
            assert sink.times == times
            assert receipt.reason == reason
            assert receipt.outcome is Outcome.UNREACHABLE
            assert [child.why for child in receipt.children[:2]] == ["", "attempt 2, 1000 ms later"]

    run(main())


def test_the_callers_deadline_counts_too() -> None:
    """Each attempt has all the time that is left; after it there is no other."""

    async def main() -> None:
        sink = FastSink("a", NO, SILENT.after(99))
        async with opened(Retry(sink, wait=wait_fixed(1), within=9)) as retry:
            receipt = await retry.deliver(EVENT, deadline=4)
            assert sink.deadlines == [4, 4]
            assert now() == 4
            assert not receipt.at_fault
            assert receipt.reason == "no time left for another attempt"

    run(main())


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_amplification_stays_within_the_budget(share: float) -> None:
    """Where everything fails, attempts keep to the share and the floor."""

    async def main() -> None:
        sink = FastSink("a", DOWN)
        policy = stop_after_attempt(5)
        async with opened(Retry(sink, stop=policy, wait=wait_fixed(0.01), share=share, floor=2.0)) as retry:
            tasks: list[asyncio.Task[Receipt]] = []
            for _ in range(1000):
                tasks.append(asyncio.ensure_future(retry.deliver(EVENT)))
                await asyncio.sleep(0.01)
            receipts = await asyncio.gather(*tasks)
            extra = len(sink.given) - 1000
            assert retry.retried == extra
            assert 0.9 * share * 1000 <= extra <= share * 1000 + 2.0 * (now() + 10)
            assert "no further attempt: the budget was spent" in {receipt.reason for receipt in receipts}

    run(main())


def test_random_waits_are_refused_in_a_simulation() -> None:
    """No seed would repeat them; on a real loop they are fine."""

    async def main() -> None:
        retry = Retry(FastSink("a", DOWN, YES), wait=wait_fixed(0) + wait_random(0, 0.001))
        async with opened(retry):
            assert (await retry.deliver(EVENT)).confirmed

    with pytest.raises(ConfigError, match="a random wait can't be repeated in a simulation"):
        run(main())
    asyncio.run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_ends_as_its_events_would_alone(kind: type[PlainSink]) -> None:
    """All are tried, the unsettled ones again; outcomes and attempts are those of each alone."""

    async def main() -> None:
        events = [Event("E_A", {"n": number}) for number in range(50)]
        for answer in (YES, NO, DOWN):
            ends: list[Any] = []
            for batch in (True, False):
                sink = kind("a", answer)
                async with opened(Retry(sink, wait=wait_fixed(1), share=2)) as retry:
                    receipts = (
                        await deliver_many(retry, events) if batch else [await retry.deliver(one) for one in events]
                    )
                    ends.append([(receipt.outcome, len(receipt.children), receipt.reason) for receipt in receipts])
            assert ends[0] == ends[1]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("moment", [0.5, 1.0, 1.5, 2.0, 2.5, 3.5])
@pytest.mark.parametrize("closing", [False, True])
def test_cancelled_or_closed(kind: type[PlainSink], moment: float, *, batch: bool, closing: bool) -> None:
    """During an attempt or a wait: no task, no timer, nothing in flight; closing gives every event its receipt."""

    async def main() -> None:
        retry = Retry(kind("a", NO.after(1)), wait=wait_fixed(1))
        async with opened(retry):
            task: asyncio.Future[Any] = asyncio.ensure_future(
                deliver_many(retry, [EVENT]) if batch else retry.deliver(EVENT)
            )
            await asyncio.sleep(moment)
            if closing:
                await retry.aclose()
                assert await task
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                if not batch:
                    assert getattr(caught.value, "receipt").children  # noqa: B009
            assert now() == moment
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert retry.status().in_flight == 0
            assert not retry._waiting  # pyright: ignore[reportPrivateUsage]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("first", [YES, NO])
def test_contract(kind: type[PlainSink], first: Any) -> None:
    """What `check_sink` asks of any sink holds, also where the first attempt fails."""

    async def make() -> Sink:
        retry = Retry(kind("a", first, YES.after(0.01)), wait=wait_fixed(0.01))
        await open_sink(retry, opening())
        return retry

    run(check_sink(make))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"stop": 3}, "stop must be one of tenacity's stop policies"),
        ({"wait": 1}, "wait must be one of tenacity's wait policies"),
        ({"stop": tenacity.stop_never}, "Retry would never end"),
        ({"within": 0}, "within must be a number of seconds"),
        ({"share": -1}, "the share of a budget"),
        ({"floor": "1"}, "the floor of a budget"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Retry(PlainSink("a"), **given)
