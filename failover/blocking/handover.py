"""From many threads to one loop: a queue with one wake-up, and events begun together that come out of it together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from failover.blocking.calls import CLOSED, GRACE, Call, Waited, answer, closed
from failover.blocking.ending import settle
from failover.blocking.process import this_process
from failover.blocking.together import Together
from failover.errors import UsageError
from failover.event import Event

if TYPE_CHECKING:
    from failover.group import Group

__all__ = ["FEW", "KEPT", "NEAR", "OUTSTANDING", "HandOver"]

OUTSTANDING: Final = 16 * 1024
"""How many calls of one facade may be under way; one more is skipped at once, and says so."""

KEPT: Final = 1024
"""How many tasks wait for more to do."""
_FULL: Final = f"{OUTSTANDING} calls of this facade are under way already"

NEAR: Final = 0.004
"""Seconds between deadlines that count as one: the last of them, as all timeouts are late rather than early."""

FEW: Final = 3
"""Calls that are worth beginning together; fewer are cheaper in tasks of their own."""

_T = TypeVar("_T")
_Given: TypeAlias = "tuple[Call, Awaitable[Any]]"


class HandOver:
    """Delivers on the process's loop thread what any thread hands over.

    What waits in the queue is not delivered as one batch: each event has its receipt as soon as there is one, whatever
    becomes of the others. What makes that cheap is that events are begun together and need no task while nothing
    unusual happens; and that a task, once made, goes on from event to event.

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
        self._idle: list[asyncio.Future[_Given]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._together: set[Together] = set()  # what has not ended of what was begun without a task
        self._under_way = 0
        self._context = Context()  # nobody's: what serves many callers must not pass for the first of them
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
                self._loop.call_soon_threadsafe(self._drain, context=self._context)
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
        """Begin every call that waits, in the order they came; events that are near each other together."""
        self._awake = False  # before the first is taken: whoever comes later wakes the loop again
        self._skew = self._loop.time() - time.monotonic()
        if self._closing:
            self._refuse()
            return
        calls = [self._queue.popleft() for _ in range(len(self._queue))]
        free = max(OUTSTANDING - self._under_way, 0)
        for call in calls[free:]:
            call.skip(self._group.name, _FULL)
        del calls[free:]
        runs = _runs(calls)
        for run in runs if len(runs) * FEW <= len(calls) else calls:
            if isinstance(run, dict):
                self._begin(run)
            else:
                self._give(run, run.begin(self._group, run.ends + self._skew))

    def _begin(self, calls: dict[Event, Call]) -> None:
        """Begin the events of some calls together."""
        deadline = max([call.ends for call in calls.values()]) + self._skew
        together = Together(calls, self._give, self._ended)
        self._together.add(together)
        self._under_way += len(calls)
        try:
            self._group.begin_many(list(calls), together, deadline=deadline)
        except Exception as error:  # noqa: BLE001  # it is the callers'
            for call in calls.values():
                call.fail(error)
            count = len(calls)
            calls.clear()
            self._ended(together, count)

    def _ended(self, together: Together, count: int) -> None:
        self._under_way -= count
        if not together.calls:
            self._together.discard(together)

    def _give(self, call: Call, begun: Awaitable[Any]) -> None:
        """Have a task wait for a call."""
        self._under_way += 1
        if self._idle:
            self._idle.pop().set_result((call, begun))
        else:
            task = self._loop.create_task(self._work(call, begun), context=self._context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, call: Call, begun: Awaitable[Any]) -> None:
        """Wait for one call after the other."""
        idle = self._idle
        while True:
            try:
                result = await begun
            except asyncio.CancelledError:
                call.abandon(self._group.name, CLOSED)
                raise
            except Exception as error:  # noqa: BLE001  # it is the caller's
                call.fail(error)
            else:
                call.take(result)
            self._under_way -= 1
            if self._closing or len(idle) >= KEPT:
                return
            waiter: asyncio.Future[_Given] = asyncio.Future(loop=self._loop)  # half the cost of create_future
            idle.append(waiter)
            call, begun = await waiter

    async def _end(self) -> None:
        """Close the group on its loop: what was handed over before is still delivered, as its `drain` allows."""
        self._context.run(self._drain)
        self._closing = True
        try:
            for waiter in self._idle:
                waiter.cancel()
            await self._group.aclose()
            await settle()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=GRACE)
        finally:
            for task in self._tasks:  # a sink that doesn't give up what it was given
                task.cancel()
            for together in self._together:
                for call in together.calls.values():
                    call.abandon(self._group.name, CLOSED)
            await settle()

    def _refuse(self) -> None:
        """End what is in the queue: nobody will drain it any more."""
        while True:
            try:
                call = self._queue.popleft()
            except IndexError:
                return
            call.skip(self._group.name, CLOSED)


def _runs(calls: Iterable[Call]) -> list[dict[Event, Call] | Call]:
    """The calls in the order they came; those in a row together whose events can be begun together."""
    runs: list[dict[Event, Call] | Call] = []
    together: dict[Event, Call] = {}
    first = 0.0
    for call in calls:
        event = call.event
        if event is None or type(event) is not Event:  # a batch, or one of which nobody knows what it does
            runs.append(call)
            together = {}
        elif together and event not in together and abs(call.ends - first) <= NEAR:
            together[event] = call
        else:
            first = call.ends
            together = {event: call}
            runs.append(together)
    return runs
