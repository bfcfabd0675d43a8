"""One simulation: a seed, a network, a loop, and the run of a program on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import sys
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from failover.errors import ConfigError
from failover.sim.errors import SimulationError
from failover.sim.links import Latency
from failover.sim.loop import SimulatedLoop, bury, describe, process_of
from failover.sim.network import Network
from failover.sim.world import World

__all__ = ["SEED_VARIABLE", "Simulation", "current", "simulate"]

T = TypeVar("T")

SEED_VARIABLE: Final = "FAILOVER_SEED"
"""The environment variable that a simulation without a seed takes it from."""
EPOCH: Final = 1_767_225_600.0
"""The wall clock when a simulation begins: 2026-01-01 00:00:00 UTC."""


class Simulation:
    """A program, its network and its faults, in virtual time, the same each time for the same seed.

    Args:
        seed: Of everything random. None: from the environment variable FAILOVER_SEED, else a new one from the system.
        latency: Seconds one way between any two hosts, or a function that draws them.
        bandwidth: Bytes per second of each link; None for no bound.
        cut: Probability, 0 to 1, that a write arrives in more than one piece.
        loss: Probability, 0 to 1, that a datagram is lost.
        buffer: Bytes of a connection, each way, that may be written and not yet read.
        epoch: The wall clock at the start, in seconds since 1970.
        max_steps: Callbacks that may run in all; None for no bound.
        strict: Whether what the main coroutine leaves running or open on its host is an error.
        repeat: The command that repeats it, for the note on a failure; by default this process's own, with the seed.

    Attributes:
        seed: The seed in use.
        network: The network: make hosts, set links, add faults and observers.
        loop: The loop.
        leaks: After `run`: tasks, servers and transports that main left on its own host, a line each.

    Raises:
        ConfigError: a number out of its range, or a FAILOVER_SEED that is no integer.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        latency: Latency = 0.0005,
        bandwidth: float | None = None,
        cut: float = 0.0,
        loss: float = 0.0,
        buffer: int = 262_144,
        epoch: float = EPOCH,
        max_steps: int | None = None,
        strict: bool = False,
        repeat: str | None = None,
    ) -> None:
        self.seed = seed_from_environment() if seed is None else seed
        self.network = Network(self.seed, latency=latency, bandwidth=bandwidth, cut=cut, loss=loss, buffer=buffer)
        self.loop = SimulatedLoop(max_steps=max_steps)
        self.loop.network = self.network
        self.network.loop = self.loop
        self.leaks: tuple[str, ...] = ()
        self._epoch = epoch
        self._strict = strict
        self._repeat = repeat

    def run(self, main: Coroutine[Any, Any, T], *, host: str = "main") -> T:
        """Run a coroutine on a host until it returns, then end everything else, and close the loop.

        Args:
            main: What to run; when it is done, so is the simulation.
            host: The host that it runs on; made if there is none of that name.

        Returns:
            What `main` returned.

        Raises:
            DeadlockError: everyone waits and nothing is left that could wake anyone.
            SimulationError: the program reached for the real world, took too many steps, or (if strict) left something
                running; or this simulation has been run before.
            Exception: what `main` raised; as to all of these, a note is added with the seed and the command to repeat.
        """
        try:
            self._check()
            with World(self.loop, self.seed, self._epoch):
                return self._run(main, host)
        except BaseException as error:
            error.add_note(
                f"simulation with seed {self.seed}, at {self.loop.now:.6f} s of virtual time; to repeat it: "
                f"{self._repeat or command(self.seed)}"
            )
            raise
        finally:
            main.close()

    def _check(self) -> None:
        if self.loop.is_closed():
            raise SimulationError("this simulation has been run: make a new one, with the same seed if you like")
        policy = getattr(asyncio.events, "_event_loop_policy", None)
        if type(policy).__module__.partition(".")[0] == "uvloop":
            raise SimulationError(
                "uvloop is installed as the policy of event loops, and its loops wait for the real network: "
                "asyncio.set_event_loop_policy(None) before a simulation"
            )

    def _run(self, main: Coroutine[Any, Any, T], host: str) -> T:
        loop = self.loop
        home = self.network.host(host)
        task = home.spawn(main, name="main")
        try:
            result = loop.run_until_complete(task)
            self.leaks = self._left(home.name)
        finally:
            self._end()
        if self._strict and self.leaks:
            raise SimulationError(f"main has returned and left on {home.name}: {'; '.join(self.leaks)}")
        return result

    def _left(self, name: str) -> tuple[str, ...]:
        process = self.network.hosts[name].process
        tasks = [describe(task) for task in self.loop.tasks() if process_of(task) is process]
        ports = [f"{listener!r}" for listener in process.listeners.values()]
        open_ = [endpoint.transport for endpoint in process.endpoints if endpoint.transport is not None]
        streams = [f"{transport!r}" for transport in open_ if not transport.is_closing()]
        datagrams = [f"{transport!r}" for transport in process.datagrams.values() if not transport.is_closing()]
        return tuple(tasks + ports + streams + datagrams)

    def _end(self) -> None:
        """Cancel what still runs, let it clean up, and close the loop."""
        loop = self.loop
        left = [task for task in loop.tasks() if not dead(task)]
        try:
            for task in left:
                task.cancel("the simulation has ended")
            with contextlib.suppress(SimulationError):  # who ignores being cancelled is not waited for
                if left:
                    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            for task in left:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    report(task, task.exception())
            with contextlib.suppress(SimulationError):
                loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            for task in loop.tasks():
                try:
                    bury(task)
                except Exception as error:  # noqa: BLE001  its own clean-up failed: say so, and go on with the next
                    report(task, error)
            for host in self.network.hosts.values():
                process = host.process
                process.dead = True
                for endpoint in tuple(process.endpoints):
                    endpoint.vanish(reset=False)
                process.listeners.clear()
                for transport in tuple(process.datagrams.values()):
                    transport.vanish()
            loop.heap.clear()
            loop.close()


