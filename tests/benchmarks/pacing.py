"""A fixed rate on an asyncio loop, as punctual as the C client's: the loop's own timers are a millisecond coarse."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["paced"]

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


async def paced(rate: float, start: Callable[[int], object], going: Callable[[], bool]) -> None:
    """Call ``start`` for each event when it is due, until ``going`` says no.

    Args:
        rate: Events per second, more than 1.
        start: Takes the moment the event was due (``time.perf_counter_ns``) and begins it without waiting; after a
            stall it is called for every event missed, so that their latency counts.
        going: Asked at every tick.

    Raises:
        OSError: the kernel has no such timer.

    Source: timerfd_create(2).
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    timer = _timer(round(1e9 / rate))
    began = time.perf_counter_ns()
    count = 0

    def tick() -> None:
        nonlocal count
        with suppress(BlockingIOError):
            os.read(timer, 8)
        if not going():
            loop.remove_reader(timer)
            done.set_result(None)
            return
        now = time.perf_counter_ns()
        while (due := began + int(count * 1e9 / rate)) <= now:
            count += 1
            start(due)

    loop.add_reader(timer, tick)
    try:
        await done
    finally:
        loop.remove_reader(timer)
        os.close(timer)


def _timer(interval_ns: int) -> int:
    """A timer of the kernel's that is readable every ``interval_ns``; Python has it itself from 3.13 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
    times = (ctypes.c_long * 4)(0, interval_ns, 0, 1)
    if timer < 0 or libc.timerfd_settime(timer, 0, times, None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd: no timer from the kernel")
    return timer
