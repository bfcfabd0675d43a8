"""Events that come again: handled once, whatever connection they come over, and answered as the first time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import msgspec
import pytest

import failover.subscriber.repeats as module
from failover.errors import ConfigError
from failover.event import Event
from failover.group import Group
from failover.protocol.framing import Framer
from failover.sinks.jsonrpc import jsonrpc
from failover.subscriber import Request, RpcError, Subscriber
from failover.subscriber.repeats import take_id
from tests.clock import move_clock, run

REPLIES = msgspec.json.Decoder(dict[str, Any] | list[Any])


class Peer:
    """One connection of a sender."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._framer = Framer(REPLIES)
        self._read: list[Any] = []

    def send(self, number: int | None, params: object, method: str = "E") -> None:
        """Send a request, or a notification without a number."""
        self.writer.write(json.dumps({"id": number, "jsonrpc": "2.0", "method": method, "params": params}).encode())

    def reset(self) -> None:
        """Go away, without an end."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def reply(self) -> Any:
        """The next reply: its result, or the code of its error."""
        while not self._read:
            data = await self._reader.read(65536)
            assert data, "the subscriber closed"
            self._read += self._framer.feed(data)
        reply = self._read.pop(0)
        return [_told(each) for each in cast("list[Any]", reply)] if isinstance(reply, list) else _told(reply)

    async def ask(self, number: int, params: object, method: str = "E") -> Any:
        """Send, and read the reply."""
        self.send(number, params, method)
        return await self.reply()


def _told(reply: Any) -> Any:
    return reply["result"] if "result" in reply else reply["error"]["code"]


@contextlib.asynccontextmanager
async def peers(subscriber: Subscriber, count: int = 2) -> AsyncGenerator[list[Peer]]:
    """A started subscriber, and so many connections to it."""
    async with subscriber:
        made = [Peer(*await asyncio.open_connection(*subscriber.address)) for _ in range(count)]
        try:
            yield made
        finally:
            for peer in made:
                peer.writer.close()
                with contextlib.suppress(ConnectionError):
                    await peer.writer.wait_closed()


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    while not condition():  # noqa: ASYNC110  # the subscriber's side has no event for us
        await asyncio.sleep(0)


def subscriber_with(settings: dict[str, Any]) -> Subscriber:
    """A subscriber that knows ids unless the settings say otherwise, and never waits when it closes."""
    given: dict[str, Any] = {"id_param": "event_id", "drain": 0}
    return Subscriber(**given | settings)


class Held:
    """A function that waits until it is told how to end."""

    def __init__(self, **settings: Any) -> None:
        self.subscriber = subscriber_with(settings)
        self.subscriber.method("E")(self.function)
        self.calls: list[asyncio.Future[object]] = []

    async def function(self, params: object) -> object:
        """Serve one event."""
        self.calls.append(asyncio.get_running_loop().create_future())
        return await self.calls[-1]

    async def until(self, *, calls: int = 0, repeats: int = 0) -> None:
        """Wait for so many calls, and so many repetitions that were seen."""
        await turns_until(lambda: len(self.calls) >= calls and self.subscriber.status().repeats >= repeats)


class Counting:
    """A function that counts its calls, tells their number, and may be told to fail."""

    def __init__(self, **settings: Any) -> None:
        self.subscriber = subscriber_with(settings)
        self.subscriber.default(whole=True)(self.function)
        self.requests: list[Request] = []
        self.error: Exception | None = None
        self.result: Callable[[], object] = lambda: len(self.requests)

    def function(self, request: Request) -> object:
        """Serve one event."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return self.result()


