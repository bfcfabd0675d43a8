"""An asyncio event loop whose time is virtual: it jumps to the next timer as soon as nothing is left to do.

Callbacks run in turns as on asyncio's own loops: timers that are due join the queue, everything in the queue at the
start of the turn runs, what is added meanwhile waits for the next turn. Timers of one instant fire in the order in
which they were set (asyncio's heap promises none). Tasks hash by their number, not by their address, so that the sets
in which `TaskGroup`, `wait` and `as_completed` keep them have the same order in every process.
"""

# ruff: noqa: SLF001  a loop runs handles and sets up tasks, which is what their underscored parts are for
# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import heapq
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, TypeVarTuple, Unpack

from failover.sim.errors import DeadlockError, SimulationError
from failover.sim.hosts import PROCESS, Process
from failover.sim.opening import Opening
from failover.sim.refusals import Refusals
from failover.sim.timers import Call

if TYPE_CHECKING:
    from failover.sim.network import Network

__all__ = ["Item", "SimulatedLoop", "SimulatedTask", "bury", "describe", "process_of"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

INSTANT_LIMIT: Final = 1_000_000
"""Callbacks that may run without time moving on; a program that spins with `sleep(0)` would never end."""
STEPS_TO_CLEAN_UP: Final = 100_000
"""Callbacks beyond `max_steps` for what tasks do when they are cancelled."""
INSPECT_EVERY: Final = 4_000
"""Callbacks between two looks at bounds that are not worth a look per callback."""
COLLECT_EVERY: Final = 20_000
"""Callbacks between two collections of garbage; automatic ones would come at moments that differ between runs."""


class Item(Protocol):
    """What the loop runs: an `asyncio.Handle`, or a part of the network that wants no context and no cancellation."""

    _cancelled: bool

    def _run(self) -> None: ...


class Ready(asyncio.Handle):
    """A handle made without the look at the loop's debug flag, which costs as much as all the rest of it."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        loop: SimulatedLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = arguments
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class Timer(asyncio.TimerHandle):
    """The same for a timer."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        loop: SimulatedLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = arguments
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True


class SimulatedTask(asyncio.Task[T]):
    """A task that knows its number and its process."""

    def __init__(self, coro: Any, *, number: int, process: Process | None, **options: Any) -> None:
        self.number = number
        self.process = process
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class SimulatedLoop(Opening, Refusals, asyncio.BaseEventLoop):  # type: ignore[misc]  # the parts stand before the base
    """The loop that a simulation runs on; made by `Simulation`, seldom by hand.

    Args:
        max_steps: Callbacks that it may run in all; None for no bound.
    """

    simulated: Final = True
    network: Network

    _closed: bool
    _check_closed: Callable[[], None]
    _ready: deque[Item]
    _stopping: bool

    def __init__(self, *, max_steps: int | None = None) -> None:
        super().__init__()
        self.now = 0.0
        self.heap: list[tuple[float, int, Item]] = []
        self.sequence = itertools.count(1).__next__
        self.steps = 0
        self._max_steps = max_steps
        self._tasks_made = 0
        self._cancelled_timers = 0
        self._owner = threading.get_ident()
        self._failure: BaseException | None = None
        self.collects = False
        self._next_collection = COLLECT_EVERY
        self._moved = (-1.0, 0)  # when time was last seen to move on, and at which step

    def __del__(self) -> None:
        """Nothing to release, so none that is dropped unclosed is worth a warning."""

    def time(self) -> float:
        """Virtual seconds since the simulation began."""
        return self.now

    # -- queueing ------------------------------------------------------------------------------------------------

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """As asyncio's."""
        if self._closed:
            self._check_closed()
        handle = Ready(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, in virtual seconds."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, in virtual seconds; timers of one instant fire in the order of the calls."""
        if self._closed:
            self._check_closed()
        timer = Timer(when, callback, args, self, context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None and process.dead:
            timer._scheduled = False
            timer.cancel()
        else:
            heapq.heappush(self.heap, (when, self.sequence(), timer))
        return timer

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """As `call_soon` from the simulating thread; from any other it is an error here and ends the simulation."""
        if threading.get_ident() != self._owner:
            error = SimulationError(
                f"call_soon_threadsafe({callback!r}) from the thread {threading.current_thread().name!r}: when a real "
                "thread gets there is not the same in two runs; let a task of the simulation do what the thread does"
            )
            self.fail(error)
            raise error
        return self.call_soon(callback, *args, context=context)

    def fail(self, error: BaseException) -> None:
        """End the run with an exception, after the turn that runs; the first one counts."""
        self._failure = self._failure or error
        self._stopping = True

    def defer(self, when: float, item: Item) -> None:
        """Run an item of the network at a time, without a handle around it."""
        heapq.heappush(self.heap, (when, self.sequence(), item))

    def soon(self, item: Item) -> None:
        """Run an item of the network in the next turn, without a handle around it."""
        self._ready.append(item)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """As asyncio's; tasks without a name are numbered by this loop, not by the interpreter."""
        if self._closed:
            self._check_closed()
        self._tasks_made = number = self._tasks_made + 1
        title = f"Task-{number}" if name is None else str(name)
        if self.get_task_factory() is not None:
            return super().create_task(coro, name=title, context=context, **options)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        return SimulatedTask(coro, number=number, process=process, loop=self, name=title, context=context, **options)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As asyncio's, but for what 3.11's stream server reports of every connection that is open at the end."""
        if not isinstance(context.get("exception"), asyncio.CancelledError):
            super().default_exception_handler(context)

    # -- running -------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """Run turns until the loop is told to stop: asyncio's `run_forever` calls this in a loop of its own."""
        ready, heap = self._ready, self.heap
        popleft, append, heappop = ready.popleft, ready.append, heapq.heappop
        inspection = self._inspect()
        while True:
            if not ready and not self._stopping:
                if heap and not heap[0][2]._cancelled:
                    self.now = max(self.now, heap[0][0])
                else:
                    self._jump()
            now = self.now
            while heap and heap[0][0] <= now:
                append(heappop(heap)[2])
            turn = len(ready)
            for _ in range(turn):
                item = popleft()
                if not item._cancelled:
                    item._run()
            self.steps = steps = self.steps + turn
            if steps >= inspection:
                inspection = self._inspect()
            if self._stopping:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                return

    def _jump(self) -> None:
        """Nothing is ready: go on to the time of the next timer, past those that were cancelled."""
        heap = self.heap
        while heap and heap[0][2]._cancelled:
            self._discard(heapq.heappop(heap)[2])
        if not heap:
            raise DeadlockError(
                f"at {self.now:.9f} s everyone waits and no timer, segment or callback is left to wake anyone; "
                f"waiting tasks:{self._waiting()}"
            )
        self.now = max(self.now, heap[0][0])

    def _inspect(self) -> int:
        """See every few thousand steps that this gets anywhere.

        Returns:
            The step at which to look again.
        """
        steps = self.steps
        if self._max_steps is not None and steps > self._max_steps:
            allowed, self._max_steps = self._max_steps, steps + STEPS_TO_CLEAN_UP
            raise SimulationError(
                f"the simulation took {steps} steps in {self.now:.9f} s of virtual time, max_steps={allowed}: "
                f"give it more, or end it sooner; running tasks:{self._waiting()}"
            )
        if self.now > self._moved[0]:
            self._moved = self.now, steps
        elif steps - self._moved[1] > INSTANT_LIMIT:
            stuck, self._moved = steps - self._moved[1], (self.now, steps)
            raise SimulationError(
                f"{stuck} callbacks ran at {self.now:.9f} s and time did not move on: something polls without waiting "
                f"(asyncio.sleep(0) in a loop?); running tasks:{self._waiting()}"
            )
        if self.collects and steps >= self._next_collection:
            self._next_collection = steps + COLLECT_EVERY
            gc.collect(1)
        return steps + INSPECT_EVERY if self._max_steps is None else min(steps + INSPECT_EVERY, self._max_steps + 1)

    def _discard(self, item: Item) -> None:
        if isinstance(item, Timer):
            item._scheduled = False
            self._cancelled_timers -= 1

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a timer's `cancel`: when most of the heap is cancelled timers, drop them."""
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._cancelled_timers += 1
        if self._cancelled_timers > 100 and self._cancelled_timers * 2 > len(self.heap):  # noqa: PLR2004
            self.heap[:] = [entry for entry in self.heap if not entry[2]._cancelled]
            heapq.heapify(self.heap)
            self._cancelled_timers = 0

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended, oldest first."""
        return sorted(asyncio.all_tasks(self), key=hash)

    def _waiting(self) -> str:
        return "".join(f"\n  {line}" for line in map(describe, self.tasks())) or " none"

    def end(self, process: Process) -> None:
        """Cancel every task of a process that died, and every timer that its code has set."""
        for task in self._tasks_of(process):
            task.cancel(f"{process.host.name} crashed")
        for _, _, item in self.heap.copy():
            if isinstance(item, Timer) and item._context.get(PROCESS) is process:
                item.cancel()
        # Whoever awaits in `finally` gets as far as this instant, since no timer and no socket will wake it again.
        self.defer(math.nextafter(self.now, math.inf), Call(self._bury, process))

    def _bury(self, process: Process) -> None:
        """End the tasks of a dead process that still wait: nothing will come, and nobody shall hear of them."""
        for task in self._tasks_of(process):
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            with contextlib.suppress(Exception):
                bury(task)
            task.cancel()

    def _tasks_of(self, process: Process) -> list[asyncio.Task[Any]]:
        return [task for task in self.tasks() if process_of(task) is process]


def bury(task: asyncio.Task[Any]) -> None:
    """Close the coroutine of a task that will never run again.

    Raises:
        Exception: what its own clean-up raised.
    """
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro: Any = task.get_coro()  # None once an eager task has ended
    if coro is not None:
        coro.close()


def process_of(task: asyncio.Task[Any]) -> Process | None:
    """The process that a task belongs to; the tasks of a user's own factory tell it from 3.12 on."""
    if isinstance(task, SimulatedTask):
        return task.process
    get_context: Callable[[], contextvars.Context] | None = getattr(task, "get_context", None)
    context = get_context() if get_context is not None else None
    return None if context is None else context.get(PROCESS)


def describe(task: asyncio.Task[Any]) -> str:
    """A task in one line: its name, host, and the line where it waits."""
    process = process_of(task)
    host = f" on {process.host.name}" if process else ""
    where = next((f", {frame.f_code.co_filename}:{frame.f_lineno}" for frame in reversed(task.get_stack())), "")
    return f"{task.get_name()}{host}: {frames(task)}{where}"


def frames(task: asyncio.Task[Any]) -> str:
    """The chain of coroutines that a task waits in, outermost first."""

    def names() -> Iterator[str]:
        coro: Any = task.get_coro()
        while coro is not None and hasattr(coro, "cr_await"):
            yield coro.__qualname__
            coro = coro.cr_await

    return " > ".join(names()) or "ended"
