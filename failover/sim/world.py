"""The outer world while a simulation runs: virtual clocks, seeded randomness, no garbage collection by chance.

Inside `Simulation.run`, in its thread alone, these are the simulation's: `time.time`, `monotonic`, `perf_counter` and
their `_ns` forms; `localtime`, `gmtime`, `ctime`, `asctime`, `strftime` without a time given; `os.urandom` and all that
is built on it (`secrets`, `uuid.uuid4`, `random.SystemRandom`); the functions of `random`, however they were imported;
`random.Random()` without a seed. `time.sleep` is an error, it would stop every host, and so is the connecting and
binding of a `socket.socket`, and `socket.getaddrinfo`. All of it is undone at the end.

What can't be covered, so that a program that depends on it does not repeat itself:

* clocks read in C: `datetime.now()`, `utcnow()`, `today()` (use `datetime.fromtimestamp(time.time(), tz)`), the
  validity of certificates, `time.clock_gettime`, `process_time`, `thread_time`, `uuid.uuid1`;
* functions bound before the simulation began: `from time import time`, `from os import urandom`;
* randomness drawn in C: OpenSSL's, so bytes on the wire of TLS differ, and with ECDSA certificates their number by a
  few; generators that seed themselves, as NumPy's; `hash()` of strings (set PYTHONHASHSEED) and the order of sets;
* `id()`, default `hash()` and `repr()` of objects, and the order of sets of them, except tasks and transports;
* files, environment variables, other processes, sockets that were open before, C extensions with threads;
* other threads that draw from `random`'s functions meanwhile: they share one generator with the simulation.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from failover.sim.errors import SimulationError
from failover.sim.seeds import derive

if TYPE_CHECKING:
    from failover.sim.loop import SimulatedLoop

__all__ = ["World"]

INHERITED: Final = object()

_one_at_a_time: Final = threading.Lock()


_frozen: list[bool] = []


def _kept_frozen() -> bool:
    """Whether somebody else froze what was there, to stay so; counting takes long, so it is asked only until then."""
    if not _frozen and gc.get_freeze_count():
        _frozen.append(True)
    return bool(_frozen)


class World:
    """A context manager that puts the simulation's clocks and randomness in place of the real ones.

    Args:
        loop: Whose time it is.
        seed: What the randomness is drawn from.
        epoch: The wall clock at the start, in seconds since 1970.
    """

    def __init__(self, loop: SimulatedLoop, seed: int, epoch: float) -> None:
        self._loop = loop
        self._seed = seed
        self._epoch = epoch
        self._thread = threading.get_ident()
        self._saved: list[tuple[ModuleType | type, str, Any]] = []

    def __enter__(self) -> Self:
        if not _one_at_a_time.acquire(blocking=False):
            raise SimulationError(
                "another simulation is running in this process, and the clocks that both replace are the process's: "
                "run one after the other, or each in a process of its own (pytest -n)"
            )
        self._random_state = random.getstate()
        random.seed(derive(self._seed, "random").getrandbits(128))
        self._replace()
        # Automatic collections come at moments that depend on what the process did before; the loop's come by step.
        self._collects = gc.isenabled()
        self._thaws = not _kept_frozen()
        if self._collects:
            gc.disable()
            if self._thaws:
                gc.freeze()
        self._loop.collects = self._collects
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._collects:
            if self._thaws:
                gc.unfreeze()
            gc.enable()
        while self._saved:
            owner, name, original = self._saved.pop()
            if original is INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        random.setstate(self._random_state)
        _one_at_a_time.release()

    def _replace(self) -> None:
        loop, epoch = self._loop, self._epoch

        def wall() -> float:
            return epoch + loop.now

        def wall_ns() -> int:
            return round(epoch * 1e9) + round(loop.now * 1e9)

        def run_ns() -> int:
            return round(loop.now * 1e9)

        for name, clock in (("time", wall), ("monotonic", loop.time), ("perf_counter", loop.time)):
            self._put(time, name, clock)
        for name, clock_ns in (("time_ns", wall_ns), ("monotonic_ns", run_ns), ("perf_counter_ns", run_ns)):
            self._put(time, name, clock_ns)
        for name in ("localtime", "gmtime", "ctime"):
            self._put(time, name, now_unless_given(getattr(time, name), 0, wall))
        broken_down = time.localtime
        self._put(time, "asctime", now_unless_given(time.asctime, 0, broken_down))
        self._put(time, "strftime", now_unless_given(time.strftime, 1, broken_down))
        self._put(time, "sleep", no_sleep)
        for name in ("connect", "connect_ex", "bind"):
            self._put(socket.socket, name, no_socket)
        self._put(socket, "getaddrinfo", no_socket)
        octets = derive(self._seed, "urandom").randbytes
        self._put(os, "urandom", octets)
        self._put(random, "_urandom", octets)
        seeds = derive(self._seed, "unseeded")
        seed = random.Random.seed

        def seeded(generator: random.Random, a: Any = None, version: int = 2) -> None:
            seed(generator, seeds.getrandbits(128) if a is None else a, version)

        self._put(random.Random, "seed", seeded)

    def _put(self, owner: ModuleType | type, name: str, replacement: Callable[..., Any]) -> None:
        """Replace a function, for this thread alone."""
        original = getattr(owner, name)
        thread, ident = self._thread, threading.get_ident

        def here(*arguments: Any, **options: Any) -> Any:
            if ident() == thread:
                return replacement(*arguments, **options)
            return original(*arguments, **options)

        here.__name__ = name
        self._saved.append((owner, name, original if name in vars(owner) else INHERITED))
        setattr(owner, name, here)


def now_unless_given(function: Callable[..., Any], position: int, now: Callable[[], Any]) -> Callable[..., Any]:
    """A function of `time` that reads the clock if its argument at a position is missing, or None."""

    def call(*arguments: Any) -> Any:
        given = arguments[position] if len(arguments) > position else None
        return function(*arguments[:position], now() if given is None else given)

    return call


def no_socket(*arguments: object, **_: object) -> None:
    """What connecting or binding a real socket does inside a simulation.

    Raises:
        SimulationError: always.
    """
    shown = ", ".join(str(argument) for argument in arguments if not isinstance(argument, socket.socket))
    raise SimulationError(
        f"a real socket ({shown}) inside a simulation: use the running loop's create_connection, create_server, "
        "create_datagram_endpoint or getaddrinfo, which go over the simulated network"
    )


def no_sleep(seconds: float) -> None:
    """What `time.sleep` does inside a simulation.

    Raises:
        SimulationError: always.
    """
    raise SimulationError(
        f"time.sleep({seconds!r}) inside a simulation would stop every host at once: use await asyncio.sleep()"
    )
