"""The JSON-RPC sink: one socket that confirms (or is only notified of) events, over a connection shared with others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext
from typing import Any, Final, Literal, cast, get_args

from attrs import evolve

from failover.address import SCHEMES, SocketAddress, Span, parse_socket
from failover.errors import ConfigError, UsageError
from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.net.connection import Connection
from failover.net.deadlines import EARLIER, Deadlines
from failover.net.exchange import Exchange, Waiter
from failover.net.options import ConnectionOptions
from failover.net.peer import Lease, PeerKey
from failover.net.peers import Peers
from failover.net.sweep import LATEST
from failover.net.volley import Batched
from failover.outcome import Outcome, Verdict
from failover.protocol.encoding import Dialect
from failover.protocol.pipeline import Lane
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.records import AttemptEnded, BadReply, LateConfirmation, Observer, Silence, notify
from failover.sink import News, Opening, Status, check_kind, check_name, check_seconds
from failover.sinks.batch import Batch
from failover.sinks.each import Each
from failover.sinks.verdicts import DEFAULT_VERDICTS, Verdicts, judge_by
from failover.taking import Taker

__all__ = ["AtLimit", "JsonRpcSink", "jsonrpc"]

AtLimit = Literal["wait", "next", "reject"]
"""What happens to a delivery when the connection's window is full: `wait` for a slot as long as the timeout allows,
go to the `next` sink, or `reject` the event: it is settled as skipped, so that overload is not passed on."""

_TIMEOUT: Final = 1.0
"""Seconds. Source: OpenSIPS event_jsonrpc, parameter `timeout`."""

_CONFIRMED: Final = Outcome.CONFIRMED

FEW: Final = 4
"""Events that are worth a volley of their own; fewer leave with this loop turn's others."""

_FULL: Final = "no slot: as much in flight as the connection may have"


