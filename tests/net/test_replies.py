"""Replies as peers really send them: in any pieces and order, and each wrong one harms itself only."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import BadReply, ConnectionChanged, Record
from failover.sinks.jsonrpc import jsonrpc
from tests.scripted import Call, Link, Run, ScriptedPeer, after, confirm, opened, raw, silent, turns

EVENT = Event("E_TEST")

SURVIVED = {
    "string id": b'{"id":"ID","result":1}',
    "id null": b'{"id":null,"result":1}',
    "no id": b'{"result":1}',
    "fraction for an id": b'{"id":1.5,"result":1}',
    "true for an id": b'{"id":true,"result":1}',
    "id beyond 64 bits": b'{"id":99999999999999999999999,"result":1}',
    "a string": b'"ID"',
    "a number and a space": b"17 ",
    "a literal and a newline": b"null\n",
    "an empty batch": b"[]",
    "a batch": b'[{"id":ID,"result":1}]',
    "an empty object": b"{}",
    "an unknown id": b'{"id":2147483647,"result":1}',
    "id 0": b'{"id":0,"result":1}',
    "a negative id": b'{"id":-1,"result":1}',
    "a request": b'{"id":null,"method":"ping","params":[]}',
    "bad UTF-8 in the id": b'{"id":"\xff\xfe","result":1}',
    "not JSON within brackets": b"{hello}",
    "a comma too many": b'{"id":ID,}',
}
BROKEN = {
    "garbage": b"hello",
    "a bracket that closes nothing": b"}",
    "brackets that cross": b'{"id":[}',
    "a word": b"nil ",
    "a comma between": b",",
    "NUL": b"\x00",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "too deep": b"[" * 65,
}


@pytest.mark.parametrize("name", list(SURVIVED))
def test_a_wrong_reply_harms_nobody_else(run: Run, name: str) -> None:
    """A wrong reply is reported and skipped: the right one after it confirms, on the same connection."""

    async def main() -> tuple[list[Receipt], list[Record], int]:
        records: list[Record] = []
        script = silent, silent, after(raw(SURVIVED[name]), confirm)
        async with ScriptedPeer(*script, confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink, observers=[records.append]):
                begun = [sink.start(EVENT) for _ in range(3)]
                await begun[2]
                for call in peer.calls[:2]:
                    call.confirm()
                receipts = await asyncio.gather(*begun)
                return [*receipts, await sink.deliver(EVENT)], records, len(peer.links)

    receipts, records, links = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    assert links == 1
    (bad,) = [record for record in records if isinstance(record, BadReply)]
    assert bad.problem


@pytest.mark.parametrize("name", list(BROKEN))
def test_lost_boundaries_break_the_connection(run: Run, name: str) -> None:
    """Where no boundary can be trusted any more the connection breaks; what came before counts, a new one is made."""

    async def main() -> tuple[list[Receipt], Receipt, int]:
        script = silent, silent, after(confirm, raw(BROKEN[name]), confirm)
        async with ScriptedPeer(*script, confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                receipts = await asyncio.gather(*(sink.start(EVENT) for _ in range(3)))
                return receipts, await sink.deliver(EVENT), len(peer.links)

    receipts, then, links = run(main)
    assert [receipt.outcome for receipt in receipts] == [Outcome.UNCONFIRMED] * 2 + [Outcome.CONFIRMED]
    assert receipts[0].reason.startswith("unreadable reply: ")
    assert receipts[0].took < 0.5
    assert then.confirmed
    assert links == 2


def test_unknown_and_duplicate_ids_are_told_apart(run: Run) -> None:
    """A second reply to the same request is reported as such, and one to an id that was never given out as that."""

    async def main() -> list[str]:
        records: list[Record] = []
        async with ScriptedPeer(after(confirm, confirm, raw(b'{"id":0,"result":1}')), confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink, observers=[records.append]):
                assert (await sink.deliver(EVENT)).confirmed
                assert (await sink.deliver(EVENT)).confirmed
        return [record.problem for record in records if isinstance(record, BadReply)]

    assert run(main) == [
        "a reply to an id that was answered or given up before",
        "a reply to an id that was never given out",
    ]


def test_a_reply_to_what_has_not_left(run: Run) -> None:
    """A peer that confirms ids it has not seen yet confirms nothing: such an event goes elsewhere, unsent."""

    def ahead(call: Call) -> None:
        call.confirm()
        for step in range(1, 4):
            call.link.write(json.dumps({"id": call.id + step, "result": "forged"}).encode())

    async def main() -> list[Receipt]:
        async with ScriptedPeer(ahead, silent) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=1))
            async with opened(sink):
                return await asyncio.gather(*(sink.start(EVENT) for _ in range(4)))

    first, *others = run(main)
    assert first.confirmed
    for receipt in others:
        assert isinstance(receipt, Attempt)
        assert receipt.outcome is Outcome.UNREACHABLE
        assert not receipt.sent
        assert "before the request had left" in receipt.reason


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_any_segmentation(run: Run, seed: int) -> None:  # noqa: C901  # the peer is part of it
    """Answers in random order, joined, spaced, pretty-printed and cut anywhere: every event gets its own reply."""
    rng = Random(seed)

    async def main() -> list[Receipt]:
        loop = asyncio.get_running_loop()
        waiting: list[Call] = []
        stream = bytearray()

        def collect(call: Call) -> None:
            waiting.append(call)
            if len(waiting) == 1:
                loop.call_soon(answer)

        def answer() -> None:
            rng.shuffle(waiting)
            idle = not stream
            for call in waiting:
                text = '}{\\"[' * rng.randrange(20)
                result: dict[str, Any] = {"n": call.params[0], "text": text, "nested": [[{}], "é\u2028"]}
                reply: dict[str, Any] = {"jsonrpc": "2.0", "result": result, "id": call.id}
                text = json.dumps(reply, indent=rng.choice([None, None, 1]), ensure_ascii=rng.random() < 0.5)
                stream.extend(text.encode() + rng.choice([b"", b"", b"\n", b"\r\n", b" \t"]))
            link = waiting[0].link
            waiting.clear()
            if idle:
                send(link)

        def send(link: Link) -> None:
            size = rng.choice([1, 2, 30, 300, 3000])
            link.write(bytes(stream[:size]))
            del stream[:size]
            if stream:
                loop.call_soon(send, link)

        async with ScriptedPeer(collect) as peer:
            sink = jsonrpc(peer.address, timeout=10, options=ConnectionOptions(in_flight=64))
            async with opened(sink):
                batch = asyncio.create_task(sink.deliver_many([Event("E", [n]) for n in range(150)]))
                single: list[Receipt] = []
                for n in range(150, 300, 10):
                    single += await asyncio.gather(*(sink.deliver(Event("E", [n + step])) for step in range(10)))
                    await turns(rng.randrange(3))
                return [*await batch, *single]

    receipts = run(main)
    assert len(receipts) == 300
    for receipt in receipts:
        assert receipt.confirmed
        assert receipt.result["n"] == receipt.event.params[0]


def test_a_reset_is_told_to_observers_before_anything_new_is_made(run: Run) -> None:
    """Observers see each change of the connection once, in order, also amid a batch."""

    async def main() -> list[bool]:
        records: list[Record] = []
        async with ScriptedPeer(*[confirm] * 20, lambda call: call.link.reset(), confirm) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=4))
            async with opened(sink, observers=[records.append]):
                receipts = await sink.deliver_many([EVENT] * 60)
                assert len(receipts) == 60
                assert receipts[-1].confirmed
                return [record.connected for record in records if isinstance(record, ConnectionChanged)]

    assert run(main) == [True, False, True]
