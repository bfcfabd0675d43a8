"""Deadlines of attempts: one timer for all that come in order, on the real clock and on real sockets."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import socket

from failover import Event, Group, Outcome, Receipt, jsonrpc
from failover.net import deadlines
from failover.net.deadlines import Deadlines
from failover.sinks.jsonrpc import JsonRpcSink
from failover.subscriber import Subscriber

EVENT = Event("E_ACC_CDR")


def of(sink: JsonRpcSink) -> Deadlines:
    """An open sink's deadlines."""
    assert sink._deadlines is not None
    return sink._deadlines


def test_each_at_its_own_time() -> None:
    """Deadlines in and out of order, and mixed, are kept: none early, none late."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with Group("billing", f"jsonrpc:127.0.0.1:{silent.getsockname()[1]}") as group:
                loop = asyncio.get_running_loop()
                times = [0.03, 0.01, 0.05, 0.05, 0.02, 0.06, 0.04]

                async def deliver(seconds: float) -> tuple[Receipt, float]:
                    deadline = loop.time() + seconds
                    receipt = await group.deliver(EVENT, deadline=deadline)
                    return receipt, receipt.ended - deadline

                for receipt, late in await asyncio.gather(*map(deliver, times)):
                    assert receipt.outcome is Outcome.ABANDONED
                    assert "deadline came before" in receipt.reason
                    assert -0.001 < late < 0.02

    asyncio.run(main())


def test_ended_attempts_are_let_go() -> None:
    """What has ended is not kept behind what goes on, however many; and nothing is left when all have ended."""

    async def main() -> None:
        opened = asyncio.Event()
        subscriber = Subscriber(in_order=False)

        @subscriber.default
        async def answer(method: str, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
            if method == "E_SLOW":
                await opened.wait()

        async with subscriber:
            sink = jsonrpc(subscriber.socket, timeout=30)
            async with Group("billing", sink) as group:
                slow = asyncio.create_task(group.deliver(Event("E_SLOW"), within=20))
                most = 0
                for _ in range(40):
                    await asyncio.gather(*(group.deliver(EVENT, within=20) for _ in range(64)))
                    most = max(most, len(of(sink)))
                assert 64 < most <= deadlines.LEAST
                opened.set()
                assert (await slow).confirmed
                assert (await group.deliver(EVENT, within=20)).confirmed
                assert len(of(sink)) == 1
                timer = of(sink)._timer
            assert timer is not None
            assert timer.cancelled()

    asyncio.run(main())


def test_next_deadline_after_one_that_ended() -> None:
    """The timer of an attempt that was answered in time is carried on to the next that is not."""

    async def main() -> None:
        subscriber = Subscriber(in_order=False)

        @subscriber.default
        async def answer(method: str, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
            if method == "E_SLOW":
                await asyncio.get_running_loop().create_future()

        async with subscriber:
            async with Group("billing", subscriber.socket) as group:
                first, second = await asyncio.gather(
                    group.deliver(EVENT, within=0.03), group.deliver(Event("E_SLOW"), within=0.06)
                )
            assert first.confirmed
            assert second.outcome is Outcome.ABANDONED
            assert second.took >= 0.06 - 0.001
            await subscriber.aclose(within=0)

    asyncio.run(main())


def test_an_earlier_deadline_after_one_that_ended() -> None:
    """A deadline that comes before one whose attempt has ended is not kept waiting for it."""

    async def main() -> None:
        subscriber = Subscriber(in_order=False)

        @subscriber.default
        async def answer(method: str, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
            if method == "E_SLOW":
                await asyncio.get_running_loop().create_future()

        async with subscriber:
            async with Group("billing", subscriber.socket) as group:
                assert (await group.deliver(EVENT, within=0.5)).confirmed
                receipt = await group.deliver(Event("E_SLOW"), within=0.03)
            assert receipt.outcome is Outcome.ABANDONED
            assert receipt.took < 0.1
            await subscriber.aclose(within=0)

    asyncio.run(main())
