"""The simulator is true: whatever is done at two ends of a connection, they hear the same on the kernel's network."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.sim import Simulation
from tests.examples import examples

HOST = "127.0.0.1"
ACTS = ("write", "much", "pause", "resume", "eof", "close", "abort", "reset", "wait")
SCRIPT = st.lists(st.tuples(st.sampled_from((0, 1)), st.sampled_from(ACTS)), min_size=1, max_size=8)
PAUSE = 0.005


class Side(asyncio.Protocol):
    """One end: does what it is told and writes down what it hears."""

    def __init__(self, *, keep_open: bool) -> None:
        self.keep_open = keep_open
        self.heard: list[Any] = []
        self.made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # so that little is "much"
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 16_384)
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Count, wherever it was cut."""
        if self.heard and isinstance(self.heard[-1], int):
            self.heard[-1] += len(data)
        else:
            self.heard.append(len(data))

    def eof_received(self) -> bool:
        """Note it."""
        self.heard.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        """Note it."""
        self.heard.append("full")

    def resume_writing(self) -> None:
        """Note it."""
        self.heard.append("room")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.heard.append(type(exc).__name__)
        self.lost.set_result(None)

    def act(self, what: str) -> None:
        """Do it, if there is still a transport to do it with."""
        transport = self.transport
        if self.lost.done():
            return
        acts: dict[str, Callable[[], object]] = {
            "write": lambda: transport.write(b"hello"),
            "much": lambda: transport.write(bytes(2_000_000)),
            "pause": transport.pause_reading,
            "resume": transport.resume_reading,
            "eof": transport.write_eof,
            "close": transport.close,
            "abort": transport.abort,
            "reset": self.reset,
            "wait": lambda: None,
        }
        try:
            acts[what]()
        except (RuntimeError, OSError) as error:
            self.heard.append(str(error))

    def reset(self) -> None:
        """Close, and let that send a RST."""
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.close()

    @property
    def reading(self) -> bool:
        """Whether it takes what comes."""
        return self.transport.is_reading()

    @property
    def quiet(self) -> bool:
        """Whether it has nothing left to send."""
        return self.lost.done() or not self.transport.get_write_buffer_size()


async def play(script: list[tuple[int, str]], keep_open: tuple[bool, bool]) -> Any:
    """Connect two sides, let them act one after the other, end both, and give what each has heard."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Side] = loop.create_future()

    def accept() -> Side:
        side = Side(keep_open=keep_open[1])
        accepted.set_result(side)
        return side

    server = await loop.create_server(accept, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(lambda: Side(keep_open=keep_open[0]), HOST, port)
    sides = (client, await accepted)
    await sides[1].made
    for number, what in script:
        sides[number].act(what)
        await settle(sides)
    much = any(what == "much" for _, what in script)
    before = [] if much else [list(side.heard) for side in sides]  # a large write may take a moment
    for side in sides:
        side.act("resume")
        await settle(sides)
    for side in sides:
        side.act("abort")
        await asyncio.sleep(PAUSE)
    await client.lost
    await sides[1].lost
    server.close()
    await server.wait_closed()
    return [comparable(heard, much=much) for heard in (*before, *(side.heard for side in sides))]


async def settle(sides: tuple[Side, Side]) -> None:
    """Wait until everything has got through that can."""
    await asyncio.sleep(PAUSE)
    for _ in range(400):
        if all(side.quiet for side in sides) or not all(side.lost.done() or side.reading for side in sides):
            break
        await asyncio.sleep(PAUSE)
    await asyncio.sleep(PAUSE)


def comparable(heard: list[Any], *, much: bool) -> list[Any]:
    """What was heard; how much of large writes got through and when depends on the size of buffers."""
    return [item for item in heard if not (much and (isinstance(item, int) or item in {"full", "room"}))]


def compare(script: list[tuple[int, str]], keep_open: tuple[bool, bool]) -> None:
    """Play it on both networks."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        real = runner.run(asyncio.wait_for(play(script, keep_open), 20))
    assert Simulation(seed=1).run(play(script, keep_open)) == real


@examples(12)
@given(script=SCRIPT, keep_open=st.tuples(st.booleans(), st.booleans()))
def test_any_acts(script: list[tuple[int, str]], keep_open: tuple[bool, bool]) -> None:
    """Both ends hear the same on both networks, whatever is done at either."""
    compare(script, keep_open)


@pytest.mark.slow
@examples(300)
@given(script=SCRIPT, keep_open=st.tuples(st.booleans(), st.booleans()))
def test_very_many_acts(script: list[tuple[int, str]], keep_open: tuple[bool, bool]) -> None:
    """The same, many more times."""
    compare(script, keep_open)
