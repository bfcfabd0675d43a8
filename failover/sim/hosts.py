"""A simulated host, and the process that runs on it: one life from start to crash."""

# ruff: noqa: SLF001  which loop is running can be set by asyncio's underscored functions alone
from __future__ import annotations

import asyncio
import contextvars
import errno
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from failover.net.peers import CURRENT, Peers
from failover.sim.errors import SimulationError
from failover.sim.seeds import derive

if TYPE_CHECKING:
    from failover.sim.datagrams import Datagrams
    from failover.sim.listeners import Listener
    from failover.sim.network import Network
    from failover.sim.streams import Endpoint
    from failover.sim.unix import UnixTransport

__all__ = ["PROCESS", "Host", "Process", "Start", "any_of"]

T = TypeVar("T")
Start = Callable[[], Coroutine[Any, Any, object]]

EPHEMERAL = range(32768, 61000)
"""Linux's `ip_local_port_range`."""

LOCAL = ("::1", "::", "0.0.0.0")  # noqa: S104  Linux takes a connection to "any" for one to itself


def any_of(address: str) -> str:
    """The wildcard of an address's family."""
    return "::" if ":" in address else "0.0.0.0"  # noqa: S104  a name for "any"


class Process:
    """Everything that a crash takes away: tasks, timers, sockets.

    Args:
        host: The machine it runs on.
        number: Which process of this host it is, 1 first.
    """

    def __init__(self, host: Host, number: int) -> None:
        self.host = host
        self.number = number
        self.dead = False
        self.endpoints: dict[Endpoint, None] = {}
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.datagrams: dict[tuple[str, int], Datagrams] = {}
        self.ports: set[int] = set()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        self.context.run(CURRENT.set, self._peers())

    def _peers(self) -> Peers:
        """Connections of its own, on a loop that may not be running yet."""
        network = self.host.network
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(network.loop)
        try:
            return Peers(rng=derive(network.seed, "peers", self.host.name, str(self.number)))
        finally:
            asyncio._set_running_loop(running)

    def listener(self, address: tuple[Any, ...]) -> Listener | None:
        """The socket bound to an address and port, or to every address and that port."""
        return self.listeners.get((address[0], address[1])) or self.listeners.get((any_of(address[0]), address[1]))

    def taken(self, bound: Iterable[tuple[str, int]], address: str, port: int) -> bool:
        """Whether an address and port can't be bound beside those that are."""
        same = {address, any_of(address)}
        return any(other in same or address == any_of(other) for other, number in bound if number == port)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("failover.sim.process", default=None)
"""The process whose code is running, which says on which host a socket is made."""


class Host:
    """A machine of the simulated network; made by `Network.host`.

    Args:
        network: The network it is on.
        name: Its name, which `getaddrinfo` knows.
        address: Its IPv4 address.
        address6: Its IPv6 address.
    """

    def __init__(self, network: Network, name: str, address: str, address6: str) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.address6 = address6
        self.start: Start | None = None
        self.silent = False
        self.paths: dict[str, UnixTransport] = {}
        """What was bound last to each path of its file system; it may be closed."""
        self.process = Process(self, 1)
        self._next_port = EPHEMERAL.start

    def __repr__(self) -> str:
        state = "silent" if self.silent else "crashed" if self.process.dead else "up"
        return f"<Host {self.name} {self.address} {state}>"

    @property
    def up(self) -> bool:
        """Whether a process runs on it."""
        return not self.process.dead

    def owns(self, address: str) -> bool:
        """Whether a packet to this address stays on, or comes to, this host."""
        return address in {self.address, self.address6, *LOCAL} or address.startswith("127.")

    def source_for(self, destination: str) -> str:
        """The address of its own that a packet to `destination` leaves with."""
        if destination.startswith("127."):
            return "127.0.0.1"
        if ":" in destination:
            return "::1" if destination == "::1" else self.address6
        return self.address

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a coroutine as a task of this host's process; a crash ends it, and so does the end of the simulation.

        Args:
            coro: What to run.
            name: The task's name.

        Returns:
            The task.

        Raises:
            SimulationError: the host is down.
        """
        if self.process.dead:
            coro.close()
            raise SimulationError(f"{self.name} has crashed: nothing can be started on it before restart()")
        process = self.process
        task = self.network.loop.create_task(coro, name=name, context=process.context.copy())
        process.tasks[task] = None  # the loop alone would let the garbage collector have it
        task.add_done_callback(process.tasks.pop)
        return task

    async def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this host and wait for its result; cancelling the wait cancels it.

        Args:
            coro: What to run.

        Returns:
            What the coroutine returned.

        Raises:
            SimulationError: the host crashed meanwhile.
        """
        process = self.process
        task = self.spawn(coro)
        try:
            return await task
        except BaseException:
            waiter = asyncio.current_task()
            if process.dead and task.done() and waiter is not None and not waiter.cancelling():
                raise SimulationError(f"{self.name} crashed while {task.get_name()} ran on it") from None
            raise

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a plain function as code of this host: what it opens and starts belongs to the host."""
        return self.process.context.copy().run(function, *args)

    def boot(self, start: Start) -> None:
        """Set the function that runs when the host starts, now if the loop runs; `restart` runs it again.

        Args:
            start: Makes the coroutine; if that raises, the simulation fails with the same exception.
        """
        self.start = start
        self.network.loop.call_soon(self._boot, start)

    def _boot(self, start: Start) -> None:
        process = self.process

        def ended(task: asyncio.Task[object]) -> None:
            error = None if task.cancelled() or process.dead else task.exception()
            if error is not None:
                error.add_note(f"in the start function of the simulated host {self.name}")
                self.network.loop.fail(error)

        if self.up:  # it may have been crashed in the same turn
            self.spawn(start(), name=self.name).add_done_callback(ended)

    def crash(self, sockets: Literal["reset", "silent"] = "reset") -> None:
        """End the process at once: its tasks are cancelled, its timers never fire, its protocols hear nothing more.

        What the dying tasks still do in `except` and `finally` reaches nobody: their sockets are gone.

        Args:
            sockets: `"reset"`, the process died and the kernel resets its connections and refuses new ones;
                `"silent"`, the machine lost power: nothing answers any more, peers are not told.
        """
        process = self.process
        if process.dead:
            return
        process.dead = True
        self.silent = sockets == "silent"
        self.network.tell("crash", sockets, self.name)
        for endpoint in tuple(process.endpoints):
            endpoint.vanish(reset=not self.silent)
        for listener in tuple(process.listeners.values()):
            listener.close()
        for transport in tuple(process.datagrams.values()):
            transport.vanish()
        self.network.loop.end(process)

    def restart(self) -> None:
        """Start a new process; the function given to `boot` runs again. Crashes first if the host is up."""
        self.crash()
        self.silent = False
        self.process = Process(self, self.process.number + 1)
        self.network.tell("restart", "", self.name)
        if self.start is not None:
            self._boot(self.start)

    def free_port(self) -> int:
        """The next ephemeral port that nobody on this host has.

        Raises:
            OSError: EADDRNOTAVAIL, all are taken.
        """
        process = self.process
        bound = {port for _, port in (*process.listeners, *process.datagrams)}
        for _ in EPHEMERAL:
            port = self._next_port
            self._next_port = port + 1 if port + 1 in EPHEMERAL else EPHEMERAL.start
            if port not in bound and port not in process.ports:
                return port
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
