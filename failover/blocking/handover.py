"""From many threads to one loop: a queue with one wake-up, drained by tasks that are kept for the next event."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from failover.blocking.calls import CLOSED, GRACE, Call, Waited, answer, closed
from failover.blocking.ending import settle
from failover.blocking.process import this_process
from failover.errors import UsageError

if TYPE_CHECKING:
    from failover.group import Group

__all__ = ["KEPT", "OUTSTANDING", "HandOver"]

OUTSTANDING: Final = 16 * 1024
"""How many calls of one facade may be under way; one more is skipped at once, and says so."""

KEPT: Final = 1024
"""How many tasks wait for more to do."""
_FULL: Final = f"{OUTSTANDING} calls of this facade are under way already"

_T = TypeVar("_T")


class HandOver:
    """Delivers on the process's loop thread what any thread hands over.

    What waits in the queue is not delivered as one batch: each event has its own deadline, and its receipt as soon as
    there is one. What makes that cheap is that a task, once made, goes on from event to event.

    Args:
        group: What to open on the loop, and to deliver to.

    Raises:
        FailoverError: the group can't be opened.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._queue: deque[Call] = deque()
        self._awake = False  # whether the loop is going to drain the queue anyway
        self._closing = False
        self._closed = False
        self._skew = 0.0  # the loop's clock minus the threads', seconds
        self._idle: list[asyncio.Future[Call]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = Context()  # nobody's: a task serves many callers, and must not pass for the first of them
        self._thread = this_process().join(self)
        self._loop = self._thread.loop
        try:
            self._open()
        except BaseException:
            this_process().leave(self)
            raise

    def submit(self, call: Call) -> None:
        """Hand over a call; never waits."""
        self._queue.append(call)
        if self._closed:
            self._refuse()
        elif not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # closed in between
                self._refuse()

    def wait(self, call: Waited[_T], within: float) -> _T:
        """Hand over a call and wait for its result.

        Raises:
            UsageError: this is the loop's own thread, which would wait for itself.
        """
        self.refuse_here()
        self.submit(call)
        return call.wait(self._group.name, within)

    def ask(self, question: Callable[[], _T], within: float) -> _T:
        """Ask the group something, or tell it, on its loop; works on the loop's own thread too.

        Raises:
            ClosedError: it is closed.
            TimeoutError: the loop gave no answer in time: something keeps it busy.
        """
        return question() if self._thread.is_current else self._run(answer(question), within + GRACE)

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]], within: float) -> _T:
        """Do something on the group's loop that takes its time.

        Raises:
            ClosedError: it is closed.
            UsageError: this is the loop's own thread, which would wait for itself.
            TimeoutError: the loop gave no answer in time: something keeps it busy.
        """
        self.refuse_here()
        return self._run(work(), within + GRACE)

    def close(self) -> None:
        """Close the group; every call gets its receipt.

        Raises:
            UsageError: this is the loop's own thread, which would wait for itself.
        """
        self.refuse_here()
        try:
            self._run(self._end())
        finally:
            self._closed = True
            self._refuse()
            this_process().leave(self)

    def _open(self) -> None:
        opening: Future[None] | None = None
        try:
            opening = asyncio.run_coroutine_threadsafe(self._group.open(), self._loop)
            opening.result()
        except Exception:
            raise
        except BaseException:  # this thread was interrupted: the loop goes on unless it's told
            if opening is not None:
                opening.cancel()
            self._run(self._group.aclose(drain=0))
            raise

    def _run(self, work: Coroutine[Any, Any, _T], seconds: float | None = None) -> _T:
        """Run something on the loop that isn't done often."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # its loop is closed
            work.close()
            raise closed(self._group.name) from None
        try:
            return future.result(seconds)
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise TimeoutError(f"group {self._group.name!r}: something keeps its loop busy; no answer") from None

    def refuse_here(self) -> None:
        """Raise UsageError where this can't wait: on the loop's own thread."""
        if self._thread.is_current:
            raise UsageError(
                f"group {self._group.name!r}: this thread runs its loop and can't wait for it; only submit() works here"
            )

    def _drain(self) -> None:
        """Give every call that waits to a task."""
        self._awake = False  # before the first is taken: whoever comes later wakes the loop again
        self._skew = self._loop.time() - time.monotonic()
        if self._closing:
            self._refuse()
            return
        for _ in range(len(self._queue)):
            call = self._queue.popleft()
            if self._idle:
                self._idle.pop().set_result(call)
            elif len(self._tasks) >= OUTSTANDING:
                call.skip(self._group.name, _FULL)
            else:
                task = self._loop.create_task(self._work(call), context=self._context)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _work(self, call: Call) -> None:
        """Deliver one event after the other."""
        group = self._group
        queue = self._queue
        idle = self._idle
        while True:
            try:
                result = await call.begin(group, call.ends + self._skew)
            except asyncio.CancelledError:
                call.abandon(group.name, CLOSED)
                raise
            except Exception as error:  # noqa: BLE001  # it is the caller's
                call.fail(error)
            else:
                call.take(result)
            if self._closing or len(idle) >= KEPT:
                return
            if queue:
                call = queue.popleft()
            else:
                waiter: asyncio.Future[Call] = asyncio.Future(loop=self._loop)  # half the cost of create_future
                idle.append(waiter)
                call = await waiter

    async def _end(self) -> None:
        """Close the group on its loop: what was handed over before is still delivered, as its `drain` allows."""
        self._drain()
        self._closing = True
        try:
            for waiter in self._idle:
                waiter.cancel()
            await self._group.aclose()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=GRACE)
        finally:
            for task in self._tasks:  # a sink that doesn't give up what it was given
                task.cancel()
            await settle()

    def _refuse(self) -> None:
        """End what is in the queue: nobody will drain it any more."""
        while True:
            try:
                call = self._queue.popleft()
            except IndexError:
                return
            call.skip(self._group.name, CLOSED)
