"""The outer world inside a simulation: virtual clocks, seeded randomness, and everything as before afterwards."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from random import choice as bound_before
from typing import Any

import pytest

from failover.sim import Simulation, SimulationError, simulate


async def clocks() -> list[Any]:
    """What every clock says after an hour and a half."""
    await asyncio.sleep(5400.25)
    return [
        time.time(),
        time.time_ns(),
        time.monotonic(),
        time.monotonic_ns(),
        time.perf_counter(),
        time.perf_counter_ns(),
        tuple(time.gmtime())[:6],
        time.strftime("%Y-%m-%d", time.gmtime()),
        time.ctime() == time.asctime() == time.ctime(None),
        time.localtime() == time.localtime(time.time()),
        time.gmtime(0).tm_year,
        datetime.fromtimestamp(time.time(), UTC).isoformat(),
        round(logging.LogRecord("x", 10, "x", 1, "x", None, None).created, 3),
    ]


def test_clocks() -> None:
    """Every clock of `time` says virtual time, on the date that the simulation begins with."""
    assert simulate(clocks(), seed=1) == [
        1_767_230_400.25 + 600,
        1_767_231_000_250_000_000,
        5400.25,
        5_400_250_000_000,
        5400.25,
        5_400_250_000_000,
        (2026, 1, 1, 1, 30, 0),
        "2026-01-01",
        True,
        True,
        1970,
        "2026-01-01T01:30:00.250000+00:00",
        1_767_231_000.25,
    ]


def test_sleeping_is_refused() -> None:
    """`time.sleep` would stop every host, and says what to use instead."""

    async def main() -> None:
        time.sleep(1)  # noqa: ASYNC251

    with pytest.raises(SimulationError, match=r"time\.sleep\(1\) .* use await asyncio\.sleep\(\)"):
        simulate(main(), seed=1)


async def draws() -> list[Any]:
    """Random numbers from everywhere."""
    return [
        random.random(),
        random.randint(1, 100),
        bound_before(range(1000)),
        os.urandom(8),
        secrets.token_hex(8),
        uuid.uuid4(),
        random.SystemRandom().random(),
        random.Random().random(),
        random.Random(3).random(),
    ]


def test_randomness() -> None:
    """All of it comes from the seed; a generator with a seed of its own is left alone."""
    first, again, other = (simulate(draws(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert all(one != two for one, two in zip(first[2:-1], other[2:-1], strict=True))
    assert first[-1] == random.Random(3).random()


def everything() -> list[object]:
    """What a simulation replaces, and the state of what it can't replace."""
    return [
        *(
            getattr(time, name)
            for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep", "strftime", "ctime")
        ),
        os.urandom,
        random.Random.seed,
        vars(random)["_urandom"],
        random.getstate(),
        gc.isenabled(),
        gc.get_freeze_count(),
    ]


async def fails() -> None:
    """Draw, and raise."""
    random.random()
    raise KeyboardInterrupt


def test_all_is_restored() -> None:
    """After a simulation, also after one that fails, the world is what it was."""
    before = everything()
    simulate(draws(), seed=1)
    assert everything() == before
    with pytest.raises(KeyboardInterrupt):
        simulate(fails(), seed=1)
    assert everything() == before


def test_other_threads_see_the_real_world() -> None:
    """Clocks are virtual in the simulating thread alone."""

    async def main() -> list[float]:
        seen: list[float] = []
        thread = threading.Thread(target=lambda: seen.append(time.time() - time.monotonic() + time.perf_counter()))
        thread.start()
        thread.join()
        return seen

    real = time.time() - time.monotonic() + time.perf_counter()
    assert simulate(main(), seed=1) == pytest.approx([real], abs=60)


def test_one_simulation_at_a_time() -> None:
    """A second one, in another thread or inside the first, is refused."""
    refused: list[BaseException] = []

    def second() -> None:
        try:
            simulate(asyncio.sleep(0), seed=2)
        except SimulationError as error:
            refused.append(error)

    async def main() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        second()

    simulate(main(), seed=1)
    assert [str(error).partition(":")[0] for error in refused] == [
        "another simulation is running in this process, and the clocks that both replace are the process's"
    ] * 2
    simulate(asyncio.sleep(0), seed=2)


def test_garbage_is_collected_by_step() -> None:
    """Cycles are collected while a simulation runs, at the same steps in every run."""

    async def main(step: Callable[[], int]) -> list[int]:
        collected: list[int] = []

        class Cycle:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                collected.append(step())

        for _ in range(60_000):
            Cycle()
            await asyncio.sleep(0)
        return collected

    def run() -> list[int]:
        simulation = Simulation(seed=1)
        return simulation.run(main(lambda: simulation.loop.steps))

    first = run()
    assert len(first) > 30_000
    assert run()[:30_000] == first[:30_000]