def dead(task: asyncio.Task[Any]) -> bool:
    """Whether a task belongs to a process that has crashed."""
    process = process_of(task)
    return process is not None and process.dead


def report(task: asyncio.Task[Any], error: BaseException | None) -> None:
    """Tell the loop of an exception that nobody waits for any more."""
    text = "unhandled exception at the end of a simulation"
    task.get_loop().call_exception_handler({"message": text, "exception": error, "task": task})


def simulate(main: Coroutine[Any, Any, T], *, seed: int | None = None, host: str = "main", **settings: Any) -> T:
    """Run one coroutine in a simulation of its own; it finds the network with `current()`.

    Args:
        main: What to run.
        seed: As of `Simulation`.
        host: The host that it runs on.
        settings: As of `Simulation`.

    Returns:
        What `main` returned.
    """
    return Simulation(seed, **settings).run(main, host=host)


def current() -> Network:
    """The network of the simulation that is running.

    Raises:
        SimulationError: none is.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        raise SimulationError(f"{type(loop).__name__} is running, not a simulation: run this by Simulation.run")
    return loop.network


def seed_from_environment() -> int:
    """The seed that FAILOVER_SEED says, or a new one.

    Raises:
        ConfigError: it is no integer.
    """
    text = os.environ.get(SEED_VARIABLE)
    if text is None:
        return secrets.randbits(32)
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{SEED_VARIABLE}={text!r}: expected an integer, as in {SEED_VARIABLE}=7") from None


def command(seed: int) -> str:
    """The command line that repeats this run."""
    test = os.environ.get("PYTEST_CURRENT_TEST")
    if test is not None:
        return f"{SEED_VARIABLE}={seed} python -m pytest {shlex.quote(test.rpartition(' ')[0])}"
    return f"{SEED_VARIABLE}={seed} {shlex.join(sys.orig_argv)}"
