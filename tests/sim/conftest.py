"""What the tests of the simulation share: running one program on the kernel's network and on the simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from failover.sim import Simulation, log_normal
from tests.sim.programs import KEPT, serve

Program = Callable[[], Coroutine[Any, Any, Any]]
Same = Callable[[Program], Any]

# Loopback as it is, a slow and jittery network, and one that cuts writes wherever it likes: no outcome depends on it.
NETWORKS: list[dict[str, Any]] = [
    {},
    {"latency": 0.02},
    {"latency": log_normal(0.01), "cut": 0.7},
    {"latency": log_normal(0.01), "cut": 1.0, "bandwidth": 2_000_000.0},
]


@pytest.fixture
def same() -> Same:
    """Run a program on the real loopback and on simulated ones, and show that its outcome is the same on all."""

    def run(program: Program) -> Any:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            real = runner.run(asyncio.wait_for(program(), 10))
        for seed, settings in enumerate(NETWORKS):
            simulation = Simulation(seed=seed)
            simulation.network.link("main", "main", **settings)
            simulated = simulation.run(program())
            assert simulated == real, f"on {settings}"
        return real

    return run


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """A simulation with an echo server on app1:80, 10 ms away."""
    made = Simulation(seed=3, latency=0.01)
    made.network.host("app1", start=serve)
    yield made
    KEPT.clear()
