"""The fault proxy between the engine and a subscriber: each fault, its outcome, its end; the same in the simulation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from attrs import field, frozen

from failover.errors import AddressError, ConfigError, UsageError
from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import BadReply, Record
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.testing import Confirm, FaultProxy, ScriptedSubscriber, Silent, uniform
from tests.doubles import of
from tests.scripted import opened
from tests.testing.conftest import Run, until

TIMEOUT = 0.03  # seconds, where there is no reply to come: it is waited for on loopback


@frozen
class Stand:
    """A sink, the proxy that it is connected to, and the subscriber behind that."""

    sink: JsonRpcSink
    patient: JsonRpcSink
    """The same connection with a timeout that nothing runs into."""
    proxy: FaultProxy
    subscriber: ScriptedSubscriber
    records: list[Record] = field(factory=list[Record])

    async def deliver(self, name: str = "E_TEST", **params: Any) -> Attempt:
        """Deliver one event."""
        receipt = await self.sink.deliver(Event(name, params or None))
        assert isinstance(receipt, Attempt)
        return receipt


@asynccontextmanager
async def stand(timeout: float = 5.0, *, buffer: int = 65536, **options: Any) -> AsyncGenerator[Stand]:
    """A sink, a proxy and a subscriber, for a while."""
    records: list[Record] = []
    async with (
        ScriptedSubscriber() as subscriber,
        FaultProxy(subscriber.socket, buffer=buffer, rng=Random(3)) as proxy,
    ):
        kept = ConnectionOptions(**options)
        sink = jsonrpc(proxy.socket, timeout=timeout, lazy=True, options=kept)
        patient = jsonrpc(proxy.socket, name="patient", timeout=5.0, lazy=True, options=kept)
        async with opened(sink, patient, observers=[records.append]):
            yield Stand(sink, patient, proxy, subscriber, records)


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


def test_without_faults_it_passes_everything_on(run: Run) -> None:
    """Requests and replies of any size arrive as they were sent, in order, and the end of a connection too."""

    async def main() -> None:
        async with stand() as (it):
            for size in (0, 10, 100_000, 1_000_000):
                receipt = await it.deliver(text="x" * size)
                assert receipt.confirmed
                assert it.subscriber.processed[-1].params["text"] == "x" * size
            receipts = await it.sink.deliver_many([Event("E_MANY", {"n": n}) for n in range(300)])
            assert all(receipt.confirmed for receipt in receipts)
            assert [done.params["n"] for done in list(it.subscriber.processed)[4:]] == list(range(300))
            assert it.proxy.connections == 1
        await until(lambda: it.subscriber.counts["lost"] == 1)
        assert it.proxy.connections == 0

    run(main)


@pytest.mark.parametrize(
    ("verb", "arguments", "least"),
    [
        ("latency", (0.01,), 0.02),
        ("latency", (0.02, "up"), 0.02),
        ("latency", (uniform(0.01, 0.012), "down"), 0.01),
        ("jitter", (0.02,), 0.0001),
        ("bandwidth", (10_000,), 0.02),
        ("slicing", (2, 0.0001), 0.001),
    ],
    ids=["latency", "latency up", "distribution", "jitter", "bandwidth", "slicing"],
)
def test_what_only_takes_time(run: Run, verb: str, arguments: tuple[Any, ...], least: float) -> None:
    """Slow or in pieces, replies are matched all the same; and once repaired, all is as before."""

    async def main() -> None:
        async with stand() as it:
            getattr(it.proxy, verb)(*arguments)
            for n in range(3):
                receipt = await it.deliver(n=n, text="x" * 100)
                assert receipt.confirmed
                assert receipt.took >= least - 1e-6  # what loop times add up to
            await it.proxy.repair()
            assert (await it.deliver()).confirmed
            assert [way.latency for way in (it.proxy.up, it.proxy.down)] == [0.0, 0.0]
            assert not of(BadReply, it.records)

    run(main)


def test_replies_cut_at_random_places_are_matched(run: Run) -> None:
    """A hundred replies at once, cut into pieces of 1 to 3 bytes, confirm each the event that they are for."""

    async def main() -> None:
        async with stand() as it:
            it.subscriber.always(lambda call: Confirm(call.params["n"]))
            it.proxy.slicing(3, 0.0, "down")
            receipts = await it.sink.deliver_many([Event("E_MANY", {"n": n}) for n in range(100)])
            assert [receipt.result for receipt in receipts if isinstance(receipt, Attempt)] == list(range(100))
            assert not of(BadReply, it.records)

    run(main)


def test_reset(run: Run) -> None:
    """What is in flight is UNCONFIRMED, and the next event goes over a new connection."""

    async def main() -> None:
        async with stand() as it:
            it.subscriber.once(Silent())
            waiting = asyncio.ensure_future(it.deliver())
            await it.subscriber.until(lambda: it.subscriber.counts["silent"])
            assert it.proxy.reset() == 1
            receipt = await waiting
            assert receipt.outcome is Outcome.UNCONFIRMED
            assert receipt.reason.startswith("connection lost")
            assert (await it.deliver()).confirmed
            assert it.subscriber.accepted == 2

    run(main)


def test_half_open(run: Run) -> None:
    """The client goes on to believe in its connection until it sends something; then it is reset."""

    async def main() -> None:
        async with stand() as it:
            assert (await it.deliver()).confirmed
            assert it.proxy.half_open() == 1
            await it.subscriber.until(lambda: it.subscriber.counts["lost"])
            assert it.sink.status().up
            receipt = await it.deliver()
            assert (receipt.outcome, receipt.sent) == (Outcome.UNCONFIRMED, True)
            assert receipt.reason.startswith("connection lost")
            assert (await it.deliver()).confirmed

    run(main)


def test_hold(run: Run) -> None:
    """What is held arrives when it's repaired, in order and late; nothing is lost."""

    async def main() -> None:
        async with stand(TIMEOUT) as it:
            assert (await it.patient.deliver(Event("E_FIRST"))).confirmed
            it.proxy.hold("down")
            receipt = await it.deliver(n=1)
            assert receipt.outcome is Outcome.UNCONFIRMED
            assert receipt.reason == "no reply within the timeout"
            await it.subscriber.until(lambda: len(it.subscriber.processed) == 2)
            await it.proxy.repair("hold")
            await until(lambda: it.sink.status().late == 1)

    run(main)


