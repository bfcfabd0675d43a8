"""What there is once per process: the loop thread that its facades share. After a fork there is another one."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final

from failover.blocking.ending import end

__all__ = ["LoopThread", "Process", "this_process"]


class LoopThread:
    """A daemon thread that runs a loop for as long as somebody uses it.

    Daemon: a facade that was never closed doesn't keep the interpreter from exiting.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.users: set[object] = set()
        """Who uses it. Held here, and so by the thread's frame: in a forked child that frame stays for ever, and with
        it everything that belongs to the parent; nothing of it is ever finalized there."""
        self._thread = threading.Thread(target=self._run, name="failover", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether it is this thread that runs the loop."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop and wait until the thread has."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            end(self.loop)


class Process:
    """The shared state of one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Guards what is here. A child never sees it held by a thread of its parent: it has a `Process` of its own."""
        self.names: dict[str, object] = {}
        """What `failover.shared` has opened, by name."""
        self._thread: LoopThread | None = None

    @property
    def is_on_loop(self) -> bool:
        """Whether this is the loop's thread: it can't wait for what only itself can do."""
        thread = self._thread
        return thread is not None and thread.is_current

    def join(self, user: object) -> LoopThread:
        """Use the process's loop thread; started for the first user."""
        with self.lock:
            if self._thread is None:
                self._thread = LoopThread()
            self._thread.users.add(user)
            return self._thread

    def leave(self, user: object) -> None:
        """Use it no more; stopped and joined for the last user."""
        with self.lock:
            thread = self._thread
            if thread is None or user not in thread.users:
                return
            thread.users.remove(user)
            if thread.users:
                return
            self._thread = None
        thread.stop()


_PROCESSES: Final[dict[int, Process]] = {}
# By process id, and not by os.register_at_fork: programs that embed Python fork without it, and Kamailio calls Python's
# hooks in the parent. What is a parent's stays here, referenced and untouched.


def this_process() -> Process:
    """The state of the process that asks."""
    pid = os.getpid()
    return _PROCESSES.get(pid) or _PROCESSES.setdefault(pid, Process())
