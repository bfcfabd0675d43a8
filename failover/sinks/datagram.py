"""Datagram sinks: events over UDP or a Unix socket, as OpenSIPS's `event_datagram` sends them; nobody confirms."""

from __future__ import annotations

import asyncio
from typing import Any, Final, get_args

from attrs import field, frozen

from failover.address import Address, SocketAddress, Span, parse_socket
from failover.errors import ConfigError, UsageError
from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.net.datagrams import DatagramSocket
from failover.outcome import Outcome
from failover.protocol.datagrams import DatagramFormat, Datagrams
from failover.receipt import Attempt, Receipt
from failover.records import AttemptEnded, Observer, notify
from failover.schemes import Defaults
from failover.sink import Opening, Status, check_name, check_seconds

__all__ = ["DatagramSink", "UnixAddress", "make_datagram", "parse_udp", "parse_unix", "udp", "unix"]

_TIMEOUT: Final = 1.0
_WAITING: Final = 1024  # deliveries that may wait for the kernel at once
_PATH_MAX: Final = 107  # bytes: what every Linux can bind, with the 0 at its end

_FULL: Final = "no room: the kernel takes no more datagrams at present"


def _path(_: object, __: object, path: str) -> None:
    _check_path(Span(path))


@frozen
class UnixAddress(Address):
    """A Unix datagram socket of this machine: `unix:/path`.

    Args:
        scheme: `unix`.
        path: Where it is, absolute.

    Raises:
        AddressError: there can't be a socket of that path.
    """

    path: str = field(validator=_path)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"


def parse_udp(scheme: str, rest: Span) -> SocketAddress:
    """The address `udp:host:port`; see `failover.address.SocketParser`.

    Raises:
        AddressError: `rest` isn't `host:port`.
    """
    address = parse_socket(scheme, rest)
    if "/" in str(rest):
        raise rest.error(str(rest).index("/"), "a method", "none: an event's name is all that a datagram has")
    return address


def parse_unix(scheme: str, rest: Span) -> UnixAddress:
    """The address `unix:/path`; see `failover.address.SocketParser`.

    Raises:
        AddressError: `rest` is no path that a socket can have.
    """
    _check_path(rest)
    return UnixAddress(scheme, str(rest))


def _check_path(span: Span) -> None:
    path = str(span)
    if not path.startswith("/"):
        raise span.error(0, "no absolute path", "a path that begins with /, as in unix:/run/events.sock")
    for index, char in enumerate(path):
        if not char.isprintable():
            raise span.error(index, f"{char!r} in a path", "printable characters")
    size = len(path.encode())
    if size > _PATH_MAX:
        raise span.error(
            0, f"a path of {size} bytes", f"at most {_PATH_MAX}, which is all that a socket's path can have"
        )


class _Sending:
    """A datagram that could not be handed over at once, and how far it has come.

    Args:
        to: Where to.
        data: The datagram.
        handed: Whether it was handed over already, and waits for room in the kernel.
    """

    def __init__(self, to: DatagramSocket, data: bytes, *, handed: bool) -> None:
        self.to = to
        self.opened = handed
        """Whether there was a socket to send it over."""
        self._data = data
        self._handed = handed
        self._left = False

    async def send(self) -> bool:
        """Send it when it can be sent, once more if the socket turns out to be broken.

        Returns:
            Whether it has left and, where that was in doubt, nobody said that it has not arrived.
        """
        to = self.to
        errors = to.errors
        while to.errors < errors + 2:
            if not self._handed:
                self.opened = await to.opened()
                if not self.opened:
                    return False
                self._handed = await to.room() and to.send(self._data)
            self._handed = self._handed and await to.room()
            if self._handed:
                self._left = True
                return not to.doubted or await to.hears()
        return False

    def withdraw(self) -> bool:
        """Stop it; returns whether it has left already."""
        if self._handed and not self._left:
            self.to.give_up()
        return self._left