ODD: list[Any] = ["", None, True, 1.5, ["x"], {}]
IDS: list[tuple[Any, Any, Any]] = [
    ({"a": 1, "event_id": "x"}, {"a": 1}, "x"),
    ({"event_id": 7, "a": 1}, {"a": 1}, 7),
    ({"event_id": "x"}, None, "x"),
    ([1, {"event_id": "x"}], [1], "x"),
    ([{"event_id": "x"}], [], "x"),
    (None, None, None),
    ([], [], None),
    ({}, {}, None),
    ({"a": 1}, {"a": 1}, None),
    (["x"], ["x"], None),
    ([{"event_id": "x"}, 1], [{"event_id": "x"}, 1], None),
    ([{"event_id": "x", "a": 1}], [{"event_id": "x", "a": 1}], None),
    ([{"event_id": None}], [{"event_id": None}], None),
    *[({"event_id": odd}, {"event_id": odd}, None) for odd in ODD],
]


@pytest.mark.parametrize(("params", "own", "found"), IDS)
def test_what_is_an_id(params: Any, own: object, found: object) -> None:
    """A member of that name, or the sole member of an object that ends the values; what can't be one stays a param."""
    assert take_id(params, "event_id") == (own, found)


def test_a_repetition_is_answered_as_the_first_time() -> None:
    """Over any connection, with the result of the first time; the function is called once, and sees no id in params."""

    async def body() -> None:
        counting = Counting()
        async with peers(counting.subscriber) as (first, second):
            assert await first.ask(1, {"n": 7, "event_id": "x"}) == 1
            assert await second.ask(2, {"n": 7, "event_id": "x"}) == 1
            assert await first.ask(3, {"n": 7, "event_id": "x"}) == 1
            assert await first.ask(4, {"n": 7, "event_id": "y"}) == 2
            assert await first.ask(5, [7, {"event_id": "y"}]) == 2  # an id is an id, wherever it stands
        assert [(request.params, request.event_id) for request in counting.requests] == [
            ({"n": 7}, "x"),
            ({"n": 7}, "y"),
        ]
        status = counting.subscriber.status()
        assert (status.requests, status.confirmed, status.repeats, status.forgotten) == (5, 5, 3, 0)

    run(body)


def test_what_has_no_id_or_another_method_is_no_repetition() -> None:
    """Events without an id are all new, and so is an id under another method, or 7 beside "7"."""

    async def body() -> None:
        counting = Counting()
        async with peers(counting.subscriber, 1) as (peer,):
            for params in ({"n": 7}, {"n": 7}, ["x"], ["x"], None, {"event_id": ""}, {"event_id": ""}):
                await peer.ask(1, params)
            assert len(counting.requests) == 7
            await peer.ask(1, {"event_id": "7"}, "E")
            await peer.ask(1, {"event_id": 7}, "E")
            await peer.ask(1, {"event_id": "7"}, "F")
            assert len(counting.requests) == 10
        assert counting.subscriber.status().repeats == 0

    run(body)


def test_without_the_setting_every_request_is_new() -> None:
    """A subscriber that was not asked to doesn't look for ids, and leaves params alone."""

    async def body() -> None:
        counting = Counting(id_param=None)
        async with peers(counting.subscriber, 1) as (peer,):
            assert await peer.ask(1, {"event_id": "x"}) == 1
            assert await peer.ask(2, {"event_id": "x"}) == 2
        assert [(request.params, request.event_id) for request in counting.requests] == [({"event_id": "x"}, None)] * 2

    run(body)


@pytest.mark.parametrize("end", [{"stored": True}, RpcError(409, "no"), ValueError("oops")])
def test_repetitions_wait_for_the_first(end: dict[str, bool] | Exception, caplog: pytest.LogCaptureFixture) -> None:
    """What comes again while it is being handled gets the same answer, result or error, when that is there."""

    async def body() -> None:
        held = Held(in_order=False)
        async with peers(held.subscriber, 3) as (first, second, third):
            first.send(1, {"event_id": "x"})
            await held.until(calls=1)
            for peer in (second, third, third, first):
                peer.send(2, {"event_id": "x"})
            await held.until(repeats=4)
            if isinstance(end, Exception):
                held.calls[0].set_exception(end)
            else:
                held.calls[0].set_result(end)
            told = end if isinstance(end, dict) else end.code if isinstance(end, RpcError) else -32603
            assert [await peer.reply() for peer in (first, first, second, third, third)] == [told] * 5
            assert len(held.calls) == 1
        assert sum("its function failed" in record.message for record in caplog.records) == isinstance(end, ValueError)

    with caplog.at_level(logging.ERROR, "failover.subscriber"):
        run(body)