@pytest.mark.parametrize("verb", ["black_hole", "partition"])
def test_black_hole(run: Run, verb: str) -> None:
    """A connection that exists falls silent; a new one gets no answer; after the repair both work again."""

    async def main() -> None:
        async with stand(0.05) as it:
            assert (await it.patient.deliver(Event("E_FIRST"))).confirmed
            getattr(it.proxy, verb)()
            receipt = await it.deliver()
            assert receipt.outcome is Outcome.UNCONFIRMED
            options = ConnectionOptions(connect_timeout=0.03)
            fresh = jsonrpc(it.proxy.socket, timeout=5.0, dedicated=True, options=options)
            async with opened(fresh):
                refused = await fresh.deliver(Event("E_TEST"))
            assert refused.outcome is Outcome.UNREACHABLE
            assert refused.reason == "connect: no answer within 0.03 s"
            await it.proxy.repair(verb)
            await until(lambda: it.sink.status().late == 1)
            fresh = jsonrpc(it.proxy.socket, timeout=5, dedicated=True)
            async with opened(fresh):
                assert (await fresh.deliver(Event("E_TEST"))).confirmed

    run(main)


@pytest.mark.parametrize("verb", ["refuse", "crash"])
def test_refuse_and_crash(run: Run, verb: str) -> None:
    """Connects are refused while the port stays ours; a crash resets what is connected, refusing does not."""

    async def main() -> None:
        async with stand() as it:
            assert (await it.deliver()).confirmed
            getattr(it.proxy, verb)()
            fresh = jsonrpc(it.proxy.socket, timeout=5, dedicated=True)
            async with opened(fresh):
                receipt = await fresh.deliver(Event("E_TEST"))
            assert receipt.outcome is Outcome.UNREACHABLE
            assert receipt.reason == "connect: Connection refused"
            if verb == "refuse":
                assert (await it.deliver()).confirmed
            else:
                await until(lambda: not it.sink.status().up)
            await it.proxy.repair()
            assert (await it.deliver()).confirmed
            assert it.subscriber.accepted == (1 if verb == "refuse" else 2)

    run(main)


def test_limit(run: Run) -> None:
    """A connection is cut after so many bytes: the reply that doesn't fit is UNCONFIRMED, what came before stays so."""

    async def main(how: Any) -> None:
        async with stand() as it:
            it.proxy.limit(100, how=how)
            receipts: list[Receipt] = [await it.deliver() for _ in range(4)]
            assert [receipt.confirmed for receipt in receipts] == [True, True, False, True]
            assert receipts[2].outcome is Outcome.UNCONFIRMED
            assert len(it.subscriber.processed) == 4
            assert it.proxy.counts["limit reached"] == 1

    run(lambda: main("reset"))
    run(lambda: main("close"))


