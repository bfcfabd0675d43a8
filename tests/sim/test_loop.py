"""The loop: virtual time, its order, its ends, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from failover.sim import DeadlockError, Simulation, SimulationError, current, simulate


def test_time_is_virtual() -> None:
    """A day passes in no time at all, to the exact second."""

    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    began = time.perf_counter()
    assert simulate(main(), seed=1) == 86_400
    assert time.perf_counter() - began < 5


def test_timers_of_one_instant_are_in_order() -> None:
    """A thousand timers of one time fire in the order in which they were set, with others set and cancelled between."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        order: list[int] = []
        for number in range(1000):
            loop.call_at(1.0, order.append, number)
            loop.call_at(0.5, order.append, -1).cancel()
        await asyncio.sleep(2)
        return order

    assert simulate(main(), seed=1) == list(range(1000))


def test_cancelled_timers_are_dropped() -> None:
    """Timers that are set and cancelled by the thousand leave nothing in the heap."""
    simulation = Simulation(seed=1)

    async def main() -> int:
        for _ in range(5000):
            async with asyncio.timeout(1000):
                await asyncio.sleep(0)
        return len(simulation.loop.heap)

    assert simulation.run(main()) < 200


def test_a_deadlock_is_an_error() -> None:
    """When everyone waits and nothing can come, the error lists who waits, where, and how to repeat it."""

    async def waits_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def deeper(task: asyncio.Task[None]) -> None:
        await task

    async def main() -> None:
        task = asyncio.create_task(waits_for_ever(), name="the other")
        await asyncio.sleep(3)
        await deeper(task)

    with pytest.raises(DeadlockError) as caught:
        simulate(main(), seed=7, repeat="make it")
    text = str(caught.value)
    assert "at 3.000000000 s everyone waits" in text
    assert re.search(r"\n  main on main: .*main > .*deeper, .*test_loop\.py:\d+", text)
    assert re.search(r"\n  the other on main: .*waits_for_ever, .*test_loop\.py:\d+", text)
    assert caught.value.__notes__ == [
        "simulation with seed 7, at 3.000000 s of virtual time; to repeat it: make it",
    ]


def test_spinning_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that polls without waiting is stopped: virtual time would never move on."""
    monkeypatch.setattr("failover.sim.loop.INSTANT_LIMIT", 10_000)

    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(SimulationError, match=r"time did not move on: something polls without waiting"):
        simulate(main(), seed=1)


def test_steps_can_be_bounded() -> None:
    """`max_steps` ends a simulation that takes more."""

    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(1)

    with pytest.raises(SimulationError, match=r"took 10\d steps in \d+\.0+ s .* max_steps=100: give it more"):
        simulate(main(), seed=1, max_steps=100)


async def in_thread() -> None:
    """Work in another thread."""
    await asyncio.to_thread(print)


REFUSED: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "run_in_executor": in_thread,
    "subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
    "subprocess_shell": lambda: asyncio.create_subprocess_shell("true"),
    "create_unix_connection": lambda: asyncio.open_unix_connection("/nowhere"),
    "create_unix_server": lambda: asyncio.start_unix_server(lambda _r, _w: None, "/nowhere"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_the_real_world_is_refused(name: str) -> None:
    """What asyncio would do in the real world is an error that names the call and says what to do instead."""
    with pytest.raises(SimulationError, match=rf"loop\.{name}\(\) inside a simulation: .*: .*"):
        simulate(REFUSED[name](), seed=1)


def test_real_sockets_are_refused() -> None:
    """A real socket can't be used, neither through the loop nor past it."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        refused = 0
        with socket.socket() as real:
            attempts: list[Callable[[], Any]] = [
                lambda: loop.create_connection(asyncio.Protocol, sock=real),
                lambda: loop.create_server(asyncio.Protocol, sock=real),
                lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=real),
                lambda: loop.sock_connect(real, ("127.0.0.1", 1)),
                lambda: loop.sock_recv(real, 1),
                lambda: loop.add_reader(real, print),
                lambda: loop.add_signal_handler(1, print),
                lambda: real.connect(("127.0.0.1", 1)),
                lambda: real.bind(("127.0.0.1", 0)),
                lambda: socket.getaddrinfo("localhost", 1),
                lambda: socket.create_connection(("localhost", 1)),
            ]
            for attempt in attempts:
                with contextlib.suppress(SimulationError):
                    given = attempt()
                    await given
                    continue
                refused += 1
            assert real.getsockname() == ("0.0.0.0", 0)  # noqa: S104
        return refused - len(attempts)

    assert simulate(main(), seed=1) == 0
    assert "connect" not in vars(socket.socket)


def test_a_foreign_thread_is_refused() -> None:
    """A thread that calls into the loop gets the error, and so does the simulation."""
    told: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def intrude() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except SimulationError as error:
                told.append(error)

        thread = threading.Thread(target=intrude, name="intruder")
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(lambda: None)  # from its own thread: as call_soon
        await asyncio.sleep(1)

    with pytest.raises(SimulationError, match="from the thread 'intruder'") as caught:
        simulate(main(), seed=1)
    assert told == [caught.value]


def test_tasks_have_an_order_and_names_of_their_own() -> None:
    """Sets of tasks iterate, and unnamed tasks are numbered, alike in every run of one process."""

    async def main() -> tuple[list[str], list[str]]:
        ended: list[str] = []

        async def wait(name: str) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(name)

        tasks = [asyncio.create_task(wait(str(number))) for number in range(50)]
        done, pending = await asyncio.wait(tasks, timeout=1)
        assert not done
        order = [task.get_name() for task in pending]
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for number in range(50, 100):
                    group.create_task(wait(str(number)))
                await asyncio.sleep(1)
                raise ValueError("cancel them all")
        return order, ended

    first = simulate(main(), seed=1)
    assert simulate(main(), seed=1) == first
    assert first[0][0] == "Task-2"
    assert first[1][:50] == [str(number) for number in range(50, 100)]


def test_current_needs_a_simulation() -> None:
    """`current` gives the network of the simulation that runs, and says so where none does."""

    async def inside() -> bool:
        return current() is asyncio.get_running_loop().network  # type: ignore[attr-defined]

    async def outside() -> None:
        current()

    assert simulate(inside(), seed=1)
    with pytest.raises(SimulationError, match="EventLoop is running, not a simulation"):
        asyncio.run(outside())
