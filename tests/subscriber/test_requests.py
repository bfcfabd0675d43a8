"""What a subscriber answers, request by request, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from failover.errors import ConfigError
from failover.protocol.framing import Framer, Malformed
from failover.subscriber import Request, RpcError, Subscriber

ANYTHING = msgspec.json.Decoder(dict[str, Any] | list[Any])


class Peer:
    """Sends bytes and reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._framer = Framer(ANYTHING)
        self._read: list[Any] = []

    def send(self, *frames: bytes) -> None:
        """Send in one piece."""
        self.writer.write(b"".join(frames))

    async def replies(self, count: int) -> list[Any]:
        """Read so many replies; fewer if the subscriber closes."""
        async with asyncio.timeout(10):
            while len(self._read) < count and (data := await self.reader.read(65536)):
                for value in self._framer.feed(data):
                    assert not isinstance(value, Malformed)
                    self._read.append(value)
        replies, self._read = self._read[:count], self._read[count:]
        return replies

    async def ask(self, *frames: bytes) -> Any:
        """Send, and read one reply."""
        self.send(*frames)
        return (await self.replies(1))[0]


@contextlib.asynccontextmanager
async def peer(subscriber: Subscriber) -> AsyncGenerator[Peer]:
    """Connect to a subscriber."""
    reader, writer = await asyncio.open_connection(*subscriber.address)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def call(raw_id: object, method: str = "E", **extra: object) -> bytes:
    """Make a request as OpenSIPS writes it."""
    return json.dumps({"id": raw_id, "jsonrpc": "2.0", "method": method, **extra}, separators=(",", ":")).encode()


def echoing(**settings: Any) -> Subscriber:
    """Make a subscriber that confirms with the params, by a plain function for E and a coroutine for C."""
    subscriber = Subscriber(**settings)

    @subscriber.method("E")
    def plain(params: object) -> object:
        return params

    @subscriber.method("C")
    async def coroutine(params: object) -> object:
        await asyncio.sleep(0)
        return params

    assert callable(plain)
    assert callable(coroutine)
    return subscriber


def result(raw_id: object, value: object) -> dict[str, object]:
    """The reply that confirms."""
    return {"jsonrpc": "2.0", "id": raw_id, "result": value}


def error(raw_id: object, code: int, text: str, data: object = None) -> dict[str, object]:
    """The reply that refuses."""
    more = {} if data is None else {"data": data}
    return {"jsonrpc": "2.0", "id": raw_id, "error": {"code": code, "message": text, **more}}


# Results.


@pytest.mark.parametrize("method", ["E", "C"])
@pytest.mark.parametrize("params", [{"caller": "alice"}, ["alice", 5], {}, [], {"k": [{"a": None}, 1.5, True]}])
def test_params_come_decoded_and_the_result_confirms(method: str, params: object) -> None:
    """What a function gets is the params, and what it returns is the reply's result."""

    async def main() -> None:
        async with echoing() as subscriber, peer(subscriber) as client:
            assert await client.ask(call(7, method, params=params)) == result(7, params)

    asyncio.run(main())


@pytest.mark.parametrize("method", ["E", "C"])
def test_no_params_are_none_and_no_result_is_ok(method: str) -> None:
    """Absent and null params are None; a function that returns nothing confirms with "ok"."""

    async def main() -> None:
        async with echoing() as subscriber, peer(subscriber) as client:
            assert await client.ask(call(7, method)) == result(7, "ok")
            assert await client.ask(call(7, method, params=None)) == result(7, "ok")

    asyncio.run(main())


def test_a_reply_on_the_wire_has_no_space_and_no_terminator() -> None:
    """OpenSIPS crashes on a newline after a reply: nothing stands around it."""

    async def main() -> None:
        async with echoing() as subscriber, peer(subscriber) as client:
            client.send(call(7, params={"a": [1]}))
            expected = b'{"jsonrpc":"2.0","id":7,"result":{"a":[1]}}'
            assert await client.reader.readexactly(len(expected)) == expected
            client.writer.write_eof()
            assert await client.reader.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize("value", [0, "", False, [], {}, 1.5, "é"])
