"""Order, bounds and back-pressure of a subscriber's connections, on real sockets."""

# pyright: reportPrivateUsage=false
# A test may look inside to see what a peer can't: that reading has stopped.

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from failover.errors import ConfigError
from failover.protocol.framing import Framer
from failover.subscriber import RpcError, Subscriber

Run = Callable[[Coroutine[Any, Any, None]], None]
OBJECTS = msgspec.json.Decoder(dict[str, Any])


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on each kind of loop."""
    if request.param == "asyncio":
        return asyncio.run
    new_event_loop = importlib.import_module("uvloop").new_event_loop

    def on_uvloop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(main)

    return on_uvloop


class Gate:
    """Functions that say when they begin and end when they are told, by number."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self._changed = asyncio.Event()
        self._open: dict[int, asyncio.Event] = {}

    def open(self, *numbers: int) -> None:
        """Let functions end."""
        for number in numbers:
            self._open.setdefault(number, asyncio.Event()).set()

    async def function(self, params: list[int]) -> list[int]:
        """Serve one event."""
        (number,) = params
        self.begun.append(number)
        self._changed.set()
        try:
            await self._open.setdefault(number, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            self._changed.set()
            raise
        self.ended.append(number)
        self._changed.set()
        return params

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the functions holds."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def gated(**settings: Any) -> tuple[Subscriber, Gate]:
    """Make a subscriber whose functions wait."""
    subscriber, gate = Subscriber(**settings), Gate()
    subscriber.method("G")(gate.function)
    return subscriber, gate


def same(params: object) -> object:
    """Confirm at once."""
    return params


@contextlib.asynccontextmanager
async def connected(
    subscriber: Subscriber,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a subscriber."""
    reader, writer = await asyncio.open_connection(*subscriber.address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def call(number: int, method: str = "G", params: object = None) -> bytes:
    """Make a request."""
    shown = [number] if params is None else params
    return json.dumps({"id": number, "jsonrpc": "2.0", "method": method, "params": shown}).encode()


async def read(reader: asyncio.StreamReader, count: int) -> list[Any]:
    """Read so many replies, or as many as come before the end."""
    framer, replies = Framer(OBJECTS), list[Any]()
    async with asyncio.timeout(20):
        while len(replies) < count and (data := await reader.read(2**18)):
            replies += framer.feed(data)
    return replies


def reset(writer: asyncio.StreamWriter) -> None:
    """Vanish with a reset, which unlike a FIN says that nobody is there any more."""
    connection = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what the loop does next has no event of its own
            await asyncio.sleep(0)


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


# Order.


def test_in_order_one_is_begun_when_the_last_has_ended(run: Run) -> None:
    """One connection's events are served one after the other; plain functions wait their turn too."""

    async def main() -> None:
        subscriber, gate = gated()
        plain: list[object] = []
        subscriber.method("E")(plain.append)
        async with subscriber, connected(subscriber) as (reader, writer):
            writer.write(call(1) + call(2) + call(3, "E") + call(4))
            await gate.until(lambda: gate.begun == [1])
            gate.open(4, 2)
            await turns(20)
            assert (gate.begun, plain) == ([1], [])
            gate.open(1)
            assert [reply["id"] for reply in await read(reader, 4)] == [1, 2, 3, 4]
            assert (gate.begun, plain) == ([1, 2, 4], [[3]])

    run(main())


def test_out_of_order_replies_go_as_functions_end(run: Run) -> None:
    """Without order functions run at the same time and each reply goes when it's ready."""

    async def main() -> None:
        subscriber, gate = gated(in_order=False)
        subscriber.method("E")(same)
        async with subscriber, connected(subscriber) as (reader, writer):
            writer.write(call(1) + call(2) + call(3, "E") + call(4))
            await gate.until(lambda: gate.begun == [1, 2, 4])
            assert [reply["id"] for reply in await read(reader, 1)] == [3]
            for number in (4, 1, 2):
                gate.open(number)
                assert [reply["id"] for reply in await read(reader, 1)] == [number]

    run(main())


def test_connections_do_not_wait_for_each_other(run: Run) -> None:
    """Order is one connection's own matter."""

    async def main() -> None:
        subscriber, gate = gated()
        async with subscriber, connected(subscriber) as first, connected(subscriber) as second:
            first[1].write(call(1))
            await gate.until(lambda: gate.begun == [1])
            gate.open(2)
            second[1].write(call(2))
            assert [reply["id"] for reply in await read(second[0], 1)] == [2]
            gate.open(1)
            assert [reply["id"] for reply in await read(first[0], 1)] == [1]

    run(main())


def test_replies_of_one_turn_are_written_at_once(run: Run) -> None:
    """A thousand requests of one segment are answered in one write, not in a thousand."""

    async def main() -> None:
        subscriber = Subscriber()
        subscriber.method("E")(same)
        writes: list[int] = []
        async with subscriber, connected(subscriber) as (reader, writer):
            await turns_until(lambda: subscriber.status().connections == 1)
            assert subscriber._service is not None
            (connection,) = subscriber._service.connections

            def count(data: bytes, write: Callable[[bytes], None] = connection._transport.write) -> None:
                writes.append(len(data))
                write(data)

            class Counted:
                def __getattr__(self, name: str) -> Any:
                    return count if name == "write" else getattr(transport, name)

            transport, connection._transport = connection._transport, Counted()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
            writer.write(b"".join(call(number, "E") for number in range(1000)))
            assert len(await read(reader, 1000)) == 1000
        assert len(writes) <= 4

    run(main())


# Bounds.


@pytest.mark.parametrize("in_order", [True, False])
def test_reading_pauses_at_the_bound_in_flight_and_goes_on_below(run: Run, in_order: bool) -> None:  # noqa: FBT001
    """With functions that don't end, a peer that sends for ever is held back in its own socket."""

    async def main() -> None:
        subscriber, gate = gated(max_in_flight=8, in_order=in_order)
        width = 1 if in_order else 8
        async with subscriber:
            loop = asyncio.get_running_loop()
            with socket.socket() as sender:
                sender.settimeout(0)
                await loop.sock_connect(sender, subscriber.address)
                stream = b"".join(call(number) + b" " * 5000 for number in range(2000))
                sending = loop.create_task(loop.sock_sendall(sender, stream))
                await gate.until(lambda: len(gate.begun) == width)
                await turns(200)
                held = subscriber.status().in_flight
                assert 8 <= held < 200  # what one read brought
                assert not sending.done()
                assert len(gate.begun) == width
                gate.open(*range(2000))
                replies = Framer(OBJECTS)
                numbers = list[int]()
                async with asyncio.timeout(20):
                    while len(numbers) < 2000:
                        data = await loop.sock_recv(sender, 2**18)
                        assert data
                        numbers += [value["id"] for value in replies.feed(data) if isinstance(value, dict)]
                await sending
                assert sorted(numbers) == list(range(2000))
                assert gate.ended == list(range(2000)) or not in_order

    run(main())


@pytest.mark.parametrize("method", ["plain", "coroutine"])
def test_a_peer_that_does_not_read_is_not_served_any_further(run: Run, method: str) -> None:
    """Unread replies stop the reading of requests; memory stays bounded and all is served when the peer reads."""
    served = 0

    async def main() -> None:
        subscriber = Subscriber(max_unread=2**16)

        @subscriber.method("plain")
        def plain(_params: object) -> str:
            nonlocal served
            served += 1
            return "x" * 20_000

        @subscriber.method("coroutine")
        async def coroutine(_params: object) -> str:
            return plain(None)

        assert callable(coroutine)
        async with subscriber:
            loop = asyncio.get_running_loop()
            with socket.socket() as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sender.settimeout(0)
                await loop.sock_connect(sender, subscriber.address)
                count = 1000
                stream = b"".join(call(number, method) + b" " * 2000 for number in range(count))
                sending = loop.create_task(loop.sock_sendall(sender, stream))
                await turns_until(lambda: subscriber.status().connections == 1)
                assert subscriber._service is not None
                (connection,) = subscriber._service.connections
                await turns_until(lambda: not connection._writable)
                await turns(200)
                stopped = served
                assert stopped < count
                assert connection._transport.get_write_buffer_size() < 2**16 + 2 * 2**16
                await turns(200)
                assert served == stopped
                assert not connection._reading
                replies = Framer(OBJECTS)
                seen = 0
                async with asyncio.timeout(20):
                    while seen < count:
                        seen += len(replies.feed(await loop.sock_recv(sender, 2**20)))
                await sending
                assert served == count

    run(main())


def test_connections_are_bounded(run: Run) -> None:
    """One connection too many is closed at once and harms no other; a place that is given back can be taken."""

    async def main() -> None:
        subscriber, gate = gated(max_connections=2)
        gate.open(1, 2, 3)
        async with subscriber, connected(subscriber) as first:
            async with connected(subscriber) as second:
                second[1].write(call(2))
                assert len(await read(second[0], 1)) == 1
                first[1].write(call(1))
                assert len(await read(first[0], 1)) == 1
                async with connected(subscriber) as third:
                    with contextlib.suppress(ConnectionError):
                        assert await third[0].read() == b""
                assert (subscriber.status().connections, subscriber.status().turned_away) == (2, 1)
            await turns_until(lambda: subscriber.status().connections == 1)
            async with connected(subscriber) as again:
                again[1].write(call(3))
                assert len(await read(again[0], 1)) == 1

    run(main())


@pytest.mark.parametrize("name", ["max_frame", "max_depth", "max_connections", "max_in_flight", "max_unread"])
def test_a_bound_below_one_is_refused(name: str) -> None:
    """A bound that lets nothing through is a mistake, told with its name."""
    with pytest.raises(ConfigError, match=f"{name} must be a whole number of 1 or more, not 0"):
        Subscriber(**{name: 0})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"timeout": float("nan")}, {"drain": -1}, {"drain": float("nan")}]
)
def test_a_time_that_can_not_be_is_refused(settings: dict[str, float]) -> None:
    """Times are seconds, and some must be positive."""
    with pytest.raises(ConfigError, match="must be a number of seconds"):
        Subscriber(**settings)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Timeouts and lost peers.