def test_what_was_refused_may_come_again() -> None:
    """Only what was confirmed is remembered: a refused event was not processed, and is handled when it comes again."""

    async def body() -> None:
        counting = Counting()
        async with peers(counting.subscriber, 1) as (peer,):
            counting.error = RpcError(-32000, "database is down")
            assert await peer.ask(1, {"event_id": "x"}) == -32000
            counting.error = None
            assert await peer.ask(2, {"event_id": "x"}) == 2
            assert await peer.ask(3, {"event_id": "x"}) == 2
        assert len(counting.requests) == 2

    run(body)


def test_a_result_that_can_not_be_told_is_no_confirmation(caplog: pytest.LogCaptureFixture) -> None:
    """It is refused, to those who wait as well, and the event is not remembered; nor is that of a notification."""

    async def body() -> None:
        held = Held()
        async with peers(held.subscriber) as (first, second):
            for number in (1, None):
                held.calls.clear()
                first.send(number, {"event_id": "x"})
                await held.until(calls=1)
                before = held.subscriber.status().repeats
                second.send(2, {"event_id": "x"})
                await held.until(repeats=before + 1)
                held.calls[0].set_result(object())
                assert await second.reply() == -32603
                if number is not None:
                    assert await first.reply() == -32603
            first.send(3, {"event_id": "x"})
            await held.until(calls=2)
            held.calls[1].set_result("good")
            assert await first.reply() == "good"

    run(body)
    assert caplog.records


def test_repeated_notifications_are_dropped() -> None:
    """While the first is handled and afterwards; a request for the same event learns what became of it."""

    async def body() -> None:
        held = Held()
        async with peers(held.subscriber, 3) as (first, second, third):
            first.send(None, {"event_id": "x"})
            await held.until(calls=1)
            second.send(None, {"event_id": "x"})
            third.send(1, {"event_id": "x"})
            await held.until(repeats=2)
            assert held.subscriber.status().in_flight == 2  # of the dropped one nothing is left
            held.calls[0].set_result("done")
            assert await third.reply() == "done"
            second.send(None, {"event_id": "x"})
            await held.until(repeats=3)
            assert await second.ask(2, {"event_id": "x"}) == "done"
        assert len(held.calls) == 1

    run(body)


def test_the_window() -> None:
    """A confirmed event is forgotten so many seconds after its confirmation, whatever came again meanwhile."""

    async def body() -> None:
        counting = Counting(window=60)
        async with peers(counting.subscriber, 1) as (peer,):
            assert await peer.ask(1, {"event_id": "x"}) == 1
            await move_clock(59.9)
            assert await peer.ask(2, {"event_id": "x"}) == 1
            await move_clock(0.1)
            assert await peer.ask(3, {"event_id": "x"}) == 2
            assert counting.subscriber.status().forgotten == 0

    run(body)


def test_as_many_as_may_be_remembered() -> None:
    """Beyond it the oldest is forgotten, within its window, and that is counted."""

    async def body() -> None:
        counting = Counting(max_remembered=2)
        async with peers(counting.subscriber, 1) as (peer,):
            assert [await peer.ask(1, {"event_id": name}) for name in "xyxzyx"] == [1, 2, 1, 3, 2, 4]
            assert counting.subscriber.status().forgotten == 2

    run(body)