class DatagramSink:
    """Sends each event as one datagram; `udp` and `unix` make one and describe the arguments."""

    def __init__(
        self,
        address: SocketAddress | UnixAddress,
        *,
        name: str | None,
        timeout: float,
        format: DatagramFormat,  # the field's word
        id_param: str | None,
    ) -> None:
        self.address = address
        self.name = str(address) if name is None else check_name("sink", name)
        self.timeout = check_seconds("timeout", timeout)
        if format not in get_args(DatagramFormat):
            raise ConfigError(f"format must be one of {', '.join(map(repr, get_args(DatagramFormat)))}, not {format!r}")
        if id_param is not None:
            check_name("parameter (id_param)", id_param)
            if format == "text" and "\n" in id_param:
                raise ConfigError(f"id_param must be without line breaks as text, not {id_param!r}")
        self.datagrams = Datagrams(format, id_param=id_param)
        self.forget()

    def forget(self) -> None:
        """Be as declared again, see `Strategy.forget`."""
        self._socket: DatagramSocket | None = None
        self._observers: tuple[Observer, ...] = ()
        self._waits: set[asyncio.Timeout] = set()
        self._outcomes: dict[Outcome, int] = {}

    def __repr__(self) -> str:
        return f"<DatagramSink {self.name!r}>"

    async def open(self, opening: Opening) -> None:
        """Have the socket opened; doesn't wait for it.

        Raises:
            UsageError: it is open already.
        """
        if self._socket is not None:
            raise UsageError(f"{self.name} is open already; make a sink for each place")
        address = self.address
        place = address.path if isinstance(address, UnixAddress) else (address.host, address.port)
        self._socket = DatagramSocket(asyncio.get_running_loop(), place)
        self._socket.begin()
        self._observers = opening.observers

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:  # it has no children
        """Its timeout; see `failover.foresight`."""
        return WorstCase(self.timeout if within is None else min(within, self.timeout), sends=True, alone=self.timeout)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Send one event; see `Sink`."""
        began = asyncio.get_running_loop().time()
        to = self._socket
        if to is None:
            return self._ended(event, began, Outcome.SKIPPED, "the sink is not open")
        if deadline is not None and deadline <= began:
            return self._ended(event, began, Outcome.SKIPPED, "no time left before the deadline")
        try:
            data = self.datagrams.encode(event)
            handed = to.ready and to.send(data)
            if handed and not to.full:
                return self._ended(event, began, Outcome.SENT)
            if not handed and len(self._waits) >= _WAITING:
                return self._ended(event, began, Outcome.SKIPPED, _FULL)
            return await self._wait(to, event, data, began, deadline, handed=handed)
        except ValueError as unfit:
            return self._ended(event, began, Outcome.SKIPPED, str(unfit))

    def status(self) -> Status:
        """How it stands; it is up while it is open, since nobody knows better."""
        to = self._socket
        reason = "not open" if to is None else to.problem
        return Status(
            name=self.name,
            up=to is not None,
            reason=reason,
            in_flight=len(self._waits),
            outcomes=dict(self._outcomes),
            address=str(self.address),
        )

    async def aclose(self) -> None:
        """Close the socket; what waits gets its receipt. Idempotent."""
        to, self._socket = self._socket, None
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0.0)
        if to is not None:
            await to.aclose()

    async def _wait(
        self,
        to: DatagramSocket,
        event: Event,
        data: bytes,
        began: float,
        deadline: float | None,
        *,
        handed: bool,
    ) -> Receipt:
        """Send when it can be sent, once more if the socket turns out to be broken, until it is out of time."""
        own = began + self.timeout
        cut = deadline is not None and deadline < own
        wait = asyncio.timeout_at(deadline if cut else own)
        sending = _Sending(to, data, handed=handed)
        try:
            async with wait:
                self._waits.add(wait)
                sent = await sending.send()
        except TimeoutError:
            return self._out_of_time(event, began, sending, cut=cut)
        except asyncio.CancelledError as cancelled:
            left = sending.withdraw()
            cancelled.receipt = self._ended(event, began, Outcome.ABANDONED, "cancelled", sent=left)  # type: ignore[attr-defined]
            raise
        finally:
            self._waits.discard(wait)
        if sent:
            return self._ended(event, began, Outcome.SENT)
        if self._socket is not to:
            return self._ended(event, began, Outcome.ABANDONED, "the group was closed")
        return self._ended(event, began, Outcome.UNREACHABLE, to.problem)

    def _out_of_time(self, event: Event, began: float, sending: _Sending, *, cut: bool) -> Receipt:
        """What became of a delivery that could not wait any longer."""
        if sending.withdraw():
            return self._ended(event, began, Outcome.SENT)
        if self._socket is not sending.to:
            return self._ended(event, began, Outcome.ABANDONED, "the group was closed")
        if sending.opened:
            return self._ended(event, began, Outcome.SKIPPED, _FULL)
        if cut:
            return self._ended(event, began, Outcome.ABANDONED, "deadline")
        return self._ended(event, began, Outcome.UNREACHABLE, f"connect: no address within {self.timeout:g} s")

    def _ended(self, event: Event, began: float, outcome: Outcome, reason: str = "", *, sent: bool = False) -> Receipt:
        now = asyncio.get_running_loop().time()
        sent = sent or outcome is Outcome.SENT
        attempt = Attempt(event, self.name, outcome, began, now, reason=reason, sent=sent)
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if self._observers:
            notify(self._observers, AttemptEnded(attempt))
        return attempt


def udp(
    socket: str,
    *,
    name: str | None = None,
    timeout: float = _TIMEOUT,
    format: DatagramFormat = "jsonrpc",  # the field's word
    id_param: str | None = None,
) -> DatagramSink:
    """Declare a sink that sends each event as a UDP datagram.

    An event is SENT as soon as the kernel has it: nobody confirms, and datagrams may be lost. If the other machine says
    that nobody listens there, the events that follow are UNREACHABLE, until it says so no more. An event that doesn't
    fit into a datagram is SKIPPED, never truncated.

    Args:
        socket: `host:port`, with or without `udp:` before it; IPv6 in brackets.
        name: How it is called in receipts; the address by default.
        timeout: Seconds for one attempt: to find the address and to wait for room in the kernel.
        format: `jsonrpc`, a notification without an id, as OpenSIPS 3.1 and newer send it, at most 65,457 bytes;
            `text`, the lines of 2.4 and 3.0, at most 16,384 bytes.
        id_param: The name under which the event's id is the last of the params; None leaves it out.

    Raises:
        AddressError: the socket can't be parsed.
        ConfigError: an argument out of its range.

    Source: OpenSIPS event_datagram.
    """
    rest = Span(socket, len("udp:")) if socket.startswith("udp:") else Span(socket)
    address = parse_udp("udp", rest)
    return DatagramSink(address, name=name, timeout=timeout, format=format, id_param=id_param)


def unix(
    socket: str,
    *,
    name: str | None = None,
    timeout: float = _TIMEOUT,
    format: DatagramFormat = "jsonrpc",  # the field's word
    id_param: str | None = None,
) -> DatagramSink:
    """Declare a sink that sends each event as a datagram to a Unix socket of this machine.

    As `udp`, but nothing is lost on the way, and that nobody is there is known at once: UNREACHABLE.

    Args:
        socket: The socket's absolute path, with or without `unix:` before it.
        name: As of `udp`.
        timeout: As of `udp`.
        format: As of `udp`.
        id_param: As of `udp`.

    Raises:
        AddressError: there can't be a socket of that path.
        ConfigError: an argument out of its range.

    Source: OpenSIPS event_datagram.
    """
    rest = Span(socket, len("unix:")) if socket.startswith("unix:") else Span(socket)
    address = parse_unix("unix", rest)
    return DatagramSink(address, name=name, timeout=timeout, format=format, id_param=id_param)


def make_datagram(address: Address, defaults: Defaults, **options: Any) -> DatagramSink:
    """The sink of an address of either scheme; see `failover.schemes.Maker`."""
    assert isinstance(address, SocketAddress | UnixAddress)  # noqa: S101  # what these schemes' own parsers make
    given: dict[str, Any] = {
        "name": None,
        "timeout": defaults.timeout,
        "format": "jsonrpc",
        "id_param": defaults.id_param,
    }
    return DatagramSink(address, **(given | options))