class JsonRpcSink:
    """Delivers to one JSON-RPC-over-TCP (or TLS) socket; `jsonrpc` makes one and describes the arguments."""

    def __init__(
        self,
        address: SocketAddress,
        *,
        name: str | None,
        timeout: float,
        confirm: bool,
        event_param: str | None,
        id_param: str | None,
        null_id: bool,
        verdicts: Verdicts,
        at_limit: AtLimit,
        ssl: SSLContext | None,
        server_name: str | None,
        lazy: bool,
        dedicated: bool,
        options: ConnectionOptions | None,
    ) -> None:
        self.address = address
        self.name = str(address) if name is None else check_name("sink", name)
        self.timeout = check_seconds("timeout", timeout)
        self.confirm = confirm
        if event_param is not None:
            check_name("parameter (event_param)", event_param)
        if id_param is not None:
            check_name("parameter (id_param)", id_param)
        if at_limit not in get_args(AtLimit):
            raise ConfigError(f"at_limit must be one of {', '.join(map(repr, get_args(AtLimit)))}, not {at_limit!r}")
        if not isinstance(ssl, SSLContext | None):
            raise ConfigError(
                f"ssl must be an ssl.SSLContext, e.g. ssl.create_default_context(), or None for plain TCP, not {ssl!r}"
            )
        if server_name is not None:
            if ssl is None:
                raise ConfigError("server_name is for TLS; give ssl= as well")
            _check_server_name(server_name)
        self.at_limit = at_limit
        self._impatient = at_limit != "wait"
        self._plain = confirm and not self._impatient  # nothing to decide per event
        self.dialect = Dialect(method=address.method, event_param=event_param, id_param=id_param, null_id=null_id)
        self.judge: Callable[[ErrorReply], Verdict] = judge_by(verdicts)
        self.options = check_kind("options", options, ConnectionOptions) or ConnectionOptions()
        self.lazy = lazy
        self.dedicated = dedicated
        self._key = PeerKey("tcp" if ssl is None else "tls", address.host, address.port, ssl, server_name)
        self.forget()

    def forget(self) -> None:
        """Be as declared again without closing anything; see `Strategy.forget`."""
        self.watchers: list[Callable[[News], None]] = []
        self.watched = False
        self.confirmed = 0
        self._others: dict[Outcome, int] = {}
        self._late = 0
        self._observers: tuple[Observer, ...] = ()
        self._group = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lease: Lease | None = None
        self._opening: Opening | None = None
        self._connection: Connection | None = None
        self._index: dict[object, Exchange] | None = None  # by waiter, for one turn of the loop
        self._deadlines: Deadlines | None = None
        self._lane: Lane | None = None  # stays so without confirmations: nothing is waited for

    def __repr__(self) -> str:
        return f"<JsonRpcSink {self.name!r}>"

    async def open(self, opening: Opening) -> None:
        """Lease the connection and, unless lazy, have it made; doesn't wait for it.

        Raises:
            UsageError: it is open already.
            ConfigError: the peer's connection is shared and has other options.
        """
        if self._loop is not None:
            raise UsageError(
                f"{self.name} is open already; make a sink for each place, the connection is shared anyway"
            )
        peers: Peers = opening.peers
        self._opening = opening
        self._lease = peers.lease(
            self._key, self.options, observers=opening.observers, lazy=self.lazy, dedicated=self.dedicated
        )
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._observers = opening.observers
        self._group = opening.group
        self.watched = bool(opening.observers)

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:  # it has no children
        """Its timeout, which is never early and may be late; see `failover.foresight`."""
        alone = self.timeout + LATEST
        seconds = alone if within is None or within >= self.timeout else within  # a deadline is kept to the moment
        return WorstCase(seconds, late=LATEST, sends=not self.confirm, alone=alone)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver one event; see `Sink`."""
        begun = self.start(event, deadline=deadline)
        try:
            return await begun
        except asyncio.CancelledError as cancelled:
            cancelled.receipt = self.abandon(begun, "cancelled")  # type: ignore[attr-defined]
            raise

    def start(self, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
        """Begin a delivery and return the bare future of its receipt; see `failover.sink.start`."""
        loop = self._loop or asyncio.get_running_loop()
        waiter: asyncio.Future[Any] = asyncio.Future(loop=loop)  # what create_future does, at half its cost
        connection, lane = self._connection, self._lane
        # What is no event must show at once what is wrong with it.
        if self._plain and connection is not None and lane is not None and type(event) is Event:
            now = loop.time()
            if deadline is None or deadline >= now + self.timeout:
                if connection.gather(event, waiter, self, lane, now) is not None:
                    return waiter
            elif deadline > now and (deadlines := self._deadlines) is not None and deadlines.in_order(deadline):
                gathered = connection.gather(event, waiter, self, lane, now)
                if gathered is not None:
                    deadlines.append(deadline, waiter, gathered, len(gathered) - 1)
                    return waiter
        self._begin(event, waiter, deadline)
        return waiter

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch, pipelined as deep as the connection's window; see `failover.sink.deliver_many`."""
        loop = self._loop or asyncio.get_running_loop()
        batch = Batch(events, loop, room=self._room, begin=self._begin_many, until=until)
        timer = None
        if deadline is not None:
            if deadline <= loop.time():
                batch.stop()
            timer = loop.call_at(deadline, self._cut, batch, "deadline")
        batch.feed()
        try:
            await batch.future
        except asyncio.CancelledError as cancelled:
            self._cut(batch, "cancelled")
            rest = batch.rest(self.name, "cancelled before it was sent", loop.time())
            cancelled.receipts = [*batch.receipts(), *rest]  # type: ignore[attr-defined]
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if batch.complete:
            return batch.receipts()
        late = deadline is not None and loop.time() >= deadline
        reason = "no time left before the deadline" if late else "an earlier event of its batch failed here"
        return [*batch.receipts(), *batch.rest(self.name, reason, loop.time())]

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """Begin a delivery of each, in one write if there is room for all; see `failover.taking.begin_many`."""
        loop = self._loop or asyncio.get_running_loop()
        now = loop.time()
        connection, lane = self._connection, self._lane
        each = Each(list(events), self, connection, loop, taker)
        if deadline is not None and now < deadline < now + self.timeout:
            each.cut_at(deadline, EARLIER)
            deadline = None
        sent = False
        if deadline is None and len(events) >= FEW and self._plain and lane is not None and connection is not None:
            sent = connection.submit_volley(each, lane)
        if not sent:
            each.apart(self._begin(event, each, deadline) for event in events)

    def abandon(self, begun: Awaitable[Receipt], reason: str) -> Receipt | None:
        """Stop waiting for a delivery that `start` began; what has left of it still gets its late confirmation.

        Returns:
            What there is of it; None of what this sink did not begin.
        """
        waiter = cast("asyncio.Future[Receipt]", begun)
        if waiter.done() and not waiter.cancelled():
            return waiter.result()
        left: Receipt | None = getattr(waiter, "receipt", None)  # it ended between its cancellation and now
        if left is not None:
            return left
        exchange = self._find(waiter)
        return None if exchange is None else exchange.abandon(reason, asyncio.get_running_loop().time())

    async def probe(self, method: str | None, timeout: float) -> str:
        """Ask whether the peer would answer, apart from any event; empty if it does, else why not.

        Args:
            method: What is called, without params; any reply will do, an error as well. None only connects anew.
            timeout: Seconds for it.
        """
        if self._lease is None or self._opening is None:
            return "not open"
        if method is None:
            return await self._lease.probe(timeout)
        asked = JsonRpcSink(  # a sink of its own, so that nobody takes the probe for an event
            evolve(self.address, method=method),
            name=None,
            timeout=timeout,
            confirm=True,
            event_param=None,
            id_param=None,
            null_id=True,
            verdicts={},
            at_limit="wait",
            ssl=self._key.ssl,
            server_name=self._key.server_name,
            lazy=True,
            dedicated=self.dedicated,
            options=self.options,
        )
        await asked.open(evolve(self._opening, observers=()))
        try:
            receipt = await asked.deliver(Event(method))
        finally:
            await asked.aclose()
        return "" if receipt.outcome in (Outcome.CONFIRMED, Outcome.REJECTED) else receipt.reason

    def status(self) -> Status:
        """How it stands; it is up unless its connection is known to be down."""
        up = self._lease is not None and not self._lease.down
        outcomes = dict(self._others)
        if self.confirmed:
            outcomes[Outcome.CONFIRMED] = self.confirmed
        return Status(
            name=self.name,
            up=up,
            reason="" if up else "not open" if self._loop is None else "no connection",
            in_flight=0 if self._connection is None else self._connection.waited_for(self),
            outcomes=outcomes,
            late=self._late,
            address=str(self.address),
        )

    async def aclose(self) -> None:
        """Give the connection back; what is in flight is abandoned. Idempotent."""
        if self._loop is None:
            return
        now = self._loop.time()
        self._loop = None
        for exchange in self._own():
            exchange.abandon("the group was closed", now)
        if self._deadlines is not None:
            self._deadlines.close()
        lease, self._lease = self._lease, None
        self._connection = None
        self.watchers.clear()
        if lease is not None:
            await lease.aclose()

    def ended(self, attempt: Attempt) -> None:
        """Count an attempt that ended other than confirmed, and tell observers of any."""
        outcome = attempt.outcome
        if outcome is not _CONFIRMED:
            self._others[outcome] = self._others.get(outcome, 0) + 1
        if self.watched:
            notify(self._observers, AttemptEnded(attempt))

    def heard_late(self, attempt: Attempt, *, confirmed: bool, now: float) -> None:
        """Pass on a late confirmation."""
        self._late += 1
        self._tell(LateConfirmation(self.name, attempt, confirmed, now, self._group))

    def heard_nothing(self, attempt: Attempt, now: float) -> None:
        """Pass on that the peer is silent although nobody waits any more."""
        self._tell(Silence(self.name, attempt, now, self._group))

    def misled(self, attempt: Attempt, problem: str, now: float) -> None:
        """Tell observers of a reply that was neither a result nor an error."""
        if self.watched:
            notify(self._observers, BadReply(self.name, problem, str(attempt.request_id).encode(), now))

    def _begin(self, event: Event, waiter: Waiter, deadline: float | None) -> Exchange:
        """Make an exchange and submit it, or end it at once where that is known to be of no use."""
        loop = self._loop or asyncio.get_running_loop()
        now = loop.time()
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connect()
        tail = self.dialect.tail(event)
        exchange = Exchange(event, self, waiter, connection, tail, now)
        if deadline is not None and deadline < now + self.timeout:
            if deadline <= now:
                exchange.end(Outcome.SKIPPED, now, "no time left before the deadline")
                return exchange
            if self._deadlines is not None:
                self._deadlines.add(deadline, exchange)
        if not self.confirm:
            exchange.tail = self.dialect.notification(tail)
        if connection is None:
            exchange.end(Outcome.SKIPPED, now, "the sink is not open")
        elif (self._impatient and connection.full) or not connection.submit(exchange, self._lane):
            verdict = Verdict.STOP if self.at_limit == "reject" else None
            exchange.end(Outcome.SKIPPED, now, _FULL, verdict=verdict)
        return exchange

    def _begin_many(self, events: Sequence[Event], batch: Batch) -> Batched:
        """Send a part of a batch, together if nothing has to be decided per event."""
        connection = self._connection
        lane = self._lane
        volley = Batched(events, self, batch, connection, asyncio.get_running_loop().time())
        sent = False
        if self._plain and lane is not None and connection is not None and not connection.closed:
            sent = connection.submit_volley(volley, lane)
        if not sent:
            volley.apart(self._begin(event, batch, None) for event in events)
        return volley

    def _room(self) -> int:
        connection = self._connection
        return self.options.in_flight if connection is None else connection.room

    def _connect(self) -> Connection | None:
        """The connection as it is, or a new one on its way; None while this sink is not open."""
        if self._lease is None:
            return None
        connection = self._connection = self._lease.connection()
        if connection is None:
            return None
        self._lane = connection.pipeline.lane(self.timeout) if self.confirm else None
        return connection

    def _find(self, waiter: object) -> Exchange | None:
        """The exchange of a waiter; of many that are cancelled in one turn only the first has to look at all."""
        if self._index is None or waiter not in self._index:
            if self._index is None:
                asyncio.get_running_loop().call_soon(self._drop_index)
            self._index = {exchange.waiter: exchange for exchange in self._own()}
        return self._index.get(waiter)

    def _drop_index(self) -> None:
        self._index = None

    def _own(self) -> list[Exchange]:
        if self._connection is None:
            return []
        return [exchange for exchange in self._connection.exchanges() if cast("object", exchange.owner) is self]

    def _cut(self, batch: Batch, reason: str) -> None:
        """Cut a whole batch short."""
        batch.stop()
        batch.abandon(reason, asyncio.get_running_loop().time())

    def _tell(self, news: News) -> None:
        if self.watched:
            notify(self._observers, news)
        for watcher in list(self.watchers):
            watcher(news)


