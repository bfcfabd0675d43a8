"""A loop with real sockets whose time a test moves: timeouts and expiries are exact, and nothing sleeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["ClockLoop", "move_clock", "run"]

_LIMIT = 20.0  # seconds of real time after which a test has hung


class ClockLoop(asyncio.SelectorEventLoop):
    """Its time stands still unless it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        """The time that was set."""
        return self.now


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on such a loop; what hangs is cancelled."""

    async def limited() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        guard = threading.Timer(_LIMIT, loop.call_soon_threadsafe, [task.cancel])
        guard.start()
        try:
            await body()
        finally:
            guard.cancel()
            guard.join()

    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(limited())


async def move_clock(seconds: float, step: float | None = None) -> None:
    """Let time pass, at once or in steps, and what is due then happen."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    for _ in range(1 if step is None else round(seconds / step)):
        loop.now += seconds if step is None else step
        for _ in range(8):
            await asyncio.sleep(0)
