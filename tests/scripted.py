"""A peer whose answer to every request is scripted, on real loopback sockets, and what runs a program beside it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache, partial
from ssl import SSLContext
from typing import Any, Self

import pytest

from failover.build import build
from failover.net.peers import Peers
from failover.records import Observer
from failover.schemes import Defaults
from failover.sink import Opening, Sink, open_sink
from failover.subscriber.listening import stop_listening

__all__ = [
    "Action",
    "Call",
    "Link",
    "Program",
    "Run",
    "ScriptedPeer",
    "after",
    "black_hole",
    "bytewise",
    "close",
    "close_after",
    "close_amid",
    "confirm",
    "error",
    "in_pairs",
    "opened",
    "raw",
    "refusing",
    "reset",
    "result",
    "run",
    "silent",
    "turns",
    "until",
]

Program = Callable[[], Coroutine[Any, Any, Any]]
Run = Callable[[Program], Any]

LIMIT = 20.0  # seconds after which a program has hung


class Call:
    """One request or notification that came, and the means to answer it, now or later."""

    def __init__(self, link: Link, request: dict[str, Any], raw: bytes) -> None:
        self.link = link
        self.raw = raw
        self.id: Any = request.get("id")
        self.method: str = request["method"]
        self.params: Any = request.get("params")

    def reply(self, **members: Any) -> bytes:
        """The bytes of a reply to it, which nobody has sent yet."""
        return json.dumps({"id": self.id, **members}, separators=(",", ":")).encode()

    def confirm(self) -> None:
        """Confirm it."""
        self.link.write(self.reply(result="ok"))


Action = Callable[[Call], object]


class Link(asyncio.Protocol):
    """One connection that was accepted."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.calls: list[Call] = []
        self._buffer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read, unless the peer never does."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.peer.links.append(self)
        if not self.peer.reads:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._pause)  # uvloop begins to read all the same
        if self.peer.on_connect is not None:
            self.peer.on_connect(self)
        self.peer.news()

    def _pause(self) -> None:
        if not self.peer.reads and not self.lost.done():
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Cut requests out of the stream and have each answered by its action."""
        self.peer.received += len(data)
        self._buffer += data.decode("latin-1")
        while self._buffer:
            try:
                request, end = _decoder.raw_decode(self._buffer)
            except ValueError:
                break
            call = Call(self, request, self._buffer[:end].encode("latin-1"))
            self._buffer = self._buffer[end:]
            self.calls.append(call)
            self.peer.calls.append(call)
            self.peer.action(call)
        self.peer.news()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember that it is gone."""
        self.lost.set_result(exc)
        self.peer.news()

    def write(self, data: bytes) -> None:
        """Send bytes, if anybody is there to get them."""
        if not self.lost.done():
            self.transport.write(data)

    def reset(self) -> None:
        """Break the connection by a reset rather than by an end."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


_decoder = json.JSONDecoder()


class ScriptedPeer:
    """A server on loopback.

    Args:
        script: What to do with each request in turn; the last action is for all that follow.
        reads: Whether it reads at all.
        ssl: For TLS.
        host: Where it listens.
        port: 0 for any that is free.
        on_connect: Called with each connection.
    """

    def __init__(
        self,
        *script: Action,
        reads: bool = True,
        ssl: SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        on_connect: Callable[[Link], object] | None = None,
    ) -> None:
        self.script: list[Action] = list(script) or [confirm]
        self.reads = reads
        self.on_connect = on_connect
        self.host = host
        self.port = port
        self.links: list[Link] = []
        self.calls: list[Call] = []
        self.received = 0
        self._ssl = ssl
        self._news: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not self.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((self.host, self.port))
        self.port = sock.getsockname()[1]
        self._server = await loop.create_server(lambda: Link(self), sock=sock, ssl=self._ssl)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and break all connections."""
        await stop_listening(self._server)
        for link in self.links:
            link.transport.abort()
        await asyncio.gather(*(link.lost for link in self.links))

    @property
    def address(self) -> str:
        """As in a socket's address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def action(self, call: Call) -> None:
        """Do what the script says."""
        (self.script.pop(0) if len(self.script) > 1 else self.script[0])(call)

    def news(self) -> None:
        """Wake who waits for something to happen here."""
        waiting, self._news = self._news, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def when(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened here."""
        while not happened():
            one = asyncio.get_running_loop().create_future()
            self._news.append(one)
            await one

    async def got(self, count: int) -> list[Call]:
        """Wait until so many requests have come in all."""
        await self.when(lambda: len(self.calls) >= count)
        return self.calls

    async def accepted(self, count: int = 1) -> Link:
        """Wait until so many connections have been accepted in all; return the newest."""
        await self.when(lambda: len(self.links) >= count)
        return self.links[-1]