def _check_server_name(name: str) -> None:
    """Refuse what TLS could not ask for: it would show only when connecting."""
    try:
        given = bool(name) and not name.startswith(".") and bool(name.encode("idna"))
    except UnicodeError:
        given = False
    if not given:
        raise ConfigError(f"server_name must be a host name or an address, e.g. 'sip.example.org', not {name!r}")


def jsonrpc(
    socket: str,
    *,
    name: str | None = None,
    timeout: float = _TIMEOUT,
    confirm: bool = True,
    event_param: str | None = None,
    id_param: str | None = None,
    null_id: bool = True,
    verdicts: Verdicts = DEFAULT_VERDICTS,
    at_limit: AtLimit = "wait",
    ssl: SSLContext | None = None,
    server_name: str | None = None,
    lazy: bool = False,
    dedicated: bool = False,
    options: ConnectionOptions | None = None,
) -> JsonRpcSink:
    """Declare a sink that delivers events to one JSON-RPC socket.

    Args:
        socket: `host:port[/method]`, with or without `jsonrpc:` or `tcp:` before it; IPv6 in brackets.
        name: How it is called in receipts; the address by default.
        timeout: Seconds for one attempt: the wait for a slot, the connect and the reply together.
        confirm: Whether events are requests whose reply confirms them (`sync_mode`); else they are notifications.
        event_param: The name under which the event's name leads the params; None leaves it out.
        id_param: The name under which the event's id ends the params, so that its receiver knows a repeated one; None
            leaves it out, as OpenSIPS does. See `failover.protocol.encoding.Dialect` for where it stands.
        null_id: Whether notifications carry `"id":null` (OpenSIPS up to 3.0) or no id (3.1 and newer).
        verdicts: What error replies mean: a table by code, or a function of the error.
        at_limit: What happens to a delivery when the connection's window is full.
        ssl: A TLS context, with a client certificate loaded for mutual TLS; None for plain TCP.
        server_name: The name that TLS asks for and verifies; the host by default.
        lazy: Connect with the first event rather than when the group opens.
        dedicated: A connection of its own instead of the one shared by all sinks of this peer.
        options: How the connection is kept; all who share it need the same.

    Raises:
        AddressError: the socket can't be parsed.
        ConfigError: an argument out of its range.

    Source: OpenSIPS event_jsonrpc, event_stream.
    """
    scheme, colon, _ = socket.partition(":")
    given = bool(colon) and scheme in SCHEMES
    rest = Span(socket, len(scheme) + 1) if given else Span(socket)
    return JsonRpcSink(
        parse_socket(scheme if given else "jsonrpc", rest),
        name=name,
        timeout=timeout,
        confirm=confirm,
        event_param=event_param,
        id_param=id_param,
        null_id=null_id,
        verdicts=verdicts,
        at_limit=at_limit,
        ssl=ssl,
        server_name=server_name,
        lazy=lazy,
        dedicated=dedicated,
        options=options,
    )
