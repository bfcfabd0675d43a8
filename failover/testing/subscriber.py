"""A subscriber that does with each request what a script says, on real sockets and in a simulation alike."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self

from failover.errors import ConfigError, UsageError
from failover.testing.account import Account, HistoryOfFaults, Processed
from failover.testing.actions import Action, Confirm
from failover.testing.calls import Call
from failover.testing.certificates import wrong_certificate
from failover.testing.connections import Accept, Connecting, RefuseConnections, TlsFailure
from failover.testing.delays import Delay, check_delay, draw
from failover.testing.link import Link
from failover.testing.ports import Port

__all__ = ["Script", "ScriptedSubscriber"]

Script = Action | Callable[[Call], Action]
"""What to do with each request: always the same, or what a function of the request says."""

_GRACE: Final = 1.0  # seconds in which an orderly end must have happened


class _Life:
    """From one start to the crash or close that ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: Port) -> None:
        self.loop = loop
        self.port = port
        self.links: dict[Link, None] = {}
        self.crashed = False


class ScriptedSubscriber(Account):
    """Receives JSON-RPC over TCP and does with each request what its script says.

    Args:
        host: Where it listens: an address or a name; in a simulation the name of the host that it runs on.
        port: Where it listens; 0 lets the system choose, see `address`. It keeps the port until it is closed, also
            while it refuses connections.
        name: What a history calls it; its socket by default, as a sink's default name is.
        script: What it does with each request.
        connections: What it does with those who connect.
        ssl: Serve TLS, as this says.
        rng: Where its randomness comes from; by default the same at every start of the program.
        history: Is told of everything processed and of every fault.
        event_id: The param under which an event's id rides.
        max_frame: Bytes that one request may have.
        keep: How many entries `processed` and `acts` hold, and how many events are remembered to know a repeated one;
            the oldest go first.

    Attributes:
        processed: The requests that it did its work for, oldest first.
        acts: What it did, oldest first.
        counts: How often it did what, by the names in `acts`.
        latency: Seconds more that everything takes, or a distribution of them.
        received: How many requests came.
        held: Whether nothing is read or written at present.
        swallowed: Whether connects get no answer at present.

    Raises:
        ConfigError: a setting out of its range.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        name: str | None = None,
        script: Script | None = None,
        connections: Connecting | None = None,
        ssl: SSLContext | None = None,
        rng: Random | None = None,
        history: HistoryOfFaults | None = None,
        event_id: str = "event_id",
        max_frame: int = 16 * 2**20,
        keep: int = 10_000,
    ) -> None:
        super().__init__(history, keep)
        self.host = host
        self.port = port
        self.rng = Random(0) if rng is None else rng
        self.event_id = event_id
        self.max_frame = max_frame
        self.processed: deque[Processed] = deque(maxlen=keep)
        self.received = 0
        self.held = False
        self.swallowed = False
        self.script: Script = Confirm() if script is None else script
        self._latency: Delay = 0.0
        self._name = name
        self._ssl = ssl
        self._behaviour: Connecting = Accept() if connections is None else connections
        self._next: deque[Action] = deque()
        self._keep = keep
        self._known: OrderedDict[str, None] = OrderedDict()
        self._accepted = 0
        self._life: _Life | None = None

    def __repr__(self) -> str:
        return f"<ScriptedSubscriber {self.name}>"

    # What it does.

    def once(self, *actions: Action) -> Self:
        """Do this with the next request, and each further action with one request more; then what the script says."""
        self._next.extend(actions)
        return self

    def in_order(self, actions: Iterable[Action]) -> Self:
        """Do one after the other, each for one request; the last one for all that follow."""
        sequence = list(actions)
        if not sequence:
            raise ConfigError("in_order([]): expected one action or more")
        self._next.clear()
        self._next.extend(sequence[:-1])
        self.script = sequence[-1]
        return self

    def always(self, script: Script) -> Self:
        """Do this with every request from now on."""
        self._next.clear()
        self.script = script
        return self

    @property
    def latency(self) -> Delay:
        """Seconds more that everything takes, or a distribution of them."""
        return self._latency

    @latency.setter
    def latency(self, delay: Delay) -> None:
        self._latency = check_delay("latency", delay)

    async def connecting(self, behaviour: Connecting) -> None:
        """Do this with those who connect from now on; what is connected stays as it is.

        Raises:
            ConfigError: a TLS failure for a subscriber whose certificate can't be made; see `TlsFailure`.
        """
        former, self._behaviour = self._behaviour, behaviour
        if not isinstance(former, Accept):
            self.fault(former.name, active=False)
        if not isinstance(behaviour, Accept):
            self.fault(behaviour.name)
        life = self._life
        if life is not None:
            await self._listen(life)

    # Faults that happen at once.

    def reset(self) -> int:
        """Reset every connection. Returns how many."""
        links = self.links
        self.fault("reset")
        for link in links:
            link.cut()
        return len(links)

    def half_open(self) -> int:
        """Lose every connection without a word to the other end, which gets a RST when it sends. Returns how many."""
        links = self.links
        self.fault("half_open")
        for link in links:
            link.forget()
        return len(links)

    def hold(self) -> None:
        """Read and write nothing until `release`; connects are still answered."""
        self.fault("hold")
        self._hold(held=True)

    def release(self) -> None:
        """End `hold`: everything held goes on, in order."""
        self.fault("hold", active=False)
        self._hold(held=False)

    def _hold(self, *, held: bool) -> None:
        self.held = held
        for link in self.links:
            link.release()

    async def black_hole(self) -> None:
        """Leave connects without an answer, and read and write nothing, until `surface`."""
        self.fault("black_hole")
        self.swallowed = True
        self._hold(held=True)
        if self._life is not None:
            self._life.port.swallow()

    async def surface(self) -> None:
        """End `black_hole`."""
        self.fault("black_hole", active=False)
        self.swallowed = False
        self._hold(held=False)
        if self._life is not None:
            await self._listen(self._life)

    async def crash(self) -> None:
        """End at once: connections are reset, connects refused, and work under way is never done."""
        life = self._life
        if life is None or life.crashed:
            return
        self.fault("crash")
        life.crashed = True
        life.port.refuse()
        for link in list(life.links):
            link.crash()
        await self._gone(life)

    async def restart(self) -> None:
        """Listen again on the same port, after a crash; a subscriber that is up crashes first.

        Raises:
            UsageError: it was never started, or is closed.
        """
        life = self._life
        if life is None:
            raise UsageError(f"{self.name}: restart() of a subscriber that isn't started")
        await self.crash()
        self.fault("crash", active=False)
        life.crashed = False
        await self._listen(life)

    # Where it listens, how it begins and ends.

    @property
    def address(self) -> tuple[str, int]:
        """The host, and the port that it has."""
        return self.host, self.port

    @property
    def socket(self) -> str:
        """The same as the text of a socket, `jsonrpc:host:port`."""
        return f"jsonrpc:[{self.host}]:{self.port}" if ":" in self.host else f"jsonrpc:{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """What a history calls it."""
        return self.socket if self._name is None else self._name

    @property
    def links(self) -> list[Link]:
        """The connections that are open, oldest first."""
        return [] if self._life is None else list(self._life.links)

    @property
    def accepted(self) -> int:
        """How many connections were accepted so far."""
        return self._accepted

    async def start(self) -> None:
        """Listen.

        Raises:
            UsageError: it is started already.
            OSError: the address can't be had; the error names it.
        """
        if self._life is not None:
            raise UsageError(f"{self.name} is started already; close it first, or restart()")
        await self._begin()

    async def serve(self) -> None:
        """Listen until cancelled: what a simulated host runs, `network.host("app1", start=subscriber.serve)`."""
        life = await self._begin()
        try:
            await life.loop.create_future()
        finally:
            await self._end(life)

    async def aclose(self) -> None:
        """Stop listening, break the connections, end what is under way, and give the port back. Idempotent."""
        life = self._life
        if life is not None:
            await self._end(life)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _begin(self) -> _Life:
        loop = asyncio.get_running_loop()
        life = self._life = _Life(loop, Port(loop, self.host, self.port))
        try:
            await life.port.open()
            self.port = life.port.number
            await self._listen(life)
        except BaseException:
            await self._end(life)
            raise
        return life

    async def _end(self, life: _Life) -> None:
        if self._life is life:
            self._life = None
        try:
            await life.port.aclose()
        finally:
            for link in list(life.links):
                link.crash()
        await self._gone(life)

    @staticmethod
    async def _gone(life: _Life) -> None:
        if life.links:
            await asyncio.wait([link.gone for link in life.links], timeout=_GRACE)

    async def _listen(self, life: _Life) -> None:
        """Listen as the behaviour says; whoever is connected stays."""
        behaviour = self._behaviour
        life.port.refuse()
        if life.crashed or isinstance(behaviour, RefuseConnections):
            return
        if self.swallowed:
            life.port.swallow()
            return
        context = self._ssl
        if isinstance(behaviour, TlsFailure):
            wrong = behaviour.kind == "wrong_certificate"
            context = (behaviour.context or wrong_certificate()) if wrong else None
        await life.port.listen(partial(Link, self, life.loop, behaviour), ssl=context)
        self.port = life.port.number

    # What its connections tell.

    def connected(self, link: Link) -> int:
        """A connection was accepted. Returns its number; 0 if it came too late."""
        life = self._life
        if life is None or life.crashed:
            return 0
        self._accepted += 1
        life.links[link] = None
        self.record(self._behaviour.name, self._accepted)
        return self._accepted

    def arrived(self, call: Call) -> None:
        """A request came."""
        self.received += 1
        self.news()
        action = self._choose(call)
        seconds = draw(action.delay, self.rng) + draw(self._latency, self.rng)
        if seconds:
            call.line.later(seconds, self._act, action, call)
        else:
            self._act(action, call)

    def handled(self, call: Call) -> None:
        """The work for a request is done."""
        now = asyncio.get_running_loop().time()
        repeated = call.key in self._known
        self._known[call.key] = None
        if len(self._known) > self._keep:
            self._known.popitem(last=False)
        self.processed.append(Processed(call.key, call.method, call.params, now, call.connection, repeated))
        if self.history is not None:
            self.history.processed(self.name, call.key, now, call.connection)
        self.news()

    def note(self, what: str, link: Link) -> None:
        """Something happened to a connection."""
        self.fault(what, link.number)

    def lost(self, link: Link) -> None:
        """The connection is gone."""
        self.record("lost", link.number)
        if self._life is not None:
            self._life.links.pop(link, None)

    def _choose(self, call: Call) -> Action:
        if self._next:
            return self._next.popleft()
        return self.script if isinstance(self.script, Action) else self.script(call)

    def _act(self, action: Action, call: Call) -> None:
        if action.is_fault:
            self.fault(action.name, call.connection, call.key)
        else:
            self.record(action.name, call.connection, call.key)
        action.act(call)
