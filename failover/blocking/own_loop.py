"""A loop that the caller's own thread drives during a call; between the calls nothing runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from failover.blocking.calls import CLOSED, GRACE, Waited, answer, closed
from failover.blocking.ending import end
from failover.errors import UsageError

if TYPE_CHECKING:
    from failover.group import Group

__all__ = ["OwnLoop"]

_BUSY: Final = "another thread used the loop until the deadline"
_STUBBORN: Final = "a sink did not keep the deadline"

_T = TypeVar("_T")


class OwnLoop:
    """Delivers on a private loop, in whatever thread calls, one call at a time.

    Args:
        group: What to open on the loop, and to deliver to.

    Raises:
        UsageError: this thread runs a loop already.
        FailoverError: the group can't be opened.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._lock = threading.Lock()
        self._loop: _PrivateLoop | None = None
        self._closed = False
        self.refuse_here()
        with self._lock:
            self._opened()

    def wait(self, call: Waited[_T], within: float) -> _T:
        """Deliver.

        Raises:
            UsageError: this thread runs a loop already.
        """
        self.refuse_here()
        if not self._lock.acquire(timeout=min(within, threading.TIMEOUT_MAX)):
            return call.skipped(self._group.name, _BUSY)
        try:
            if self._closed:
                return call.skipped(self._group.name, CLOSED)
            loop = self._opened()
            return self._run(loop, self._deliver(loop, call))
        finally:
            self._lock.release()

    def ask(self, question: Callable[[], _T], within: float) -> _T:
        """Ask the group something, or tell it, on its loop.

        Raises:
            ClosedError: it is closed.
            UsageError: this thread runs a loop already.
            TimeoutError: another thread used the loop all the time.
        """
        return self.run(partial(answer, question), within)

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]], within: float) -> _T:
        """Do something on the group's loop that takes its time.

        Raises:
            ClosedError: it is closed.
            UsageError: this thread runs a loop already.
            TimeoutError: another thread used the loop all the time.
        """
        self.refuse_here()
        if not self._lock.acquire(timeout=min(within, threading.TIMEOUT_MAX)):
            raise TimeoutError(f"group {self._group.name!r}: {_BUSY}")
        try:
            if self._closed:
                raise closed(self._group.name)
            return self._run(self._opened(), _looked(work))
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the group and the loop; waits for the call that another thread is in.

        Raises:
            UsageError: this thread runs a loop already.
        """
        self.refuse_here()
        with self._lock:
            self._closed = True
            loop = self._loop
            if loop is not None:
                self._run(loop, self._group.aclose())
                self._loop = None
                end(loop)

    def _opened(self) -> _PrivateLoop:
        """The loop, with the group open on it."""
        if self._loop is None:
            loop = _PrivateLoop()
            try:
                loop.run_until_complete(self._group.open())
            except Exception:  # refused: it may be open elsewhere, and stays so
                end(loop)
                raise
            except BaseException:
                self._scrap(loop)
                raise
            self._loop = loop
        return self._loop

    def _run(self, loop: _PrivateLoop, work: Coroutine[Any, Any, _T]) -> _T:
        """Drive the loop until this is done, and not a turn longer."""
        task = loop.create_task(_stopping(loop, work))
        try:
            while not task.done():
                loop.run_forever()
        except BaseException:  # e.g. KeyboardInterrupt, which comes between any two steps: nothing here can be trusted
            if task.done() and not task.cancelled():
                task.exception()  # it came in the task itself, which should not complain that nobody asked
            self._scrap(loop)
            raise
        return task.result()

    async def _deliver(self, loop: _PrivateLoop, call: Waited[_T]) -> _T:
        """Deliver, but first let the loop see what happened to its connections since the last call."""
        await _look()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # this is one
        guard = loop.call_at(call.ends + GRACE, task.cancel)
        try:
            return await call.begin(self._group, call.ends)
        except asyncio.CancelledError:
            return call.abandoned(self._group.name, _STUBBORN)
        finally:
            guard.cancel()

    def _scrap(self, loop: _PrivateLoop) -> None:
        """Throw a loop away, with all that is on it; the next call begins with a new one."""
        self._loop = None
        try:
            with contextlib.suppress(Exception, asyncio.CancelledError):  # it may well fail too
                loop.run_until_complete(self._group.aclose(drain=0))
        finally:
            try:
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    end(loop)
            finally:
                self._group.forget()

    def refuse_here(self) -> None:
        """Raise UsageError where this can't wait: the thread runs a loop already."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise UsageError(
            f"group {self._group.name!r}: this thread runs an event loop already, so that it can't drive another one;"
            " await the group itself, or use blocking(thread=True)"
        )


class _PrivateLoop(asyncio.SelectorEventLoop):
    """A loop that does nothing when it is finalized in a forked child: what it would unregister is the parent's."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._getpid = os.getpid  # at the interpreter's end the module is gone before the last objects are
        super().__init__()

    def __del__(self) -> None:
        if self._pid == self._getpid():
            super().__del__()


async def _stopping(loop: _PrivateLoop, work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return await work
    finally:
        loop.stop()


async def _looked(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    await _look()
    return await work()


async def _look() -> None:
    """Two turns that wait for nothing: a connection that was reset tells so one turn after it was seen."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
