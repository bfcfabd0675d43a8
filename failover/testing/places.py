"""Where scripted subscribers and fault proxies of a test live: a thread's own loop on loopback, or a simulated host."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, Protocol, TypeVar

from failover.errors import UsageError
from failover.sim.hosts import PROCESS, Host

__all__ = ["LoopThread", "Place", "SimulatedPlace", "placed"]

T = TypeVar("T")

_GRACE: Final = 5.0  # seconds in which a loop's thread must have ended
_ANYWHERE: Final = frozenset({"until"})  # needs the loop, and no host


class Place(Protocol):
    """Where something lives whose methods are called from elsewhere."""

    one_loop: bool
    """Whether callers run on the same loop as what lives here."""

    def here(self) -> bool:
        """Whether the caller is there already."""
        ...

    def call(self, function: Callable[..., T], *args: Any, **settings: Any) -> T:
        """Call a plain function there, and wait for it."""
        ...

    async def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and wait for it on the caller's loop."""
        ...


class LoopThread:
    """An event loop in a thread of its own, begun when it is first needed: it serves while the test's thread waits."""

    one_loop = False

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether it runs."""
        return self._loop is not None

    def here(self) -> bool:
        """Whether the caller is its thread."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[..., T], *args: Any, **settings: Any) -> T:
        """Call a plain function there, and wait for it."""

        async def call() -> T:
            return function(*args, **settings)

        return self.wait(call())

    async def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and wait for it on the caller's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, self._begin()))

    def wait(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and wait for it in the caller's thread.

        Raises:
            UsageError: the caller is that thread, and would wait for itself.
        """
        if self.here():
            coro.close()
            raise UsageError("this thread runs the loop that would be waited for")
        return asyncio.run_coroutine_threadsafe(coro, self._begin()).result()

    def close(self) -> None:
        """Cancel what still runs there, and end the thread. Idempotent."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with contextlib.suppress(asyncio.CancelledError):
            self.wait(_cancel_all())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_GRACE)
        loop.close()
        self._loop = self._thread = None

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=loop.run_forever, name="failover-loopback", daemon=True)
            self._thread.start()
        return loop


async def _cancel_all() -> None:
    """Cancel all other tasks of the loop, and let them clean up."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


class SimulatedPlace:
    """A host of a simulation.

    Args:
        host: Which.
    """

    one_loop = True

    def __init__(self, host: Host) -> None:
        self._host = host
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """What lives here listens from now on."""
        self._begun.set()

    def here(self) -> bool:
        """Whether the caller is code of that host."""
        process = PROCESS.get()
        return process is not None and process.host is self._host

    def call(self, function: Callable[..., T], *args: Any, **settings: Any) -> T:
        """Call a plain function as code of the host."""
        return self._host.call(lambda: function(*args, **settings))

    async def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the host, once what lives there listens: a test may be quicker than its first turn."""
        try:
            await self._begun.wait()
        except BaseException:
            coro.close()
            raise
        return await self._host.run(coro)


def placed(kind: type[Any]) -> type[Any]:
    """The same class with public methods that run where the object lives, its attribute `place`, whoever calls them.

    Plain methods wait for their result in the caller's thread; coroutines can be awaited on any asyncio loop.
    """
    body: dict[str, Any] = {"__doc__": kind.__doc__}
    for name, function in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            body[name] = _there(name, function)
    return type(kind.__name__, (kind,), body)


def _there(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def run(self: Any, *args: Any, **settings: Any) -> Any:
            place: Place = self.place
            coro = function(self, *args, **settings)
            if place.here() or (place.one_loop and name in _ANYWHERE):
                return await coro
            return await place.run(coro)

        return run

    @wraps(function)
    def call(self: Any, *args: Any, **settings: Any) -> Any:
        place: Place = self.place
        if place.here():
            return function(self, *args, **settings)
        return place.call(function, self, *args, **settings)

    return call
