"""What every sink promises, as one check that fits anything that delivers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import pytest

from failover.errors import ClosedError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sink import Sink, Status, deliver_many, start
from tests.doubles import begun

EVENT = Event("E_CONTRACT", {"k": 1}, id="contract-1")
Make = Callable[[], Awaitable[Sink]]
"""Makes an open sink of which nothing has been asked yet; each call makes a new one."""


async def check_sink(make: Make, outcome: Outcome = Outcome.CONFIRMED) -> None:
    """Check one kind of sink on the running loop.

    Args:
        make: Makes an open sink that would deliver an event after a while.
        outcome: What becomes of it then: CONFIRMED, or SENT where nobody confirms.

    Raises:
        AssertionError: it breaks a promise of `failover.sink.Sink`.
    """
    for part in (
        _delivers,
        _keeps_deadlines,
        _delivers_batches,
        _begins_many,
        _is_cancelled,
        _closes,
        _closes_under_way,
    ):
        sink = await make()
        try:
            await part(sink, outcome)
        finally:
            await sink.aclose()
        await sink.aclose()


async def _delivers(sink: Sink, outcome: Outcome) -> None:
    assert isinstance(sink, Sink)
    assert sink.name
    _is_status(sink, sink.status())
    for receipt in (await sink.deliver(EVENT), await start(sink, EVENT)):
        _is_receipt(sink, receipt)
        assert receipt.outcome is outcome, receipt.explain()
        assert receipt.settled
        assert receipt.confirmed == (outcome is Outcome.CONFIRMED)
    _is_status(sink, sink.status())


async def _keeps_deadlines(sink: Sink, outcome: Outcome) -> None:
    loop = asyncio.get_running_loop()
    for deadline in (loop.time(), loop.time() - 1, float("-inf")):
        receipts = [await sink.deliver(EVENT, deadline=deadline), *await deliver_many(sink, [EVENT], deadline=deadline)]
        for receipt in receipts:
            _is_receipt(sink, receipt)
            assert receipt.outcome in (Outcome.SKIPPED, Outcome.ABANDONED), receipt.explain()
            assert not receipt.at_fault
    receipt = await sink.deliver(EVENT, deadline=loop.time() + 60)
    assert receipt.outcome is outcome, receipt.explain()


async def _delivers_batches(sink: Sink, outcome: Outcome) -> None:
    assert await deliver_many(sink, []) == []
    events = [Event("E_CONTRACT", {"n": number}) for number in range(200)]
    receipts = await deliver_many(sink, events)
    assert [receipt.event for receipt in receipts] == events
    for receipt in receipts:
        _is_receipt(sink, receipt)
        assert receipt.outcome is outcome, receipt.explain()


async def _begins_many(sink: Sink, outcome: Outcome) -> None:
    events = [Event("E_CONTRACT", {"n": number}) for number in range(5)]  # as many as any has room for at once
    for receipt in await begun(sink, events):
        _is_receipt(sink, receipt)
        assert receipt.outcome is outcome, receipt.explain()
    others = [Event("E_CONTRACT", {"late": number}) for number in range(5)]
    for receipt in await begun(sink, others, deadline=asyncio.get_running_loop().time()):
        _is_receipt(sink, receipt)
        assert receipt.outcome in (Outcome.SKIPPED, Outcome.ABANDONED), receipt.explain()
        assert not receipt.at_fault


async def _is_cancelled(sink: Sink, outcome: Outcome) -> None:
    before = asyncio.all_tasks()
    for turns in range(4):
        for task in (
            asyncio.ensure_future(sink.deliver(EVENT)),
            asyncio.ensure_future(deliver_many(sink, [EVENT, EVENT])),
        ):
            for _ in range(turns):
                await asyncio.sleep(0)
            over = task.done()
            task.cancel()
            if over:
                continue
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            left = getattr(caught.value, "receipt", None)
            assert left is None or isinstance(left, Receipt)
    assert asyncio.all_tasks() <= before  # a connect that was under way may have ended
    assert sink.status().in_flight == 0
    receipt = await sink.deliver(EVENT)  # no harm was done to it
    assert receipt.outcome is outcome, receipt.explain()


async def _closes(sink: Sink, _outcome: Outcome) -> None:
    await asyncio.gather(sink.aclose(), sink.aclose())
    await sink.aclose()
    status = sink.status()
    _is_status(sink, status)
    assert not status.up
    assert status.reason
    for task in (sink.deliver(EVENT), deliver_many(sink, [EVENT])):
        try:
            answer = await task
        except ClosedError as error:
            assert "open" in str(error)  # noqa: PT017 - a sink may say it in either way
        else:
            receipt = answer if isinstance(answer, Receipt) else answer[0]
            assert receipt.outcome is Outcome.SKIPPED, receipt.explain()


async def _closes_under_way(sink: Sink, _outcome: Outcome) -> None:
    before = asyncio.all_tasks()
    running = [asyncio.ensure_future(sink.deliver(EVENT)) for _ in range(5)]
    batch = asyncio.ensure_future(deliver_many(sink, [EVENT] * 5))
    events = [Event("E_CONTRACT") for _ in range(5)]
    together = asyncio.ensure_future(begun(sink, events))
    for _ in range(3):
        await asyncio.sleep(0)
    await sink.aclose()
    receipts: Sequence[Receipt] = [*await asyncio.gather(*running), *await batch, *await together]
    for receipt in receipts:
        _is_receipt(sink, receipt)
    assert asyncio.all_tasks() <= before


def _is_receipt(sink: Sink, receipt: Receipt) -> None:
    assert isinstance(receipt, Receipt)
    assert receipt.sink == sink.name
    assert receipt.began <= receipt.ended
    for node in receipt.walk():
        assert receipt.began <= node.began <= node.ended <= receipt.ended, receipt.explain()
    assert receipt.explain()
    assert json.loads(json.dumps(receipt.to_dict()))["outcome"] == receipt.outcome.value


def _is_status(sink: Sink, status: Status) -> None:
    assert isinstance(status, Status)
    assert status.name == sink.name
    assert status.in_flight >= 0
