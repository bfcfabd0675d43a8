"""Events that are begun one by one in one turn of the loop leave as one; each is still an event of its own."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.net.volley import Gathered
from failover.outcome import Outcome
from failover.protocol.pipeline import MAX_ID
from failover.receipt import Receipt
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from tests.scripted import Action, Run, ScriptedPeer, close, confirm, opened, silent, turns, until

EVENTS = [Event("E", [number]) for number in range(8)]
FIRST = Event("E_FIRST")


def numbers(peer: ScriptedPeer) -> list[int]:
    """Which events the peer has seen, in order."""
    return [call.params[0] for call in peer.calls if call.method == "E"]


def usual(call: Any) -> None:
    """Confirm all but one."""
    if call.method != "E_SILENT":
        call.confirm()


@asynccontextmanager
async def busy(*script: Action) -> AsyncGenerator[tuple[JsonRpcSink, ScriptedPeer]]:
    """A sink with one event in flight, so that the next ones wait for the end of their turn."""
    async with ScriptedPeer(*script) as peer:
        sink = jsonrpc(peer.address)
        async with opened(sink):
            await begin(sink, peer)
            yield sink, peer


async def begin(sink: JsonRpcSink, peer: ScriptedPeer) -> None:
    """Have that one in flight."""
    assert (await sink.deliver(FIRST)).confirmed
    sink.start(Event("E_SILENT"))
    await peer.got(2)


@pytest.mark.parametrize("gone", [0, 3, 7])
def test_one_that_is_cancelled_before_they_leave(run: Run, gone: int) -> None:
    """It never leaves and says so; the others do, in order."""

    async def main() -> tuple[list[int], list[Receipt]]:
        async with busy(usual) as (sink, peer):
            begun = [sink.start(event) for event in EVENTS]
            left = sink.abandon(begun[gone], "cancelled")
            assert left is not None
            begun[gone].cancel()
            others = await asyncio.gather(*begun[:gone], *begun[gone + 1 :])
            return numbers(peer), [left, *others]

    seen, receipts = run(main)
    assert seen == [number for number in range(len(EVENTS)) if number != gone]
    assert receipts[0].outcome is Outcome.ABANDONED
    assert not receipts[0].maybe_processed
    assert all(receipt.confirmed for receipt in receipts[1:])


def test_one_that_is_cancelled_after_they_left(run: Run) -> None:
    """It may have been processed, and gets its late confirmation; the others are confirmed as if nothing had been."""

    async def main() -> tuple[list[Receipt], int]:
        async with ScriptedPeer(confirm, silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                assert (await sink.deliver(FIRST)).confirmed
                begun = [sink.start(event) for event in EVENTS]
                calls = (await peer.got(1 + len(EVENTS)))[1:]
                left = sink.abandon(begun[2], "cancelled")
                assert left is not None
                begun[2].cancel()
                begun[5].cancel()  # without a word to the sink
                for call in calls:
                    call.confirm()
                others = await asyncio.gather(*begun[:2], *begun[3:], return_exceptions=True)
                await until(lambda: sink.status().late == 2)
                return [left, *[one for one in others if isinstance(one, Receipt)]], sink.status().in_flight

    receipts, in_flight = run(main)
    assert receipts[0].outcome is Outcome.ABANDONED
    assert receipts[0].maybe_processed
    assert [receipt.confirmed for receipt in receipts[1:]] == [True] * 6
    assert in_flight == 0


def test_two_sinks_of_one_connection(run: Run) -> None:
    """What their events are written in is the order in which they were begun, whoever began them."""

    async def main() -> list[int]:
        async with ScriptedPeer(usual) as peer:
            one, other = jsonrpc(peer.address, name="a"), jsonrpc(peer.address, name="b", timeout=2)
            async with opened(one), opened(other):
                await begin(one, peer)
                assert (await other.deliver(FIRST)).confirmed
                begun = [(one, other)[number in {2, 3, 6}].start(event) for number, event in enumerate(EVENTS)]
                assert all(receipt.confirmed for receipt in await asyncio.gather(*begun))
                return numbers(peer)

    assert run(main) == list(range(len(EVENTS)))


@pytest.mark.parametrize("seconds", [0.5, 0.4, 10])
def test_plain_ones_and_one_with_a_deadline(run: Run, seconds: float) -> None:
    """In order among deadlines or not, or later than the timeout: it keeps its place among the others."""

    async def main() -> list[int]:
        async with busy(usual) as (sink, peer):
            now = asyncio.get_running_loop().time()
            sink.start(Event("E_SILENT"), deadline=now + 0.5)
            deadline = now + seconds
            begun = [
                sink.start(event, deadline=deadline if number == 4 else None) for number, event in enumerate(EVENTS)
            ]
            assert all(receipt.confirmed for receipt in await asyncio.gather(*begun))
            return numbers(peer)

    assert run(main) == list(range(len(EVENTS)))


def test_each_began_when_it_was_begun(run: Run) -> None:
    """Not when they left together, at the end of a turn that took long: who was chosen by then was chosen before."""

    async def main() -> list[bool]:
        async with busy(usual) as (sink, _peer):
            loop = asyncio.get_running_loop()
            begun: list[tuple[float, asyncio.Future[Receipt], float]] = []
            for event in EVENTS:
                begun.append((loop.time(), sink.start(event), loop.time()))
                time.sleep(0.002)  # noqa: ASYNC251  # the turn takes as long
            return [before <= (await waiter).began <= after for before, waiter, after in begun]

    assert run(main) == [True] * len(EVENTS)


@pytest.mark.parametrize("left", [False, True])
def test_one_whose_deadline_comes(run: Run, left: bool) -> None:  # noqa: FBT001  # a parameter
    """It is cut short, whether it has left by then or not, and no neighbour is."""

    async def main() -> tuple[list[int], list[Receipt]]:
        async with busy(confirm, *[silent] * 9) as (sink, peer):
            deadline = asyncio.get_running_loop().time() + 0.05
            begun = [
                sink.start(event, deadline=deadline if number == 4 else None) for number, event in enumerate(EVENTS)
            ]
            if left:
                await peer.got(10)
            assert sink._deadlines is not None
            await asyncio.sleep(0) if left else time.sleep(0.06)  # noqa: ASYNC251  # the turn takes as long
            if not left:
                sink._deadlines._due()
            cut = await begun[4]
            calls = await peer.got(10 if left else 9)
            for call in calls[2:]:
                call.confirm()
            return numbers(peer), [cut, *await asyncio.gather(*begun[:4], *begun[5:])]

    seen, receipts = run(main)
    assert seen == [number for number in range(8) if left or number != 4]
    assert receipts[0].outcome is Outcome.ABANDONED
    assert receipts[0].maybe_processed is left
    assert all(receipt.confirmed for receipt in receipts[1:])


def test_something_that_is_no_event(run: Run) -> None:
    """It is refused at once, and its neighbours don't notice."""

    async def main() -> list[Receipt]:
        async with busy(usual) as (sink, _peer):
            begun = [sink.start(event) for event in EVENTS[:3]]
            with pytest.raises(AttributeError):
                sink.start("E")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            begun += [sink.start(event) for event in EVENTS[3:]]
            return await asyncio.gather(*begun)

    assert all(receipt.confirmed for receipt in run(main))


