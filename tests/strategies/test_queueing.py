"""What waits for its turn: its receipt begins when it came, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from failover.event import Event
from failover.receipt import Receipt
from failover.sink import deliver_many
from failover.strategies import Coalesce, Dedup, Limit, Ordered
from failover.strategies.queueing import Queueing
from tests.doubles import SILENT, FastSink, PlainSink, now, opened, run

QUEUES: dict[str, Callable[[PlainSink], Queueing]] = {
    "Limit": lambda sink: Limit(sink, in_flight=1),
    "Ordered": lambda sink: Ordered(sink, key="callid"),
    "Coalesce": lambda sink: Coalesce(sink, key="callid"),
    "Coalesce, every": lambda sink: Coalesce(sink, key="callid", every=0.5),
    "Dedup": lambda sink: Dedup(sink, window=30),
}
EVENT = Event("E_A", {"callid": "a"})


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("queue", QUEUES)
def test_cancelled_after_its_wait(queue: str, kind: type[PlainSink], *, batch: bool) -> None:
    """What is left of an event that is cancelled at the child, after a wait, begins when it came and says that."""

    async def main() -> None:
        async with opened(QUEUES[queue](kind("a", SILENT.after(9)))) as tree:
            first = asyncio.ensure_future(tree.deliver(EVENT))
            await asyncio.sleep(1)
            came = now()
            task: asyncio.Future[Any] = asyncio.ensure_future(
                deliver_many(tree, [EVENT]) if batch else tree.deliver(EVENT)
            )
            await asyncio.sleep(1)
            first.cancel()
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            left: Receipt = getattr(caught.value, "receipts")[0] if batch else getattr(caught.value, "receipt")  # noqa: B009
            assert (left.began, left.ended) == (came, now())
            assert [attempt.began for attempt in left.attempts] == [came + 1]
            assert left.reason in ("cancelled", "waited 1000.0 ms for its turn")

    run(main())