def test_a_function_that_takes_too_long_is_cancelled_and_refused(run: Run) -> None:
    """The timeout cancels the function and refuses the event; the next one is served."""

    async def main() -> None:
        subscriber, gate = gated(timeout=0.01)
        gate.open(2)

        @subscriber.method("stubborn")
        async def stubborn(_params: object) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "done all the same"
            return "never"

        assert callable(stubborn)
        async with subscriber, connected(subscriber) as (reader, writer):
            writer.write(call(1) + call(2) + call(3, "stubborn"))
            late, right, stayed = await read(reader, 3)
            refused = {"code": -32001, "message": "Timed out", "data": "the function took more than 0.01 s"}
            assert late["error"] == refused
            assert right["result"] == [2]
            assert stayed["result"] == "done all the same"
            assert (gate.cancelled, gate.ended) == ([1], [2])
            assert subscriber.status().failed == 0

    run(main())


def test_a_closed_sending_side_still_gets_its_replies(run: Run) -> None:
    """A peer that sends its last request and a FIN is answered, then closed."""

    async def main() -> None:
        subscriber, gate = gated()
        async with subscriber, connected(subscriber) as (reader, writer):
            writer.write(call(1) + call(2))
            writer.write_eof()
            await gate.until(lambda: gate.begun == [1])
            await turns(20)
            gate.open(1, 2)
            assert [reply["id"] for reply in await read(reader, 3)] == [1, 2]
            await turns_until(lambda: subscriber.status().connections == 0)

    run(main())


