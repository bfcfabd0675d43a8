"""What waits for several children, cancelled in each turn of the loop around their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from failover.event import Event
from failover.fan_out import FanOut
from failover.receipt import Receipt
from failover.strategies import Hedge, Mirror, Parallel, Quorum
from tests.doubles import YES, FastSink, PlainSink, opened, run

EVENT = Event("E_ACC_CDR", {"duration": 35})
MAKERS: dict[str, Callable[[list[PlainSink]], FanOut]] = {
    "all": lambda sinks: Parallel(*sinks),
    "any": lambda sinks: Parallel(*sinks, require="any"),
    "quorum": lambda sinks: Quorum(2, *sinks),
    "mirror": lambda sinks: Mirror(*sinks[:2]),
    "hedge": lambda sinks: Hedge(*sinks[:2], delay=0.5),
    "hedge at once": lambda sinks: Hedge(*sinks[:2], delay=0),
}


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("pause", [0.0, 0.5, 1.0])
def test_cancelled_in_any_turn(name: str, kind: type[PlainSink], pause: float) -> None:
    """Before, while and after the children answer: a receipt is had or left, and no child goes on unowned."""

    async def main() -> None:
        for turns in range(12):
            sinks = [kind(letter, YES.after(1.0)) for letter in "abc"]
            async with opened(MAKERS[name](sinks)) as strategy:
                before = asyncio.all_tasks()
                task = asyncio.ensure_future(strategy.deliver(EVENT))
                await asyncio.sleep(pause)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    receipt: Receipt | None = await task
                    assert receipt is not None
                    assert receipt.confirmed
                except asyncio.CancelledError as cancelled:
                    receipt = getattr(cancelled, "receipt", None)
                    assert receipt is None or not strategy.status().in_flight
                begun = {sink.name for sink in sinks if sink.given}
                assert begun <= {child.sink for child in receipt.children} if receipt else not begun
                for _ in range(3):
                    await asyncio.sleep(0)
                owned = {future for future in strategy._stragglers if isinstance(future, asyncio.Task)}  # pyright: ignore[reportPrivateUsage]
                assert asyncio.all_tasks() - before == owned
            assert asyncio.all_tasks() == before

    run(main())