def test_corrupt(run: Run) -> None:
    """Of corrupted replies none is lost silently: each event has its receipt, and what can't be read is reported."""

    async def main() -> None:
        async with stand(TIMEOUT) as it:
            it.proxy.corrupt(0.02)
            receipts: list[Attempt] = []
            for n in range(60):
                receipts.append(await it.deliver(n=n))
                if not receipts[-1].confirmed:
                    await it.subscriber.until(lambda: it.subscriber.received > n)  # noqa: B023  # awaited in this round
                    it.proxy.reset()  # else a quote that was lost would swallow the replies after it
                    await until(lambda: not it.proxy.connections and not it.sink.status().up)
            unconfirmed = [receipt for receipt in receipts if receipt.outcome is Outcome.UNCONFIRMED]
            rejected = [receipt for receipt in receipts if receipt.outcome is Outcome.REJECTED]
            assert len(unconfirmed) > 10
            assert len(unconfirmed) + len(rejected) + sum(receipt.confirmed for receipt in receipts) == 60
            unreadable = sum(receipt.reason.startswith(("unreadable", "malformed")) for receipt in unconfirmed)
            assert unreadable + len(of(BadReply, it.records)) > 10
            assert len(it.subscriber.processed) == 60
            await it.proxy.repair("corrupt")
            assert (await it.patient.deliver(Event("E_LAST"))).confirmed

    run(main)


def test_nobody_behind_it(run: Run) -> None:
    """If whom it stands before is down, the client's connection is reset: no reply can have come."""

    async def main() -> None:
        async with stand() as it:
            await it.subscriber.crash()
            receipt = await it.deliver()
            assert receipt.outcome in {Outcome.UNCONFIRMED, Outcome.UNREACHABLE}
            assert not it.subscriber.processed
            assert any(act.what.startswith("upstream unreachable") for act in it.proxy.acts)
            await it.subscriber.restart()
            await until(lambda: not it.proxy.connections and not it.sink.status().up)
            assert (await it.deliver()).confirmed

    run(main)


def test_bounds(run: Run) -> None:
    """While it is held, it takes no more than its buffer and one read of each connection."""

    async def main() -> None:
        async with stand(0.2, buffer=10_000, write_buffer=1_000) as it:
            assert (await it.patient.deliver(Event("E_FIRST"))).confirmed
            it.proxy.hold("up")
            await asyncio.gather(*(it.deliver(text="x" * 20_000) for _ in range(200)))
            assert 10_000 <= it.proxy.waiting <= 10_000 + 256 * 1024
            it.proxy.reset()  # closing would wait a second for what it doesn't read

    run(main)


def test_too_many_connections(run: Run) -> None:
    """One connection more than it may have is reset."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, FaultProxy(subscriber.socket, max_connections=1) as proxy:
            sinks = [jsonrpc(proxy.socket, dedicated=True, lazy=True) for _ in range(2)]
            async with opened(*sinks):
                assert (await sinks[0].deliver(Event("E_TEST"))).confirmed
                assert not (await sinks[1].deliver(Event("E_TEST"))).settled
                assert proxy.connections == 1

    run(main)


def test_closing(run: Run) -> None:
    """What is on its way arrives before it closes; closing twice is closing once; then it can be started again."""

    async def main() -> None:
        async with stand() as it:
            it.proxy.latency(30.0, "down")
            waiting = asyncio.ensure_future(it.deliver())
            await it.subscriber.until(lambda: it.subscriber.processed)
            await asyncio.sleep(0.01)  # for the whole reply
            assert it.proxy.waiting
            await asyncio.gather(it.proxy.aclose(), it.proxy.aclose())
            assert (await waiting).confirmed
            await it.proxy.aclose()
            port = it.proxy.port
            await it.proxy.start()
            assert it.proxy.port == port
            with pytest.raises(UsageError, match="started already"):
                await it.proxy.start()

    run(main)


def test_what_cannot_be_meant() -> None:
    """Settings out of their range are refused where they are made, and the error says what was expected."""
    with pytest.raises(AddressError):
        FaultProxy("nowhere")
    with pytest.raises(ConfigError, match="buffer=0"):
        FaultProxy("127.0.0.1:1", buffer=0)
    proxy = FaultProxy("127.0.0.1:1")
    refused: list[tuple[str, tuple[Any, ...]]] = [
        ("latency", (-1,)),
        ("jitter", (-1,)),
        ("bandwidth", (0,)),
        ("slicing", (0,)),
        ("corrupt", (2,)),
        ("limit", (-1,)),
        ("hold", ("sideways",)),
    ]
    for verb, arguments in refused:
        with pytest.raises(ConfigError, match="expected"):
            getattr(proxy, verb)(*arguments)
    with pytest.raises(UsageError, match="isn't started"):
        proxy.black_hole()
