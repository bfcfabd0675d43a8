"""Peers that mean harm cost bounded memory and linear time, and break at most their own connection."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import BadReply, Record
from failover.sinks.jsonrpc import jsonrpc
from tests.scripted import Call, Run, ScriptedPeer, confirm, opened, silent

EVENT = Event("E_TEST")
MIB = 2**20
CHUNK = 64 * 1024


async def pour(call: Call, chunks: Iterator[bytes]) -> int:
    """Write as much as the connection takes, without piling it up on the peer's side; return how much."""
    transport = call.link.transport
    poured = 0
    for chunk in chunks:
        if call.link.lost.done() or transport.is_closing():
            break
        call.link.write(chunk)
        poured += len(chunk)
        while transport.get_write_buffer_size() > CHUNK and not call.link.lost.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
    return poured


def attacked(
    run: Run, make: Callable[[Call], Iterator[bytes]], **options: int
) -> tuple[Receipt, Receipt, int, int, list[Record]]:
    """Answer one request with a flood; give its receipt, the next one's, what was poured and the peak of memory."""

    async def main() -> tuple[Receipt, Receipt, int, int, list[Record]]:
        records: list[Record] = []

        def keep(record: Record) -> None:
            if len(records) < 10:
                records.append(record)

        async with ScriptedPeer(silent, confirm) as peer:
            sink = jsonrpc(peer.address, timeout=15, options=ConnectionOptions(**options))  # type: ignore[arg-type]
            async with opened(sink, observers=[keep]):
                begun = sink.start(EVENT)
                (call,) = await peer.got(1)
                tracemalloc.start()
                poured = await pour(call, make(call))
                call.confirm()
                receipt = await begun
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                return receipt, await sink.deliver(EVENT), poured, peak, records

    result: tuple[Receipt, Receipt, int, int, list[Record]] = run(main)
    return result


def test_brackets_without_end(run: Run) -> None:
    """64 MiB of `[`: broken at the depth that is read, after a fraction of it, with memory for nothing more."""
    receipt, then, poured, peak, _ = attacked(run, lambda _: iter([b"[" * CHUNK] * 1024))
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert "levels" in receipt.reason
    assert poured < 32 * MIB
    assert peak < 4 * MIB
    assert then.confirmed


def test_a_string_without_end(run: Run) -> None:
    """A string that is never closed is held up to `max_frame` and no further."""
    chunks = [b'{"id":1,"result":"', *[b"x" * CHUNK] * 1024]
    receipt, then, poured, peak, _ = attacked(run, lambda _: iter(chunks), max_frame=MIB)
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert f"more than {MIB} bytes" in receipt.reason
    assert poured < 32 * MIB
    assert peak < 6 * MIB
    assert then.confirmed


def test_deep_nesting_within_the_bounds_of_size(run: Run) -> None:
    """Nesting as deep as a frame is long is no recursion: broken with a reason."""
    chunks = [b'{"id":1,"result":' + b'[{"a":' * 100_000]
    receipt, then, _, peak, _ = attacked(run, lambda _: iter(chunks))
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert peak < 8 * MIB
    assert then.confirmed


@pytest.mark.slow
def test_a_flood_of_unknown_ids(run: Run) -> None:
    """Replies to ids that were never given out are reported and kept nowhere, and the right one still counts."""
    chunk = b"".join(b'{"id":%d,"result":null}' % (2**31 + n) for n in range(1000))
    receipt, then, poured, peak, records = attacked(run, lambda _: iter([chunk] * 300))
    assert receipt.confirmed
    assert then.confirmed
    assert poured == 300 * len(chunk)
    assert peak < 4 * MIB
    assert sum(isinstance(record, BadReply) for record in records) > 5


@pytest.mark.slow
def test_one_byte_at_a_time_is_linear(run: Run) -> None:
    """A long reply in single bytes is matched, and twice as long takes about twice the time, not four times."""

    async def deliver(size: int) -> float:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, timeout=15)
            async with opened(sink):
                begun = sink.start(EVENT)
                (call,) = await peer.got(1)
                reply = call.reply(result="x" * size)
                connection = sink._connection
                assert connection is not None
                began = time.process_time()
                for position in range(len(reply)):
                    connection.data_received(reply[position : position + 1])
                took = time.process_time() - began
                assert (await begun).confirmed
                return took

    async def ratio() -> float:
        return await deliver(200_000) / await deliver(100_000)

    assert min(run(ratio) for _ in range(3)) < 3


def test_a_flood_of_wrong_replies_between_right_ones(run: Run) -> None:
    """Thousands of malformed replies around the right ones delay them, and nothing else."""

    def noisy(call: Call) -> None:
        call.link.write(b'{"id":"x"}[]{"result":1}{hello}"text"' * 500)
        call.confirm()
        call.link.write(b"{}" * 500)

    async def main() -> tuple[list[Receipt], int]:
        async with ScriptedPeer(noisy) as peer:
            sink = jsonrpc(peer.address, timeout=10)
            async with opened(sink):
                return await asyncio.gather(*(sink.deliver(EVENT) for _ in range(10))), len(peer.links)

    receipts, links = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    assert links == 1
