"""Events of one call arrive in order, through resets and failover, over sockets on the simulated network."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

from tenacity import stop_after_attempt, wait_fixed

from failover import Event, Group, Receipt, jsonrpc
from failover.sim import Simulation, uniform
from failover.sink import Sink
from failover.strategies import Failover, Ordered, Retry
from failover.subscriber import Subscriber

CALLS = 4
EVENTS = 25


async def subscribe(seen: list[tuple[int, int]], seed: int) -> None:
    """Write down call and number of each event, and confirm it a little later."""
    chance = Random(seed)
    subscriber = Subscriber("0.0.0.0", 80)  # noqa: S104

    @subscriber.default
    async def _confirm(_method: str, params: Any) -> None:
        seen.append((params["callid"], params["n"]))
        await asyncio.sleep(chance.uniform(0, 0.01))

    async with subscriber:
        await asyncio.get_running_loop().create_future()


def deliver(seed: int, *, ordered: bool) -> tuple[list[tuple[int, int]], list[Receipt]]:
    """Deliver events of some calls while connections are reset again and again.

    Returns:
        What the two subscribers saw, in order, and the receipts.
    """
    simulation = Simulation(seed=seed, latency=uniform(0.001, 0.003))
    network = simulation.network
    seen: list[tuple[int, int]] = []
    for name in ("app1", "app2"):
        network.host(name, start=partial(subscribe, seen, seed))

    async def main() -> list[Receipt]:
        chance = Random(seed)
        loop = asyncio.get_running_loop()
        sites = Failover(*[jsonrpc(f"{name}:80", name=name, timeout=0.1) for name in ("app1", "app2")], quarantine=0.05)
        again = Retry(sites, stop=stop_after_attempt(5), wait=wait_fixed(0.02), share=4)
        tree: Sink = Ordered(again) if ordered else again
        async with Group("calls", tree) as group:
            tasks: list[asyncio.Task[Receipt]] = []
            for number in range(EVENTS):
                if number % 3 == 0:
                    loop.call_later(chance.uniform(0, 0.02), network.reset, chance.choice(("app1", "app2")))
                tasks += [
                    asyncio.create_task(group.deliver(Event("E_ACC_EVENT", {"callid": call, "n": number})))
                    for call in range(CALLS)
                ]
                await asyncio.sleep(chance.uniform(0, 0.01))
            return list(await asyncio.gather(*tasks))

    return seen, simulation.run(main())


def in_order(seen: list[tuple[int, int]]) -> bool:
    """Whether no event of a call came after a later one of it."""
    numbers = [[number for call, number in seen if call == one] for one in range(CALLS)]
    return all(before <= after for each in numbers for before, after in pairwise(each))


def test_order_through_resets() -> None:
    """With Ordered every call's events arrive in order although many fail over; without, they overtake each other."""
    moved = overtaken = 0
    for seed in range(20):
        seen, receipts = deliver(seed, ordered=True)
        assert in_order(seen)
        for call in range(CALLS):
            ended = [receipt.ended for receipt in receipts[call::CALLS] if receipt.confirmed]
            assert ended == sorted(ended)
        assert sum(receipt.confirmed for receipt in receipts) > 0.9 * len(receipts)
        moved += sum(len(receipt.attempts) > 1 for receipt in receipts)
        overtaken += not in_order(deliver(seed, ordered=False)[0])
    assert moved > 50
    assert overtaken > 10