def test_more_than_the_window(run: Run) -> None:
    """Only as many leave as may be in flight; the rest waits for slots and leaves in order."""

    async def main() -> tuple[list[int], list[int]]:
        async with ScriptedPeer(confirm, silent, silent, silent, confirm) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=3))
            async with opened(sink):
                assert (await sink.deliver(FIRST)).confirmed
                begun = [sink.start(event) for event in EVENTS]
                calls = await peer.got(4)
                await turns()
                before = numbers(peer)
                for call in calls[1:]:
                    call.confirm()
                assert all(receipt.confirmed for receipt in await asyncio.gather(*begun))
                return before, numbers(peer)

    assert run(main) == ([0, 1, 2], list(range(len(EVENTS))))


def test_where_there_are_no_ids_in_a_row(run: Run) -> None:
    """At the end of the ids each has an exchange of its own, and the next ones leave together again."""

    async def main() -> tuple[list[int], list[Any]]:
        async with busy(usual) as (sink, peer):
            assert sink._connection is not None
            sink._connection.pipeline._next = MAX_ID - 2
            for _ in range(2):
                begun = [sink.start(event) for event in EVENTS]
                assert all(receipt.confirmed for receipt in await asyncio.gather(*begun))
            return numbers(peer), [call.id for call in peer.calls if call.method == "E"]

    seen, ids = run(main)
    assert seen == list(range(len(EVENTS))) * 2
    assert ids == [MAX_ID - 2, MAX_ID - 1, MAX_ID, *range(1, 14)]


def test_a_connection_that_breaks_before_they_leave(run: Run) -> None:
    """Nothing of them has left, and they say so."""

    async def main() -> list[Receipt]:
        async with busy(usual) as (sink, _peer):
            begun = [sink.start(event) for event in EVENTS]
            assert sink._connection is not None
            sink._connection.break_off("cut")
            return await asyncio.gather(*begun)

    assert [(receipt.outcome, receipt.maybe_processed) for receipt in run(main)] == [(Outcome.UNREACHABLE, False)] * 8


def test_a_connection_that_breaks_after_they_left(run: Run) -> None:
    """Each of them may have been processed but those that were confirmed before."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(confirm, confirm, confirm, close) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                assert (await sink.deliver(FIRST)).confirmed
                return await asyncio.gather(*(sink.start(event) for event in EVENTS))

    assert [receipt.outcome for receipt in run(main)] == [Outcome.CONFIRMED] * 2 + [Outcome.UNCONFIRMED] * 6


def test_a_silent_one_keeps_no_other_in_memory(run: Run) -> None:
    """Of those that left as one only the one that is still waited for is kept."""

    async def main() -> list[Any]:
        async with busy(usual) as (sink, _peer):
            begun = [sink.start(Event("E_SILENT" if number == 3 else "E", [number])) for number in range(8)]
            await asyncio.gather(*begun[:3], *begun[4:])
            gathered: list[Any] = [one for one in gc.get_objects() if type(one) is Gathered]
            return [kept for one in gathered for kept in (*one.events, *one.waiters) if kept is not None]

    kept = run(main)
    assert [one.name for one in kept if isinstance(one, Event)] == ["E_SILENT"]
    assert len(kept) == 2
