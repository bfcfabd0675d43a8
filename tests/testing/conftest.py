"""One program on loopback and in a simulation, with equal outcomes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from failover.sim import Simulation

Program = Callable[[], Coroutine[Any, Any, Any]]
Run = Callable[[Program], Any]

LIMIT = 20.0  # seconds after which a program has hung


def _real(program: Program, factory: Callable[[], asyncio.AbstractEventLoop]) -> Any:
    faults: list[dict[str, Any]] = []

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        value = await asyncio.wait_for(program(), LIMIT)
        for _ in range(5):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return value

    with asyncio.Runner(loop_factory=factory) as runner:
        value = runner.run(main())
    gc.collect()
    assert not faults, f"errors in the loop: {faults}"
    return value


@pytest.fixture(params=["loopback", "uvloop", "simulation", "slow simulation"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a program on real sockets or on simulated ones; it must leave nothing behind."""
    if request.param == "loopback":
        return lambda program: _real(program, asyncio.SelectorEventLoop)
    if request.param == "uvloop":
        factory: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip("uvloop").new_event_loop
        return lambda program: _real(program, factory)

    def simulated(program: Program) -> Any:
        simulation = Simulation(1, strict=True)
        if request.param != "simulation":
            simulation.network.link("main", "main", latency=0.002, cut=0.7)
        return simulation.run(program())

    return simulated


async def until(happened: Callable[[], object]) -> None:
    """Let time pass until something has happened; a program that hangs is ended by `run`."""
    while not happened():  # noqa: ASYNC110  # what happens has no event to wait for
        await asyncio.sleep(0.001)