def test_a_falsy_result_is_a_result(value: object) -> None:
    """Only None becomes the default result."""

    async def main() -> None:
        subscriber = Subscriber()

        @subscriber.method("E")
        def function(_params: object) -> object:
            return value

        assert callable(function)
        async with subscriber, peer(subscriber) as client:
            assert await client.ask(call(1)) == result(1, value)

    asyncio.run(main())


@pytest.mark.parametrize(
    "raw_id",
    [b"0", b"1", b"-5", b"2147483647", b"123456789012345678901234", b"1.0", b'"a\\u00e9\\n"', b'""', b'"\xff"'],
)
def test_ids_are_echoed_as_they_came(raw_id: bytes) -> None:
    """Whatever spelling the sender chose for its id comes back byte for byte."""

    async def main() -> None:
        async with echoing() as subscriber, peer(subscriber) as client:
            client.send(b'{"jsonrpc":"2.0","method":"E","id":' + raw_id + b"}")
            expected = b'{"jsonrpc":"2.0","id":' + raw_id + b',"result":"ok"}'
            assert await client.reader.readexactly(len(expected)) == expected

    asyncio.run(main())


def test_a_function_may_ask_for_the_whole_request() -> None:
    """With `whole` a function gets method, params, id and peer; so does the default."""
    seen: list[Request] = []

    async def main() -> None:
        subscriber = Subscriber()
        subscriber.method("E", whole=True)(seen.append)
        subscriber.default(whole=True)(seen.append)
        async with subscriber, peer(subscriber) as client:
            for raw_id in (5, "x", 1.5):
                await client.ask(call(raw_id, params=[1]))
            client.send(call(None, "other"))
            await client.ask(call(6))
            host, port = client.writer.get_extra_info("sockname")
        assert [(request.method, request.params, request.id) for request in seen] == [
            ("E", [1], 5),
            ("E", [1], "x"),
            ("E", [1], 1.5),
            ("other", None, None),
            ("E", None, 6),
        ]
        assert {request.peer for request in seen} == {f"{host}:{port}"}
        assert seen[1].raw_id == b'"x"'

    asyncio.run(main())


def test_other_methods_go_to_the_default_or_are_refused() -> None:
    """Without a default an unknown method is -32601; with one it gets the method and the params."""

    async def main() -> None:
        subscriber = echoing()
        async with subscriber, peer(subscriber) as client:
            assert await client.ask(call(1, "E_X")) == error(1, -32601, "Method not found", "E_X")

            @subscriber.default
            def anything(method: str, params: object) -> object:
                return [method, params]

            assert await client.ask(call(2, "E_X", params={"a": 1})) == result(2, ["E_X", {"a": 1}])
            assert await client.ask(call(3, "E", params=[])) == result(3, [])
            assert callable(anything)

    asyncio.run(main())


def test_two_functions_for_one_method_are_refused() -> None:
    """A second function for a method, or a second default, is a mistake that is told where it's made."""
    subscriber = echoing()
    with pytest.raises(ConfigError, match="'E' has a function already"):
        subscriber.method("E")(print)
    subscriber.default(print)
    with pytest.raises(ConfigError, match="a default function already"):
        subscriber.default(print)


def test_a_decorator_used_wrongly_says_how_it_is_used() -> None:
    """A forgotten name, or something that is no function, is told at once: no event would ever arrive there."""
    subscriber = Subscriber()
    with pytest.raises(ConfigError, match=r'needs the name of a method: @subscriber.method\("E_ACC_CDR"\)'):
        subscriber.method(print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="the name of a method must be a non-empty string, not ''"):
        subscriber.method("")
    for decorate in (subscriber.method("E"), subscriber.default(whole=True)):
        with pytest.raises(ConfigError, match="a function that is called with each event was expected, not 3"):
            decorate(3)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


