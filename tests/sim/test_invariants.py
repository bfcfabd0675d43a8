"""What TCP promises holds under any schedule of faults: order, no invention, one end, and no waiting for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.sim import Fault, Network, Simulation, log_normal
from tests.examples import examples

VERBS = (
    "refuse",
    "black_hole",
    "one_way",
    "other_way",
    "hold",
    "loss",
    "jitter",
    "bandwidth",
    "reset",
    "half_open",
    "crash",
    "silence",
    "nothing",
)
STEP = st.tuples(
    st.sampled_from(VERBS), st.sampled_from((0.0, 0.003, 0.1, 1.7)), st.sampled_from((0.0, 0.01, 0.5, 4.0))
)


PATTERN = bytes(range(251)) * 1200
"""What is written, over and over; its period is prime, so that a byte in a wrong place is noticed."""


class End(asyncio.Protocol):
    """One end of a connection: writes numbered bytes for a while, pauses now and then, and checks what it hears."""

    def __init__(self, chance: random.Random, ends: list[End]) -> None:
        self.chance = chance
        self.sent = 0
        self.received = 0
        self.aborted = False
        self.ended: list[str] = []
        self.transport: asyncio.Transport
        ends.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        assert not self.ended
        self.transport = transport
        self.address = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self.write()

    def write(self) -> None:
        """Write some, and again later; at the end one of the ways to end."""
        if self.ended or self.transport.is_closing():
            return
        if self.sent < 100_000:
            size = self.chance.choice((1, 10, 1000, 40_000))
            self.transport.write(piece(self.sent, size))
            self.sent += size
            if self.chance.random() < 0.2:
                self.transport.pause_reading()
                asyncio.get_running_loop().call_later(self.chance.random(), self.transport.resume_reading)
            asyncio.get_running_loop().call_later(self.chance.expovariate(20), self.write)
            return
        with contextlib.suppress(OSError):  # write_eof, after a RST that a paused reader has not seen
            self.chance.choice((self.transport.write_eof, self.transport.close, self.abort))()

    def abort(self) -> None:
        """End without sending what is buffered."""
        self.aborted = True
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Every byte is the next one that the peer wrote."""
        assert not self.ended
        assert data == piece(self.received, len(data))
        self.received += len(data)

    def eof_received(self) -> bool:
        """At most once, and nothing after it but the loss."""
        assert not self.ended
        self.ended.append("eof")
        self.transport.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Once."""
        assert self.ended in ([], ["eof"])
        self.ended.append(type(exc).__name__)


def piece(start: int, size: int) -> bytes:
    """So many bytes of the pattern, from a place in the endless repetition of it."""
    return PATTERN[start % 251 : start % 251 + size]


def break_it(network: Network, verb: str) -> Fault | int | None:
    """Do what a verb says to app1 or the way to it."""
    host = network.host("app1")
    if verb == "crash":
        host.crash()
    elif verb == "silence":
        host.crash("silent")
    elif verb == "one_way":
        return network.partition("main", "app1", one_way=True)
    elif verb == "other_way":
        return network.partition("app1", "main", one_way=True)
    elif verb == "hold":
        return network.hold("main", "app1", one_way=False)
    elif verb == "loss":
        return network.loss(0.3, "app1")
    elif verb == "jitter":
        return network.jitter(0.2, "app1")
    elif verb == "bandwidth":
        return network.bandwidth(50_000, "app1")
    elif verb != "nothing":
        fault: Fault | int = getattr(network, verb)("app1")
        return fault
    return None


def run(seed: int, steps: list[tuple[str, float, float]]) -> list[End]:
    """Connections between main and app1 while things break, until every one has ended."""
    simulation = Simulation(seed, latency=log_normal(0.005), cut=0.5, buffer=20_000)
    network = simulation.network
    ends: list[End] = []
    errors: list[Any] = []

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(partial(End, random.Random(seed), ends), None, 80)
        await server.serve_forever()

    async def client() -> None:
        loop = asyncio.get_running_loop()
        for number in range(4):
            with contextlib.suppress(ConnectionRefusedError, TimeoutError):
                await loop.create_connection(partial(End, random.Random(number), ends), "app1", 80)
            await asyncio.sleep(0.3)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        app1 = network.host("app1", start=serve)
        await asyncio.sleep(0.1)
        clients = asyncio.create_task(client())
        for verb, lasts, then in steps:
            fault = break_it(network, verb)
            await asyncio.sleep(lasts)
            if isinstance(fault, Fault):
                fault.repair()
            if not app1.up:
                app1.restart()
            await asyncio.sleep(then)
        await clients
        await asyncio.sleep(3000)  # longer than any timeout of TCP's
        for end in ends:  # a half-open connection to nobody can be quiet for ever
            if not end.ended and not end.transport.is_closing():
                end.abort()
        await asyncio.sleep(3000)

    simulation.run(main())
    assert not errors
    check(ends)
    return ends


def check(ends: list[End]) -> None:
    """What came is what was written; after an orderly end it is all of it."""
    by_address = {end.address: end for end in ends}
    for end in ends:
        peer = by_address.get(end.address[::-1])
        if peer is None:
            assert end.received == 0
        elif end.ended[:1] == ["eof"] and not peer.aborted:
            assert end.received == peer.sent, "an orderly end comes after everything that was written"
        else:
            assert end.received <= peer.sent


@examples(60)
@given(seed=st.integers(0, 2**32), steps=st.lists(STEP, max_size=6))
def test_streams_under_any_faults(seed: int, steps: list[tuple[str, float, float]]) -> None:
    """Bytes come in order and none twice, each end hears of its end once, and nothing is left hanging."""
    run(seed, steps)


def test_streams_without_faults() -> None:
    """With nothing broken everything that was written before an orderly end arrives."""
    for seed in range(20):
        ends = run(seed, [])
        assert len(ends) == 8
        assert all(end.ended for end in ends), "every end hears of its end"


@pytest.mark.slow
@examples(1000)
@given(seed=st.integers(0, 2**32), steps=st.lists(STEP, max_size=12))
def test_streams_under_very_many_faults(seed: int, steps: list[tuple[str, float, float]]) -> None:
    """The same, many more times."""
    run(seed, steps)
