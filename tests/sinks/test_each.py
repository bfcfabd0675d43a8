"""Events that were begun together over one socket: each has its receipt when there is one."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import LateConfirmation, Record
from failover.sinks.jsonrpc import FEW, jsonrpc
from tests.doubles import begun
from tests.scripted import Run, ScriptedPeer, confirm, error, opened, silent, turns, until

EVENTS = [Event("E", [number]) for number in range(7)]


class Heard:
    """Takes receipts, as they come."""

    def __init__(self) -> None:
        self.pieces: list[list[Receipt]] = []

    @property
    def receipts(self) -> list[Receipt]:
        """All that came."""
        return [receipt for piece in self.pieces for receipt in piece]

    def take(self, receipts: list[Receipt], /) -> None:
        """Keep them."""
        self.pieces.append(receipts)

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:
        """A socket has nothing left to do."""
        raise AssertionError(event)


def numbers(receipts: list[Receipt]) -> list[object]:
    """Which events they are of."""
    return [receipt.event.params for receipt in receipts]


def test_one_holds_back_nobody(run: Run) -> None:
    """A refused one is told with the confirmed ones, and a silent one later, when its own timeout has run."""

    async def main() -> Heard:
        heard = Heard()
        async with ScriptedPeer(confirm, confirm, silent, error(-32000), confirm) as peer:
            sink = jsonrpc(peer.address, timeout=0.1)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                sink.begin_many(EVENTS, heard)
                assert heard.pieces == []
                await until(lambda: len(heard.receipts) == 6)
                assert sink.status().in_flight == 1
                await until(lambda: len(heard.receipts) == 7)
        return heard

    heard = run(main)
    assert sorted(map(str, numbers(heard.receipts[:6]))) == ["[0]", "[2]", "[3]", "[4]", "[5]", "[6]"]
    assert {str(one.event.params): one.outcome for one in heard.receipts if not one.confirmed} == {
        "[1]": Outcome.UNCONFIRMED,
        "[2]": Outcome.REJECTED,
    }


def test_deadline(run: Run) -> None:
    """At their deadline those without a reply are abandoned, and still get their late confirmation."""

    async def main() -> tuple[list[Receipt], list[Record]]:
        heard = Heard()
        records: list[Record] = []
        async with ScriptedPeer(confirm, confirm, confirm, silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                sink.watchers.append(records.append)
                await sink.deliver(EVENTS[0])
                loop = asyncio.get_running_loop()
                sink.begin_many(EVENTS, heard, deadline=loop.time() + 0.1)
                await until(lambda: len(heard.receipts) == 2)
                await until(lambda: len(heard.receipts) == 7)
                for call in (await peer.got(1 + len(EVENTS)))[3:]:
                    call.confirm()
                await until(lambda: sink.status().late == 5)
        return heard.receipts, records

    receipts, records = run(main)
    assert [receipt.outcome for receipt in receipts] == [Outcome.CONFIRMED] * 2 + [Outcome.ABANDONED] * 5
    assert receipts[2].reason == "the deadline came before the sink's own timeout"
    assert [record.attempt for record in records if isinstance(record, LateConfirmation)] == receipts[2:]


@pytest.mark.parametrize("count", [1, FEW - 1, FEW, 7])
@pytest.mark.parametrize("in_flight", [2, 5, 64])
def test_window(run: Run, count: int, in_flight: int) -> None:
    """However many they are, and however few the window takes: what finds no room waits for a slot."""

    async def main() -> tuple[list[Receipt], int]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=in_flight))
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                receipts = await begun(sink, EVENTS[:count], deadline=asyncio.get_running_loop().time() + 0.9)
                return receipts, sink.status().in_flight

    receipts, in_flight = run(main)
    assert [receipt.outcome for receipt in receipts] == [Outcome.CONFIRMED] * count
    assert in_flight == 0


def test_nothing_is_left(run: Run) -> None:
    """Once all have ended nothing holds on to who was told, not even the deadline that was not needed."""

    async def main() -> bool:
        heard = Heard()
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                sink.begin_many(EVENTS, heard, deadline=asyncio.get_running_loop().time() + 0.9)
                while len(heard.receipts) < 7:
                    await turns(1)
                left = weakref.ref(heard)
                del heard
                await turns(2)
                return left() is None

    assert run(main)


def test_context(run: Run) -> None:
    """Receipts are told in the context in which the events were begun, not in that of the connection."""
    where: ContextVar[str] = ContextVar("where", default="nowhere")
    seen: list[str] = []

    class Looking(Heard):
        def take(self, receipts: list[Receipt], /) -> None:
            seen.append(where.get())
            super().take(receipts)

    async def main() -> None:
        heard = Looking()
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address)
            where.set("opening")
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                where.set("beginning")
                sink.begin_many(EVENTS, heard)
                where.set("after")
                await until(lambda: len(heard.receipts) == 7)

    run(main)
    assert set(seen) == {"beginning"}