# Errors.


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_exception_becomes_an_error_reply(asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001
    """An RpcError gives its own code; anything else -32603, without details but in the log; the connection stays."""
    raised: dict[str, BaseException] = {
        "refused": RpcError(-32010, "not here", {"try": "next"}),
        "bare": RpcError(480, "later"),
        "broken": RuntimeError("secret"),
        "cancelled": asyncio.CancelledError(),
        "odd": RpcError(1, "odd", {1, object()}),
    }

    async def main() -> None:
        subscriber = echoing()
        for name in raised:

            @subscriber.method(name, whole=True)
            def function(request: Request) -> object:
                async def later() -> None:
                    await asyncio.sleep(0)
                    raise raised[request.method]

                if asynchronous:
                    return later()
                raise raised[request.method]

            assert callable(function)
        async with subscriber, peer(subscriber) as client:
            assert await client.ask(call(1, "refused")) == error(1, -32010, "not here", {"try": "next"})
            assert await client.ask(call(2, "bare")) == error(2, 480, "later")
            assert await client.ask(call(3, "broken")) == error(3, -32603, "Internal error")
            assert await client.ask(call(4, "cancelled")) == error(4, -32603, "Internal error")
            assert await client.ask(call(5, "odd")) == error(5, -32603, "Internal error")
            client.send(call(None, "broken"), call(None, "refused"))
            assert await client.ask(call(6, "C", params=[1])) == result(6, [1])
            status = subscriber.status()
        assert (status.requests, status.notifications, status.confirmed, status.errors, status.failed) == (
            6,
            2,
            1,
            5,
            3,
        )

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert {record.name for record in caplog.records} == {"failover.subscriber"}
    assert "RuntimeError: secret" in caplog.text
    assert "broken from 127.0.0.1:" in caplog.text
    assert str(raised["bare"]) == "later (480)"


def test_a_result_that_json_can_not_tell_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A result that can't be encoded refuses the event, is logged, and nothing else is harmed."""

    async def main() -> None:
        subscriber = echoing()

        @subscriber.method("odd")
        def function(_params: object) -> object:
            return object()

        assert callable(function)
        async with subscriber, peer(subscriber) as client:
            assert await client.ask(call(1, "odd")) == error(1, -32603, "Internal error")
            assert await client.ask(call(2, params=[])) == result(2, [])

    asyncio.run(main())
    assert "odd from 127.0.0.1:" in caplog.text


INVALID = "Invalid Request"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"{}", error(None, -32600, INVALID, 'jsonrpc is not "2.0"')),
        (b'{"id":1,"method":"E"}', error(1, -32600, INVALID, 'jsonrpc is not "2.0"')),
        (b'{"id":1,"jsonrpc":2.0,"method":"E"}', error(1, -32600, INVALID, 'jsonrpc is not "2.0"')),
        (b'{"id":1,"jsonrpc":"2.0"}', error(1, -32600, INVALID, "there is no method")),
        (b'{"id":"x","jsonrpc":"2.0","method":1}', error("x", -32600, INVALID, "method is not a string")),
        (b'{"jsonrpc":"2.0","method":1,"params":"bar"}', error(None, -32600, INVALID, "method is not a string")),
        (
            b'{"id":[1],"jsonrpc":"2.0","method":"E"}',
            error(None, -32600, INVALID, "id is neither a string nor a number"),
        ),
        (
            b'{"id":true,"jsonrpc":"2.0","method":"E"}',
            error(None, -32600, INVALID, "id is neither a string nor a number"),
        ),
        (b"1 ", error(None, -32600, INVALID, "Expected `object | array`, got `int`")),
        (b'"x"', error(None, -32600, INVALID, "Expected `object | array`, got `str`")),
        (b"[]", error(None, -32600, INVALID, "a batch of 0 requests; expected 1 to 4")),
        (b"[1,2,3,4,5]", error(None, -32600, INVALID, "a batch of 5 requests; expected 1 to 4")),
        (
            b'{"id":1,"jsonrpc":"2.0","method":"E","params":"x"}',
            error(1, -32602, "Invalid params", "params is neither an object nor an array"),
        ),
        (
            b'{"id":1,"jsonrpc":"2.0","method":"E","params":["\xe9"]}',
            error(
                1,
                -32602,
                "Invalid params",
                "'utf-8' codec can't decode byte 0xe9 in position 0: unexpected end of data",
            ),
        ),
        (
            b'{"id":1,"jsonrpc":"2.0","method":"E","params":}',
            error(None, -32700, "Parse error", "JSON is malformed: invalid character (byte 46)"),
        ),
    ],
)
def test_what_is_no_request_is_refused_and_harms_no_other(frame: bytes, expected: object) -> None:
    """Each kind of nonsense gets its own error, with the id if one was there, and its neighbours their results."""

    async def main() -> None:
        async with echoing(max_in_flight=4) as subscriber, peer(subscriber) as client:
            client.send(call(8), frame, call(9))
            assert await client.replies(3) == [result(8, "ok"), expected, result(9, "ok")]
            status = subscriber.status()
            assert status.confirmed == 2
            assert status.malformed + status.errors == 1

    asyncio.run(main())