@pytest.mark.parametrize("in_order", [True, False])
def test_a_lost_peer_ends_nothing_that_has_begun(run: Run, in_order: bool) -> None:  # noqa: FBT001
    """When a peer vanishes the functions that run finish, and what was not begun is dropped and counted."""

    async def main() -> None:
        subscriber, gate = gated(in_order=in_order)
        begun = 1 if in_order else 3
        async with subscriber:
            async with connected(subscriber) as (_, writer):
                writer.write(call(1) + call(2) + call(3))
                await gate.until(lambda: len(gate.begun) == begun)
                reset(writer)
            await turns_until(lambda: subscriber.status().connections == 0)
            gate.open(1, 2, 3)
            await gate.until(lambda: len(gate.ended) == begun)
            await turns(20)
            assert (gate.cancelled, len(gate.ended), subscriber.status().dropped) == ([], begun, 3 - begun)

    run(main())


def test_a_peer_lost_in_the_turn_of_the_reply_harms_nothing(run: Run) -> None:
    """A function that ends after its peer has gone, or in the same turn, leaves no trace but its count."""

    async def main() -> None:
        subscriber, gate = gated(in_order=False)
        async with subscriber:
            for number in range(20):
                async with connected(subscriber) as (_, writer):
                    writer.write(call(number))
                    await gate.until(lambda number=number: number in gate.begun)  # type: ignore[misc]
                    gate.open(number)
                    await turns(number % 4)
                    reset(writer)
            await gate.until(lambda: len(gate.ended) == 20)
            await turns_until(lambda: subscriber.status().connections == 0)
            assert subscriber.status().confirmed == 20

    run(main())


def test_an_error_of_one_batch_member_holds_up_no_other(run: Run) -> None:
    """A batch's array goes out when its last function has ended, however each has."""

    async def main() -> None:
        subscriber, gate = gated(in_order=False)

        @subscriber.method("refuse")
        async def refuse(_params: object) -> None:
            await asyncio.sleep(0)
            raise RpcError(5, "no")

        assert callable(refuse)
        async with subscriber, connected(subscriber) as (reader, writer):
            writer.write(b"[" + call(1) + b"," + call(2, "refuse") + b"," + call(3) + b"]")
            await gate.until(lambda: gate.begun == [1, 3])
            gate.open(3)
            await gate.until(lambda: gate.ended == [3])
            gate.open(1)
            expected = (
                b'[{"jsonrpc":"2.0","id":2,"error":{"code":5,"message":"no"}},'
                b'{"jsonrpc":"2.0","id":3,"result":[3]},{"jsonrpc":"2.0","id":1,"result":[1]}]'
            )
            assert await reader.readexactly(len(expected)) == expected

    run(main())
