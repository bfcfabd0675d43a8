"""A simulation: its seed and how to repeat it, its end and what is left at it, and what it can't run with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.sim import SEED_VARIABLE, Simulation, SimulationError, simulate


async def fails() -> None:
    """Raise, two seconds in."""
    await asyncio.sleep(2)
    raise LookupError("not there")


def test_a_failure_says_how_to_repeat_it() -> None:
    """The exception is the program's own, with a note of the seed, the time and the command."""
    with pytest.raises(LookupError) as caught:
        simulate(fails(), seed=42)
    (note,) = caught.value.__notes__
    assert note.startswith("simulation with seed 42, at 2.000000 s of virtual time; to repeat it: FAILOVER_SEED=42 ")
    assert note.endswith("python -m pytest tests/sim/test_simulation.py::test_a_failure_says_how_to_repeat_it")


def test_a_failure_outside_of_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest the command is this process's own."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr("sys.orig_argv", ["python", "my drill.py", "-v"])
    with pytest.raises(LookupError) as caught:
        simulate(fails(), seed=42)
    assert caught.value.__notes__[0].endswith("to repeat it: FAILOVER_SEED=42 python 'my drill.py' -v")


def test_where_the_seed_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that is given counts, then the environment's, then a new one each time."""
    monkeypatch.setenv(SEED_VARIABLE, "17")
    assert Simulation().seed == 17
    assert Simulation(seed=3).seed == 3
    monkeypatch.setenv(SEED_VARIABLE, "seven")
    with pytest.raises(ConfigError, match="FAILOVER_SEED='seven': expected an integer, as in FAILOVER_SEED=7"):
        Simulation()
    monkeypatch.delenv(SEED_VARIABLE)
    assert Simulation().seed != Simulation().seed


def test_a_simulation_runs_once() -> None:
    """A second run is refused, and its coroutine closed."""
    simulation = Simulation(seed=1)
    simulation.run(asyncio.sleep(0))
    assert simulation.loop.is_closed()
    with pytest.raises(SimulationError, match="has been run: make a new one"):
        simulation.run(asyncio.sleep(0))


async def leaves() -> str:
    """Leave a task, a server, two ends of a connection and a datagram endpoint behind."""
    loop = asyncio.get_running_loop()
    KEPT.append(asyncio.create_task(asyncio.sleep(100), name="forgotten"))
    server = await loop.create_server(asyncio.Protocol, "localhost", 80)
    KEPT.append(await loop.create_connection(asyncio.Protocol, "localhost", 80))
    KEPT.append(await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("localhost", 90)))
    await asyncio.sleep(1)
    return str(server.is_serving())


KEPT: list[Any] = []


def test_what_main_leaves() -> None:
    """Tasks, servers and connections that main left on its host are listed; strict makes it an error."""
    simulation = Simulation(seed=1)
    assert simulation.run(leaves()) == "True"
    assert len(simulation.leaks) == 5
    assert simulation.leaks[0].startswith("forgotten on main: sleep, ")
    assert simulation.leaks[1:] == (
        "<Listener SOCK_STREAM ('127.0.0.1', 80) None>",
        "<StreamTransport ('127.0.0.1', 32768) > ('127.0.0.1', 80) open buffered=0>",
        "<StreamTransport ('127.0.0.1', 80) > ('127.0.0.1', 32768) open buffered=0>",
        "<DatagramTransport ('127.0.0.1', 90) > None open>",
    )
    with pytest.raises(SimulationError, match="main has returned and left on main: forgotten on main: sleep, "):
        Simulation(seed=1, strict=True).run(leaves())
    clean = Simulation(seed=1, strict=True)
    clean.run(asyncio.sleep(1))
    assert clean.leaks == ()


def test_the_end_lets_tasks_clean_up() -> None:
    """What still runs is cancelled in order and may await in `finally`; generators are closed; time goes on."""
    lines: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(5)
            lines.append(f"{name} at {asyncio.get_running_loop().time()}")

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            lines.append("generator")

    async def main() -> None:
        simulation.network.host("app1").spawn(work("app1"))
        KEPT.extend(asyncio.create_task(work(name)) for name in ("first", "second"))
        KEPT.append(numbers())
        await anext(KEPT[-1])
        await asyncio.sleep(1)

    simulation = Simulation(seed=1)
    simulation.run(main())
    assert lines == ["app1 at 6.0", "first at 6.0", "second at 6.0", "generator"]


def test_the_end_does_not_wait_for_who_ignores_it(caplog: pytest.LogCaptureFixture) -> None:
    """A task that will not be cancelled is closed; an error of its clean-up is reported and stops nothing."""
    lines: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                lines.append("no")
            finally:
                lines.append("closed")

    async def clumsy() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError("slipped")

    async def main() -> None:
        KEPT.extend(asyncio.create_task(coro) for coro in (stubborn(), clumsy()))
        await asyncio.sleep(1)

    with caplog.at_level(logging.ERROR, "asyncio"):
        simulate(main(), seed=1)
    assert lines == ["no", "closed", "closed"]
    assert [record.getMessage().partition("\n")[0] for record in caplog.records] == [
        "unhandled exception at the end of a simulation"
    ]


def test_a_failure_before_the_end_is_the_one_that_counts() -> None:
    """What main raised comes out, although others have to be cleaned up after it."""

    async def main() -> None:
        KEPT.append(asyncio.create_task(asyncio.sleep(1000)))
        await fails()

    with pytest.raises(LookupError, match="not there"):
        simulate(main(), seed=1)


def test_uvloop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With uvloop's policy installed a simulation does not begin."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is an extra")
    monkeypatch.setattr(asyncio.events, "_event_loop_policy", uvloop.EventLoopPolicy())
    with pytest.raises(SimulationError, match=r"uvloop is installed .*\.set_event_loop_policy\(None\)"):
        simulate(asyncio.sleep(0), seed=1)