def confirm(call: Call) -> None:
    """Confirm it."""
    call.confirm()


def silent(call: Call) -> None:
    """Say nothing."""


def error(code: int, text: str = "no", data: Any = None) -> Action:
    """Refuse with an error."""
    reply = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return lambda call: call.link.write(call.reply(error=reply))


def result(value: Any) -> Action:
    """Confirm with a result."""
    return lambda call: call.link.write(call.reply(result=value))


def raw(template: bytes) -> Action:
    """Send bytes, with `ID` for the request's id."""
    return lambda call: call.link.write(template.replace(b"ID", str(call.id).encode()))


def after(*actions: Action) -> Action:
    """Do one thing after the other for the same request."""
    return lambda call: [action(call) for action in actions]


def close(call: Call) -> None:
    """End the connection."""
    call.link.transport.close()


def reset(call: Call) -> None:
    """Reset the connection."""
    call.link.reset()


def close_amid(call: Call) -> None:
    """Send half a reply and end the connection."""
    reply = call.reply(result="ok")
    call.link.write(reply[: len(reply) // 2])
    call.link.transport.close()


def close_after(call: Call) -> None:
    """Confirm and end the connection."""
    call.confirm()
    call.link.transport.close()


def bytewise(call: Call) -> None:
    """Confirm, one byte in a loop turn."""
    loop = asyncio.get_running_loop()
    reply = call.reply(result="ok")

    def send(position: int) -> None:
        call.link.write(reply[position : position + 1])
        if position + 1 < len(reply):
            loop.call_soon(send, position + 1)

    send(0)


def in_pairs(call: Call) -> None:
    """Confirm every second request together with the one before it, in one segment, the newer one first."""
    calls = call.link.calls
    if len(calls) % 2 == 0:
        call.link.write(call.reply(result="ok") + calls[-2].reply(result="ok"))


@contextmanager
def refusing() -> Generator[str]:
    """An address at which connects are refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Generator[str]:
    """An address at which connects get no answer: its backlog is full and nobody accepts."""
    with socket.socket() as sock:
        sock.bind((host, port))
        sock.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)  # noqa: FBT003  # how the standard library signs it
                with suppress(BlockingIOError):
                    filler.connect(sock.getsockname())
            yield f"{host}:{sock.getsockname()[1]}"
        finally:
            for filler in fillers:
                filler.close()


@asynccontextmanager
async def opened(*sinks: Sink, peers: Peers | None = None, observers: Sequence[Observer] = ()) -> AsyncGenerator[None]:
    """Sinks that are open within a block, as a group would open them."""
    resolve = partial(build, defaults=Defaults())
    opening = Opening(Peers.current() if peers is None else peers, resolve, observers=tuple(observers))
    try:
        for sink in sinks:
            await open_sink(sink, opening)
        yield
    finally:
        for sink in sinks:
            await sink.aclose()


async def turns(count: int = 5) -> None:
    """Let the loop turn some times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(happened: Callable[[], object]) -> None:
    """Let the loop turn until something has happened; a program that hangs is ended by `run`."""
    while not happened():  # noqa: ASYNC110  # what happens has no event to wait for
        await asyncio.sleep(0)


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    loop: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip("uvloop").new_event_loop
    return loop


@cache
def _settle() -> None:
    """Take all that is imported out of the collector's sight: it looks after every test, at what the test left."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a program on a loop; it must leave no task, no unclosed socket and no error in the loop behind."""
    _settle()
    factory = _uvloop() if request.param == "uvloop" else asyncio.SelectorEventLoop

    def running(program: Program) -> Any:
        faults: list[dict[str, Any]] = []

        async def main() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            value = await asyncio.wait_for(program(), LIMIT)
            await turns()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"
            return value

        with asyncio.Runner(loop_factory=factory) as runner:
            value = runner.run(main())
        gc.collect()
        assert not faults, f"errors in the loop: {faults}"
        return value

    return running
