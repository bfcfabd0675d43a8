"""`failover listen`: a subscriber to try things out with; it prints what comes and answers as it's told."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Final

import msgspec
import typer

from failover.address import Span, parse_socket
from failover.cli.terminal import discard_output, friendly, printable
from failover.errors import AddressError, ConfigError
from failover.subscriber import Request, RpcError, Subscriber, SubscriberStatus

__all__ = ["listen"]

_UNANSWERED: Final = 64 * 1024  # events that --silent holds; the oldest are let go, as their senders have by then


def listen(
    place: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where to listen; port 0 lets the system choose.")],
    *,
    reply: Annotated[str | None, typer.Option(metavar="JSON", help='Confirm with this result instead of "ok".')] = None,
    error: Annotated[int | None, typer.Option(metavar="CODE", help="Refuse every event with this code.")] = None,
    silent: Annotated[bool, typer.Option("--silent", help="Never answer.")] = False,
    id_param: Annotated[
        str | None, typer.Option(metavar="NAME", help="The param with an event's id: what comes again isn't printed.")
    ] = None,
    expose: Annotated[bool, typer.Option("--expose", help="Listen where other machines can reach it.")] = False,
) -> None:
    """Receive events, print each (time, sender, method, params) and confirm it. Ctrl-C ends it and prints the counts.

    Whoever can reach the port can send events: only this machine can, unless
    --expose is given.

    Examples:
      failover listen 127.0.0.1:8080
      failover listen 127.0.0.1:8080 --reply '{"stored": true}'
      failover listen 127.0.0.1:8081 --error -32000
      failover listen [::1]:8082 --silent
      failover listen --expose 0.0.0.0:8080
    """
    with friendly():
        if (reply is not None) + (error is not None) + silent > 1:
            raise ConfigError("--reply, --error and --silent exclude each other; give one of them")
        host, port = _place(place)
        if not expose and not _is_loopback(host):
            raise ConfigError(
                f"{host} can be reached from other machines; to listen there, give --expose,"
                f" or listen on this machine only: 127.0.0.1:{port}"
            )
        subscriber = Subscriber(host, port, in_order=False, id_param=id_param, replace_bad_utf8=True)
        status = asyncio.run(_listen(subscriber, _answer(reply, error, silent=silent), drain=0.0 if silent else 1.0))
    _say(
        f"{status.requests} events and {status.notifications} notifications over {status.accepted} connections;"
        f" {status.confirmed} confirmed, {status.errors} refused, {status.malformed} malformed"
        + ("" if id_param is None else f", {status.repeats} repeated")
    )


async def _listen(subscriber: Subscriber, answer: Callable[[], object], *, drain: float) -> SubscriberStatus:
    """Serve until a signal says to end."""
    end = asyncio.Event()
    unwritable: OSError | None = None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)

    @subscriber.default(whole=True)
    def received(request: Request) -> object:  # pyright: ignore[reportUnusedFunction]  # it's registered
        nonlocal unwritable
        try:
            sys.stdout.write(f"{_line(request)}\n")
            sys.stdout.flush()
        except OSError as error:  # what wasn't printed isn't confirmed
            discard_output()
            end.set()
            if not isinstance(error, BrokenPipeError):  # that is how whoever read it ends this
                unwritable = error
            raise RpcError(-32000, "Closing") from None
        return answer()

    async with subscriber:
        _say(f"listening on {subscriber.socket}; Ctrl-C ends it")
        await end.wait()
        before = subscriber.status()
        await subscriber.aclose(within=drain)
    if unwritable is not None:
        raise unwritable
    return subscriber.status() if drain else before  # whom silence kept waiting is cut off, not refused


def _answer(reply: str | None, error: int | None, *, silent: bool) -> Callable[[], object]:
    """What makes the answer to each event: a result, an exception, or something that never ends."""
    if silent:
        return _Silence()
    if error is not None:

        def refuse() -> object:
            raise RpcError(error, "refused, as failover listen was told")

        return refuse
    if reply is None:
        return lambda: None
    try:
        result = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(reply)))
    except (msgspec.DecodeError, UnicodeError) as problem:
        raise ConfigError(f"--reply {reply}: not JSON ({problem})") from None
    return lambda: result


class _Silence:
    """Answers nothing, and forgets the oldest when it has kept too many waiting."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self) -> None:
        if len(self._waiting) == _UNANSWERED:
            self._waiting.popleft().cancel()
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            raise RpcError(-32000, "Closing") from None


def _place(text: str) -> tuple[str, int]:
    """Host and port of where to listen; unlike in an address, the port may be 0."""
    any_port = text.endswith(":0")
    place = parse_socket("jsonrpc", Span(f"{text[:-1]}1" if any_port else text))
    if place.method is not None:
        raise AddressError(text, text.index("/"), "a method", "HOST:PORT alone; every method is listened to")
    return place.host, 0 if any_port else place.port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _line(request: Request) -> str:
    """One event as it's printed."""
    now = datetime.now().astimezone().isoformat(" ", "milliseconds")
    params = "" if request.params is None else " " + msgspec.json.encode(request.params).decode()
    event_id = "" if request.event_id is None else f" (id {msgspec.json.encode(request.event_id).decode()})"
    unconfirmed = "" if request.raw_id is not None else " (notification)"
    return printable(f"{now} {request.peer} {request.method}{params}{event_id}{unconfirmed}").replace("\n", "\\n")


def _say(text: str) -> None:
    typer.echo(text, err=True)
