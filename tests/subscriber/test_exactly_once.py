"""Sender and subscriber together: with ids each event is processed once although replies are lost, without ids not."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest
from tenacity import stop_after_attempt, wait_fixed

from failover.event import Event
from failover.group import Group
from failover.receipt import Receipt
from failover.sim import Simulation
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover, Retry
from failover.subscriber import Subscriber
from failover.testing import FaultProxy

ONCE = {"id_param": "event_id"}
SEEDS = range(40)


def counting(**settings: Any) -> tuple[Subscriber, Counter[int]]:
    """A subscriber that takes a while for each event, and how often it has processed which."""
    subscriber, processed = Subscriber(**settings), Counter[int]()

    @subscriber.method("E_ACC_CDR")
    async def process(params: dict[str, int]) -> None:
        await asyncio.sleep(params["work"] / 1000)
        processed[params["number"]] += 1

    assert callable(process)
    return subscriber, processed


@pytest.mark.parametrize(("settings", "times"), [({}, 2), (ONCE, 1)], ids=["without ids", "with ids"])
def test_a_lost_reply(settings: dict[str, Any], times: int) -> None:
    """Over real sockets: the first way loses each reply after the work was done, the second leads to the same place."""

    async def main() -> None:
        subscriber, processed = counting(**settings)
        async with (
            subscriber,
            FaultProxy(subscriber.socket) as first,
            FaultProxy(subscriber.socket) as second,
        ):
            first.limit(0, "down")
            ways = [
                jsonrpc(proxy.socket, name=name, **settings) for name, proxy in zip("ab", (first, second), strict=True)
            ]
            async with Group("cdr", Failover(*ways, quarantine=0)) as group:
                for number in range(5):
                    receipt = await group.deliver(Event("E_ACC_CDR", {"number": number, "work": 0}), within=5.0)
                    assert receipt.confirmed, receipt.explain()
                    assert receipt.possible_duplicates == 1
                    assert receipt.explain().endswith("possible duplicates: 1 (may have processed it: a, b)")
        assert processed == dict.fromkeys(range(5), times)

    asyncio.run(main())


async def _disturb(rng: Random, proxies: list[FaultProxy]) -> None:
    """Lose replies, cut connections and hold everything up, at random times, for ever."""
    while True:
        await asyncio.sleep(rng.expovariate(20))
        proxy = rng.choice(proxies)
        fault = rng.randrange(4)
        if fault == 0:
            proxy.limit(rng.randrange(200), "down")
        elif fault == 1:
            proxy.reset()
        elif fault == 2:
            proxy.hold("down")
        else:
            await proxy.repair()


def _play(seed: int, **settings: Any) -> tuple[list[Receipt], Counter[int], int]:
    """A minute of faults on both ways to one subscriber, on hosts of their own.

    Returns:
        The receipts, how often which event was processed, and how many repetitions the subscriber has known.
    """
    simulation = Simulation(seed, latency=0.001)
    rng = Random(seed)
    subscriber, processed = counting(host="0.0.0.0", port=8080, **settings)  # noqa: S104
    proxies = [FaultProxy("app:8080", host=name, port=8080, rng=rng) for name in ("way1", "way2")]

    async def serve() -> None:
        async with subscriber:
            await asyncio.get_running_loop().create_future()

    def passing(proxy: FaultProxy) -> Any:
        async def run() -> None:
            async with proxy:
                await asyncio.get_running_loop().create_future()

        return run

    simulation.network.host("app", start=serve)
    for name, proxy in zip(("way1", "way2"), proxies, strict=True):
        simulation.network.host(name, start=passing(proxy))

    async def main() -> list[Receipt]:
        ways = [jsonrpc(f"{name}:8080", name=name, timeout=0.1, **settings) for name in ("way1", "way2")]
        tree = Retry(Failover(*ways, quarantine=0.2), stop=stop_after_attempt(4), wait=wait_fixed(0.3))

        async def one(number: int) -> Receipt:
            await asyncio.sleep(number * 0.02)
            return await group.deliver(Event("E_ACC_CDR", {"number": number, "work": rng.choice((0, 1, 20, 150))}))

        async with Group("cdr", tree) as group, asyncio.TaskGroup() as tasks:
            disturbing = tasks.create_task(_disturb(rng, proxies))
            receipts = await asyncio.gather(*[one(number) for number in range(60)])
            disturbing.cancel()
        await asyncio.sleep(10)  # what was left of functions ends
        return receipts

    receipts = simulation.run(main())
    return receipts, processed, subscriber.status().repeats


@pytest.mark.slow
def test_with_ids_each_event_is_processed_once() -> None:
    """Over many seeds: what is confirmed was processed, nothing was processed twice, and there were repetitions."""
    repeats = 0
    for seed in SEEDS:
        receipts, processed, known = _play(seed, **ONCE)
        for number, receipt in enumerate(receipts):
            assert processed[number] == 1 if receipt.confirmed else processed[number] <= 1, (seed, receipt.explain())
        repeats += known
    assert repeats > len(SEEDS)


@pytest.mark.slow
def test_without_ids_there_are_duplicates() -> None:
    """The same faults without ids: receipts say where an event may have been processed twice, and some were."""
    twice = 0
    for seed in SEEDS:
        receipts, processed, _ = _play(seed)
        for number, receipt in enumerate(receipts):
            assert processed[number] <= receipt.possible_duplicates + 1, (seed, receipt.explain())
            twice += processed[number] > 1
    assert twice > len(SEEDS)
