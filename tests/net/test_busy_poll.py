"""Busy polling: for some turns after a write the loop looks for the reply again instead of sleeping."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from failover import ConnectionOptions, Event, Group, Outcome, jsonrpc
from failover.sim import Simulation
from failover.sink import Sink
from failover.subscriber import Subscriber
from tests.scripted import Run, ScriptedPeer, confirm, opened, silent, turns, until

EVENT = Event("E_TEST")
TURNS = 50
T = TypeVar("T")


class Sleeps:
    """The selector of a loop, and for how long it was told to wait each time; None: until something happens."""

    def __init__(self, loop: Any) -> None:
        self._selector = loop._selector
        loop._selector = self
        self.waits: list[float | None] = []

    def select(self, timeout: float | None = None) -> Any:
        """Write it down, and wait."""
        self.waits.append(timeout)
        return self._selector.select(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


def awake(waits: list[float | None]) -> int:
    """For how many turns the loop did not sleep before it did for the first time."""
    return next(number for number, wait in enumerate(waits) if wait is None or wait > 0)


def on_a_selector(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something on asyncio's own loop, whose selector is Python's."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("busy_poll", [0, TURNS])
def test_a_turn_is_no_sleep(busy_poll: int, many: bool) -> None:  # noqa: FBT001  # a parameter
    """As many turns as are asked for pass without sleeping; then the loop sleeps, as it does at once without."""

    async def main() -> list[float | None]:
        async with ScriptedPeer(lambda call: (confirm if call.method == "E_FIRST" else silent)(call)) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(busy_poll=busy_poll), timeout=0.05)
            async with opened(sink):
                await sink.deliver(Event("E_FIRST"))
                await turns(TURNS + 1)
                sleeps = Sleeps(asyncio.get_running_loop())
                await (sink.deliver_many([EVENT, EVENT]) if many else sink.deliver(EVENT))
                return sleeps.waits

    assert busy_poll <= awake(on_a_selector(main)) <= busy_poll + 5


def test_a_peer_that_does_not_answer_in_time_is_hardly_polled() -> None:
    """After each try in vain four times as many writes pass until the next; a reply in time starts all over again."""

    async def main() -> tuple[list[int], list[int]]:
        async with ScriptedPeer(*[silent] * 22, confirm) as peer:
            options = ConnectionOptions(busy_poll=TURNS)
            hasty = jsonrpc(peer.address, options=options, timeout=0.005)
            patient = jsonrpc(peer.address, options=options, timeout=10)  # on the same connection
            async with opened(hasty), opened(patient):
                await until(lambda: hasty.status().up and patient.status().up)
                sleeps = Sleeps(asyncio.get_running_loop())

                async def polled(count: int, sink: Sink, *, answers: bool) -> list[int]:
                    """After which of so many events the loop stayed awake until the reply, or for all turns."""
                    found: list[int] = []
                    for number in range(count):
                        sleeps.waits.clear()
                        receipt = await sink.deliver(EVENT)
                        assert receipt.confirmed is answers
                        if sum(wait == 0 for wait in sleeps.waits) >= TURNS or (
                            answers and all(wait == 0 for wait in sleeps.waits)
                        ):
                            found.append(number)
                    return found

                return await polled(22, hasty, answers=False), await polled(66, patient, answers=True)

    assert on_a_selector(main) == ([0, 4, 20], [62, 63, 64, 65])


def test_it_changes_no_receipt(run: Run) -> None:
    """One by one and as a batch, every event is confirmed once."""

    async def main() -> tuple[int, bool]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(busy_poll=TURNS))
            async with opened(sink):
                receipts = [await sink.deliver(EVENT) for _ in range(3)]
                receipts += await sink.deliver_many([EVENT] * 20)
                receipts += await asyncio.gather(*(sink.start(EVENT) for _ in range(20)))
                return len(peer.calls), all(receipt.confirmed for receipt in receipts)

    assert run(main) == (43, True)


def test_virtual_time_goes_on() -> None:
    """In the simulation, where time stands still during a turn, a silent peer still times out to the moment."""
    simulation = Simulation(seed=1, latency=0.001)

    async def serve() -> None:
        subscriber = Subscriber("0.0.0.0", 80)  # noqa: S104  # a simulated host

        @subscriber.default
        async def _silent(_method: str, _params: object) -> None:
            await asyncio.sleep(60)

        async with subscriber:
            await asyncio.get_running_loop().create_future()

    simulation.network.host("app", start=serve)

    async def main() -> tuple[Outcome, float]:
        sink = jsonrpc("app:80", timeout=0.2, options=ConnectionOptions(busy_poll=10_000))
        async with Group("one", sink) as group:
            await asyncio.sleep(1)
            receipt = await group.deliver(EVENT)
            return receipt.outcome, round(receipt.ended - receipt.began, 3)

    assert simulation.run(main()) == (Outcome.UNCONFIRMED, 0.2)