def test_depth_beyond_what_python_takes_is_refused() -> None:
    """A bound on depth set too high ends in an error reply, not in a lost connection."""
    deep = b"[" * 50_000 + b"]" * 50_000

    async def main() -> None:
        async with echoing(max_depth=10**6) as subscriber, peer(subscriber) as client:
            inner = b'{"id":2,"jsonrpc":"2.0","method":"E","params":' + deep + b"}"
            client.send(call(1), b"[" + inner + b"]", call(3))
            replies = await client.replies(2)
            assert replies[0] == result(1, "ok")
            assert replies[1]["error"]["code"] == -32700

    asyncio.run(main())


def test_bytes_from_sip_that_are_not_utf8_can_be_let_through() -> None:
    """OpenSIPS passes on what SIP brought; the application may have it with U+FFFD in place of what can't be read."""

    async def main() -> None:
        async with echoing(replace_bad_utf8=True) as subscriber, peer(subscriber) as client:
            reply = await client.ask(b'{"id":1,"jsonrpc":"2.0","method":"E","params":{"from":"Ren\xe9 <sip:r@x>"}}')
            assert reply == result(1, {"from": "Ren� <sip:r@x>"})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "tail", "problem", "place"),
    [
        ({}, b"}", "'}' where a JSON value should begin", 0),
        ({}, b"GET / HTTP/1.1\r\n\r\n", "'G' where a JSON value should begin", 0),
        ({}, b'{"a":[}', "'}' where ']' should close", 6),
        ({"max_frame": 100}, b'{"' + b"x" * 200, "a value of more than 100 bytes", 100),
        ({"max_depth": 3}, b"[[[[", "a value of more than 3 levels", 3),
    ],
)
def test_a_stream_that_can_not_be_read_any_further_is_answered_and_closed(
    settings: dict[str, int], tail: bytes, problem: str, place: int
) -> None:
    """What came before the fault is answered, then the fault is told with -32700, then the connection is closed."""

    async def main() -> None:
        async with echoing(**settings) as subscriber, peer(subscriber) as client:
            start = call(8, "C") + call(9)
            client.send(start, tail + b"x" * 100_000)
            text = f"{problem} after {len(start) + place} bytes of the stream"
            expected = [result(8, "ok"), result(9, "ok"), error(None, -32700, "Parse error", text)]
            assert await client.replies(4) == expected
            assert subscriber.status().malformed == 1

    asyncio.run(main())


# Notifications and batches.


@pytest.mark.parametrize("notification", [b'{"jsonrpc":"2.0","method":"E","params":[1]}', call(None, params=[1])])
def test_notifications_are_handled_without_a_reply(notification: bytes) -> None:
    """Both dialects of OpenSIPS, no id and `"id":null`, reach the function and get no reply, even if they fail."""
    seen: list[object] = []

    async def main() -> None:
        subscriber = Subscriber()
        subscriber.method("E")(seen.append)
        async with subscriber, peer(subscriber) as client:
            unknown = notification.replace(b'"E"', b'"unknown"')
            bad = notification.replace(b"[1]", b"1")
            client.send(notification, unknown, bad, notification, call(5))
            assert await client.replies(1) == [result(5, "ok")]
            status = subscriber.status()
        assert seen == [[1], [1], None]
        assert (status.notifications, status.requests, status.confirmed, status.errors) == (4, 1, 1, 0)

    asyncio.run(main())