def test_bytes_that_may_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Huge ids and results are bounded too: the oldest are forgotten, one that is too large by itself at once."""

    async def body() -> None:
        counting = Counting()
        counting.result = lambda: "r" * (1000 if len(counting.requests) == 3 else 300)
        async with peers(counting.subscriber, 1) as (peer,):
            for name in "xyxy":
                await peer.ask(1, {"event_id": name})
            assert len(counting.requests) == 2
            await peer.ask(1, {"event_id": "z" * 700})
            assert counting.subscriber.status().forgotten == 3
            await peer.ask(1, {"event_id": "x"})
            assert len(counting.requests) == 4

    monkeypatch.setattr(module, "MEMORY", 1000)
    run(body)


def test_running_out_of_time_is_shared() -> None:
    """A function that is cut short refuses the repetitions that wait as well; then the event may come again."""

    async def body() -> None:
        held = Held(timeout=5.0)
        async with peers(held.subscriber) as (first, second):
            first.send(1, {"event_id": "x"})
            await held.until(calls=1)
            await move_clock(3)
            second.send(2, {"event_id": "x"})
            await held.until(repeats=1)
            await move_clock(2)
            assert [await first.reply(), await second.reply()] == [-32001, -32001]
            second.send(3, {"event_id": "x"})
            await held.until(calls=2)
            held.calls[1].set_result("done")
            assert await second.reply() == "done"

    run(body)


def test_a_lost_connection_harms_no_repetition() -> None:
    """The sender that came first goes: its event is handled all the same, and told to the one that came again."""

    async def body() -> None:
        held = Held()
        async with peers(held.subscriber, 3) as (first, second, third):
            first.send(1, {"event_id": "x"})
            await held.until(calls=1)
            second.send(2, {"event_id": "x"})
            await held.until(repeats=1)
            for peer in (first, second):
                peer.reset()
            await turns_until(lambda: held.subscriber.status().connections == 1)
            third.send(3, {"event_id": "x"})
            await held.until(repeats=2)
            held.calls[0].set_result("done")
            assert await third.reply() == "done"
            assert await third.ask(4, {"event_id": "x"}) == "done"
        assert len(held.calls) == 1

    run(body)


def test_closing_refuses_those_who_wait() -> None:
    """Closing cuts off the first and its repetitions alike; a subscriber that starts again remembers nothing."""

    async def body() -> None:
        held = Held()
        async with peers(held.subscriber) as (first, second):
            first.send(1, {"event_id": "x"})
            await held.until(calls=1)
            second.send(2, {"event_id": "x"})
            await held.until(repeats=1)
            await held.subscriber.aclose()
        counting = Counting()
        for number in (1, 2):
            async with peers(counting.subscriber, 1) as (peer,):
                assert await peer.ask(1, {"event_id": "x"}) == number

    run(body)


def test_a_batch_with_the_same_event_twice() -> None:
    """Each member of a batch gets its answer, a repetition that of the first."""

    async def body() -> None:
        held = Held(in_order=False)
        async with peers(held.subscriber, 1) as (peer,):
            request = {"jsonrpc": "2.0", "method": "E", "params": {"event_id": "x"}}
            peer.writer.write(json.dumps([request | {"id": number} for number in (1, 2)]).encode())
            await held.until(calls=1, repeats=1)
            held.calls[0].set_result("done")
            assert await peer.reply() == ["done", "done"]

    run(body)


def test_blocking() -> None:
    """A subscriber in a thread of its own does the same, for the events of a group."""
    counting = Counting()
    event = Event("E", {"n": 7}, id="a84b-1")
    with counting.subscriber.blocking():
        for _ in range(2):
            with Group("g", jsonrpc(counting.subscriber.socket, id_param="event_id")).blocking(within=5.0) as group:
                assert group.deliver(event).confirmed
    assert [(request.params, request.event_id) for request in counting.requests] == [({"n": 7}, "a84b-1")]
    assert counting.subscriber.status().repeats == 1


@pytest.mark.parametrize(
    "wrong", [{"id_param": ""}, {"window": 0}, {"window": float("inf")}, {"max_remembered": 0}], ids=str
)
def test_settings_out_of_their_range(wrong: dict[str, Any]) -> None:
    """Told where the subscriber is declared, with the setting's name."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Subscriber(**wrong)