@pytest.mark.parametrize("in_order", [True, False])
def test_batches_are_answered_as_one(in_order: bool) -> None:  # noqa: FBT001
    """A batch gets one array with a reply for all but notifications; one of notifications only gets nothing."""

    async def main() -> None:
        async with echoing(in_order=in_order) as subscriber, peer(subscriber) as client:
            batch = [call(1, "C", params=[1]), call(None), call("2", "E", params=[2]), b'{"foo":"boo"}', b"7", b'"x"']
            quiet = b"[" + call(None) + b"," + call(None, "C") + b"]"
            client.send(quiet, b"[" + b" , ".join(batch) + b"]", quiet, call(9))
            replies = await client.replies(2)
            assert len(replies) == 2
            whole: list[Any] = replies[1 - replies.index(result(9, "ok"))]
            if in_order:
                assert replies[0] is whole
            assert sorted(whole, key=str) == sorted(
                [
                    result(1, [1]),
                    result("2", [2]),
                    error(None, -32600, INVALID, 'jsonrpc is not "2.0"'),
                    error(None, -32600, INVALID, "Expected `object`, got `int`"),
                    error(None, -32600, INVALID, "Expected `object`, got `str`"),
                ],
                key=str,
            )
            if in_order:
                assert whole[:2] == [result(1, [1]), result("2", [2])]

    asyncio.run(main())


# Streams.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("in_order", [True, False])
def test_any_segmentation_of_real_traffic_is_answered(seed: int, in_order: bool) -> None:  # noqa: FBT001
    """Hundreds of requests of all kinds, cut at random places on a real socket, get each their own reply."""
    choose = random.Random(seed)

    async def main() -> None:
        async with echoing(in_order=in_order) as subscriber, peer(subscriber) as client:
            stream = bytearray()
            expected: list[object] = []
            for number in range(400):
                params = {"text": 'é}{"\\' * choose.randrange(30), "n": [number] * choose.randrange(4)}
                kind = choose.randrange(6)
                text = call(number, choose.choice("EC"), params=params)
                if kind == 0:
                    stream += call(None, choose.choice("EC"), params=params)
                    continue
                if kind == 1:
                    text = b"[" + text + b"]"
                    expected.append([result(number, params)])
                elif kind == 2:
                    text = json.dumps(json.loads(text), indent=2, ensure_ascii=False).encode()
                    expected.append(result(number, params))
                else:
                    expected.append(result(number, params))
                stream += text + choose.choice([b"", b"\n", b" \r\n\t"])
            while stream:
                size = choose.choice([1, 2, 3, 10, 100, 1000])
                client.send(bytes(stream[:size]))
                del stream[:size]
                await asyncio.sleep(0)
            replies = await client.replies(len(expected))
            if not in_order:
                replies.sort(key=str)
                expected.sort(key=str)
            assert replies == expected

    asyncio.run(main())


def test_a_large_request_and_reply_pass() -> None:
    """A request of a MiB in many segments is confirmed with a reply of a MiB."""

    async def main() -> None:
        async with echoing() as subscriber, peer(subscriber) as client:
            params = {"text": "x}{" * 2**18, "list": list(range(10_000))}
            assert await client.ask(call(1, params=params)) == result(1, params)

    asyncio.run(main())


def test_many_connections_are_served_side_by_side() -> None:
    """200 peers, each with its own requests in flight, get each their own replies."""

    async def one(subscriber: Subscriber, number: int) -> None:
        async with peer(subscriber) as client:
            client.send(*(call(index, "EC"[index % 2], params=[number, index]) for index in range(20)))
            assert await client.replies(20) == [result(index, [number, index]) for index in range(20)]

    async def main() -> None:
        async with echoing() as subscriber:
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(one(subscriber, number))
            status = subscriber.status()
            assert (status.accepted, status.requests, status.confirmed) == (200, 4000, 4000)

    asyncio.run(main())
