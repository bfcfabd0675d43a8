"""The scripted subscriber: its scripts, what it does with those who connect, its faults, its account of itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trustme

from failover.errors import ConfigError, UsageError
from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Attempt
from failover.sim import Record, Simulation
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.testing import (
    ACTIONS,
    AcceptAndStall,
    Call,
    Confirm,
    Connecting,
    HandleThenDrop,
    Joined,
    Late,
    NeverRead,
    Refuse,
    RefuseConnections,
    ScriptedSubscriber,
    Silent,
    TlsFailure,
    action,
    connecting,
    rarely,
)
from failover.testing.connections import Accept
from tests.scripted import opened
from tests.testing.conftest import Run, until

TIMEOUT = 0.03  # seconds, where there is no reply to come: it is waited for on loopback
CONFIRMED, REJECTED, UNREACHABLE, UNCONFIRMED = (
    Outcome.CONFIRMED,
    Outcome.REJECTED,
    Outcome.UNREACHABLE,
    Outcome.UNCONFIRMED,
)


@asynccontextmanager
async def sink_to(subscriber: ScriptedSubscriber, timeout: float = 5.0, **options: Any) -> AsyncGenerator[JsonRpcSink]:
    """A sink connected to it, by a connection of its own."""
    sink = jsonrpc(subscriber.socket, timeout=timeout, lazy=True, dedicated=True, **options)
    async with opened(sink):
        yield sink


async def deliver(sink: JsonRpcSink, **params: Any) -> Attempt:
    """Deliver one event."""
    receipt = await sink.deliver(Event("E_TEST", params))
    assert isinstance(receipt, Attempt)
    return receipt


def test_scripts(run: Run) -> None:
    """Once, in order, always, and by a function of the request."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, sink_to(subscriber) as sink:

            async def outcomes(count: int) -> list[Outcome]:
                return [(await deliver(sink, n=n)).outcome for n in range(count)]

            assert await outcomes(1) == [CONFIRMED]
            subscriber.once(Refuse(), Refuse(1))
            assert await outcomes(3) == [REJECTED, REJECTED, CONFIRMED]
            subscriber.in_order([Confirm(), Refuse()])
            assert await outcomes(3) == [CONFIRMED, REJECTED, REJECTED]
            subscriber.always(lambda call: Refuse() if call.params["n"] == 1 else Confirm())
            assert await outcomes(3) == [CONFIRMED, REJECTED, CONFIRMED]
            subscriber.once(Refuse()).always(Confirm())
            assert await outcomes(2) == [CONFIRMED, CONFIRMED]
            with pytest.raises(ConfigError, match="one action or more"):
                subscriber.in_order([])

    run(main)


def test_a_repeated_event_is_seen(run: Run) -> None:
    """An event is known by its id, or else by method and params; processing it again is marked."""

    async def main() -> None:
        async with ScriptedSubscriber(event_id="id") as subscriber, sink_to(subscriber) as sink:
            for params in ({"id": "a", "n": 1}, {"id": "b"}, {"id": "a", "n": 2}, {"n": 3}, {"n": 3}, {"n": 4}):
                await deliver(sink, **params)
            assert [done.repeated for done in subscriber.processed] == [False, False, True, False, True, False]
            assert [done.key for done in subscriber.processed][:3] == ["a", "b", "a"]
            assert [done.params for done in subscriber.processed][3] == {"n": 3}

    run(main)


def test_a_dead_letter_is_known_by_the_event_in_it(run: Run) -> None:
    """What a DeadLetter sends on has the id of the event in it, and so has the subscriber's account."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, sink_to(subscriber) as sink:
            letter = Event("E_DEAD_LETTER", {"event": "E_ACC_CDR", "id": "a84b4c-1", "params": {}}, id="a84b4c-1")
            assert (await sink.deliver(letter)).confirmed
            assert [done.key for done in subscriber.processed] == ["a84b4c-1"]

    run(main)


class Told:
    """A history, as far as subscribers know it."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []

    def processed(self, subscriber: str, event: str, at: float, connection: int) -> None:
        """Keep it."""
        assert at <= asyncio.get_running_loop().time()
        self.entries.append(("processed", subscriber, event, connection))

    def fault(self, fault: str, where: str, *, active: bool, detail: str, at: float) -> None:
        """Keep it."""
        assert at <= asyncio.get_running_loop().time()
        self.entries.append((fault, where, active, detail))


def test_what_a_history_is_told(run: Run) -> None:
    """Processing is told before the reply is written; every action but a plain confirmation is told as a fault."""

    async def main() -> None:
        told = Told()
        async with ScriptedSubscriber(name="app1", history=told) as subscriber, sink_to(subscriber) as sink:
            assert (await deliver(sink, event_id="e1")).confirmed
            subscriber.once(HandleThenDrop())
            assert (await deliver(sink, event_id="e2")).outcome is UNCONFIRMED
            subscriber.once(Refuse())
            assert (await deliver(sink, event_id="e3")).outcome is REJECTED
            await subscriber.connecting(RefuseConnections())
            await subscriber.connecting(Accept())
        assert told.entries == [
            ("processed", "app1", "e1", 1),
            ("handle_then_drop", "app1", True, "e2 on connection 1"),
            ("processed", "app1", "e2", 1),
            ("error", "app1", True, "e3 on connection 2"),
            ("refuse", "app1", True, ""),
            ("refuse", "app1", False, ""),
        ]
        assert [(act.what, act.connection, act.key) for act in subscriber.acts][:3] == [
            ("accept", 1, ""),
            ("confirm", 1, "e1"),
            ("handle_then_drop", 1, "e2"),
        ]

    run(main)


def test_delays_by_distribution(run: Run) -> None:
    """A delay is drawn for each request; replies overtake each other, and each confirms its own event."""

    async def main() -> None:
        async with (
            ScriptedSubscriber(script=Confirm(delay=rarely(0.03, 0.001, share=0.2)), rng=Random(7)) as subscriber,
            sink_to(subscriber) as sink,
        ):
            receipts = await asyncio.gather(*(deliver(sink, n=n) for n in range(50)))
            assert all(receipt.confirmed for receipt in receipts)
            slow = [receipt for receipt in receipts if receipt.took >= 0.0299]
            assert 2 <= len(slow) < 25
            assert [done.params["n"] for done in subscriber.processed] != list(range(50))
            subscriber.latency = 0.02
            subscriber.always(Confirm())
            assert (await deliver(sink)).took >= 0.0199

    run(main)


def test_joined_replies(run: Run) -> None:
    """Replies to several requests in one segment confirm each its own, also if fewer come than were wanted."""

    async def main() -> None:
        async with ScriptedSubscriber(script=Joined(3, within=0.01)) as subscriber, sink_to(subscriber) as sink:
            receipts = await sink.deliver_many([Event("E_TEST", {"n": n}) for n in range(7)])
            assert all(receipt.confirmed for receipt in receipts)

    run(main)


@pytest.mark.parametrize(
    ("behaviour", "outcome", "reason", "processed"),
    [
        (Accept(), CONFIRMED, "", 2),
        (AcceptAndStall(), UNCONFIRMED, "no reply within the timeout", 0),
        (AcceptAndStall(1), UNCONFIRMED, "no reply within the timeout", 1),
        (NeverRead(), UNCONFIRMED, "no reply within the timeout", 0),
        (RefuseConnections(), UNREACHABLE, "connect: Connection refused", 0),
    ],
    ids=repr,
)
def test_those_who_connect(run: Run, behaviour: Connecting, outcome: Outcome, reason: str, processed: int) -> None:
    """Each behaviour has its outcome; it can be changed while the subscriber runs, and its port stays."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber:
            port = subscriber.port
            await subscriber.connecting(behaviour)
            async with sink_to(subscriber, 5.0 if outcome is CONFIRMED else TIMEOUT) as sink:
                await deliver(sink)
                receipt = await deliver(sink)
            assert (receipt.outcome, receipt.reason) == (outcome, reason)
            assert len(subscriber.processed) == processed
            await subscriber.connecting(Accept())
            assert subscriber.port == port
            async with sink_to(subscriber) as sink:
                assert (await deliver(sink)).confirmed

    run(main)


def test_never_read_pushes_back(run: Run) -> None:
    """What a subscriber never reads fills the buffers; then nothing more leaves, and nothing more is said to have."""

    async def main() -> None:
        async with (
            ScriptedSubscriber(connections=NeverRead()) as subscriber,
            sink_to(subscriber, 0.2, options=ConnectionOptions(write_buffer=1000)) as sink,
        ):
            event = Event("E_TEST", {"text": "x" * 500_000})
            receipts = await asyncio.gather(*(sink.deliver(event) for _ in range(40)))
            sent = [receipt for receipt in receipts if isinstance(receipt, Attempt) and receipt.sent]
            assert 0 < len(sent) < 40
            assert {receipt.outcome for receipt in sent} == {UNCONFIRMED}
            assert {receipt.outcome for receipt in receipts if receipt not in sent} == {Outcome.SKIPPED}
            await subscriber.crash()  # closing would wait a second for what it doesn't read

    run(main)


@pytest.fixture(scope="module")
def authority() -> Any:
    """Made once: keys take time."""
    return trustme.CA()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("wrong_certificate", "certificate verify failed"),
        ("no_handshake", "no answer within 0.05 s"),
        ("plain_text", "wrong version number"),
    ],
)
def test_tls_failures(run: Run, authority: Any, kind: Any, reason: str) -> None:
    """A handshake that fails is UNREACHABLE, nothing left, and the reason says how; before and after it TLS works."""
    if kind != "wrong_certificate":
        failure = TlsFailure(kind)
    else:
        wrong = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(wrong)  # pyright: ignore[reportUnknownMemberType]
        failure = TlsFailure(kind, context=wrong)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)

    async def main() -> None:
        async with ScriptedSubscriber(ssl=server) as subscriber:
            for behaviour in (None, failure, None):
                await subscriber.connecting(behaviour or Accept())
                connect = 5.0 if behaviour is None or kind != "no_handshake" else 0.05
                options = ConnectionOptions(connect_timeout=connect)
                async with sink_to(subscriber, 5.0, ssl=client, options=options) as sink:
                    receipt = await deliver(sink)
                if behaviour is None:
                    assert receipt.confirmed
                else:
                    assert receipt.outcome is UNREACHABLE
                    assert not receipt.sent
                    assert reason in receipt.reason.lower().replace("_", " ")
            assert len(subscriber.processed) == 2

    run(main)


def test_a_wrong_certificate_is_made_if_none_is_given() -> None:
    """Without a context the certificate is made, by an authority that nobody knows."""

    async def main() -> None:
        async with ScriptedSubscriber(connections=TlsFailure()) as subscriber:
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            options = ConnectionOptions(connect_timeout=5.0)
            async with sink_to(subscriber, 5.0, ssl=client, options=options) as sink:
                assert "certificate verify failed" in (await deliver(sink)).reason.lower()

    asyncio.run(main())


def test_reset_and_half_open(run: Run) -> None:
    """A reset is seen at once, a lost connection when something is sent; both are UNCONFIRMED, and then all works."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, sink_to(subscriber) as sink:
            subscriber.once(Silent())
            waiting = asyncio.ensure_future(deliver(sink))
            await subscriber.until(lambda: subscriber.counts["silent"])
            assert subscriber.reset() == 1
            assert (await waiting).reason.startswith("connection lost")
            assert (await deliver(sink)).confirmed
            assert subscriber.half_open() == 1
            assert sink.status().up
            receipt = await deliver(sink)
            assert receipt.outcome is UNCONFIRMED
            assert receipt.reason.startswith("connection lost")
            assert (await deliver(sink)).confirmed
            assert subscriber.accepted == 3

    run(main)


def test_hold_and_black_hole(run: Run) -> None:
    """Held, a subscriber falls silent and goes on later; as a black hole it doesn't answer connects either."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, sink_to(subscriber, 0.1) as sink:
            assert (await deliver(sink)).confirmed
            subscriber.hold()
            assert (await deliver(sink)).outcome is UNCONFIRMED
            subscriber.release()
            await until(lambda: sink.status().late == 1)
            await subscriber.black_hole()
            assert (await deliver(sink)).outcome is UNCONFIRMED
            async with sink_to(subscriber, 5.0, options=ConnectionOptions(connect_timeout=0.03)) as fresh:
                receipt = await deliver(fresh)
            assert (receipt.outcome, receipt.reason) == (UNREACHABLE, "connect: no answer within 0.03 s")
            await subscriber.surface()
            await until(lambda: sink.status().late == 2)
            async with sink_to(subscriber) as fresh:
                assert (await deliver(fresh)).confirmed

    run(main)


def test_crash_and_restart(run: Run) -> None:
    """A crash ends work under way for good and refuses connects; after a restart it serves again on the same port."""

    async def main() -> None:
        async with ScriptedSubscriber(script=Confirm(delay=0.05)) as subscriber, sink_to(subscriber) as sink:
            waiting = asyncio.ensure_future(deliver(sink))
            await subscriber.until(lambda: subscriber.received)
            await subscriber.crash()
            receipt = await waiting
            assert receipt.outcome is UNCONFIRMED
            receipt = await deliver(sink)
            assert (receipt.outcome, receipt.reason) == (UNREACHABLE, "connect: Connection refused")
            await subscriber.crash()
            await asyncio.sleep(0.06)
            assert not subscriber.processed
            await subscriber.restart()
            assert (await deliver(sink)).confirmed
            assert subscriber.counts["crash"] == 1

    run(main)


def test_what_overlaps_ends_as_it_was_said_last(run: Run) -> None:
    """How it listens changes while it is being changed: the last word counts, no port is taken twice or left open."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber:
            kinds = [AcceptAndStall(), Accept(), AcceptAndStall(), Accept()]
            await asyncio.gather(*[subscriber.connecting(kind) for kind in kinds])
            async with sink_to(subscriber) as sink:
                assert (await deliver(sink)).outcome is CONFIRMED
            await asyncio.gather(subscriber.connecting(Accept()), subscriber.connecting(RefuseConnections()))
            async with sink_to(subscriber) as sink:
                assert (await deliver(sink)).outcome is UNREACHABLE
            await asyncio.gather(subscriber.connecting(Accept()), subscriber.connecting(Accept()), subscriber.crash())
            async with sink_to(subscriber) as sink:
                assert (await deliver(sink)).outcome is UNREACHABLE
            await subscriber.restart()
            async with sink_to(subscriber) as sink:
                assert (await deliver(sink)).outcome is CONFIRMED

    run(main)


def test_work_under_way_outlives_its_connection(run: Run) -> None:
    """A connection that breaks doesn't stop the work for its requests: it is processed, and can't be confirmed."""

    async def main() -> None:
        async with ScriptedSubscriber(script=Confirm(delay=0.03)) as subscriber, sink_to(subscriber) as sink:
            waiting = asyncio.ensure_future(deliver(sink))
            await subscriber.until(lambda: subscriber.received)
            subscriber.reset()
            assert (await waiting).outcome is UNCONFIRMED
            assert not subscriber.processed
            await subscriber.until(lambda: subscriber.processed)

    run(main)


def test_lifetime(run: Run) -> None:
    """Closing is idempotent, breaks connections and ends work; it can be started again on the same port."""

    async def main() -> None:
        subscriber = ScriptedSubscriber(script=Late(1.0))
        with pytest.raises(UsageError, match="isn't started"):
            await subscriber.restart()
        await subscriber.aclose()
        await subscriber.start()
        with pytest.raises(UsageError, match="started already"):
            await subscriber.start()
        port = subscriber.port
        async with sink_to(subscriber) as sink:
            waiting = asyncio.ensure_future(deliver(sink))
            await subscriber.until(lambda: subscriber.processed)
            await asyncio.gather(subscriber.aclose(), subscriber.aclose())
            assert (await waiting).outcome is UNCONFIRMED
            assert not subscriber.links
            subscriber.always(Confirm())
            async with subscriber:
                assert subscriber.port == port
                assert (await deliver(sink)).confirmed

    run(main)


def test_a_port_of_somebody_else_is_not_shared() -> None:
    """Two subscribers never listen on one port; the second one is told that it is in use."""

    async def main() -> None:
        async with ScriptedSubscriber() as first:
            with pytest.raises(OSError, match="in use"):
                await ScriptedSubscriber(port=first.port).start()
            async with sink_to(first) as sink:
                assert (await deliver(sink)).confirmed

    asyncio.run(main())


def test_memory_is_bounded(run: Run) -> None:
    """Of what it did and processed it keeps so many entries, the newest."""

    async def main() -> None:
        async with ScriptedSubscriber(keep=10) as subscriber, sink_to(subscriber) as sink:
            await sink.deliver_many([Event("E_TEST", {"n": n}) for n in range(50)])
            assert [done.params["n"] for done in subscriber.processed] == list(range(40, 50))
            assert len(subscriber.acts) == 10
            assert subscriber.counts["confirm"] == 50

    run(main)


def test_notifications_are_processed_and_not_answered(run: Run) -> None:
    """What has no id is work to do and nothing to reply to, whatever the action."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, sink_to(subscriber, confirm=False) as sink:
            for name in ("confirm", "twice", "garbage", "wrong_id", "string_id", "joined", "split", "huge", "error"):
                subscriber.once(action(name))
                assert (await deliver(sink)).outcome is Outcome.SENT
                await subscriber.until(lambda: subscriber.counts[name])  # noqa: B023  # awaited in this round
            assert len(subscriber.processed) == 8
            assert subscriber.accepted == 1
            assert sink.status().up

    run(main)


def test_what_is_no_request_is_refused(run: Run) -> None:
    """A batch is answered member by member; what can't be read gets an error, and an unreadable stream its end."""

    async def main() -> bytes:
        async with ScriptedSubscriber() as subscriber:
            reader, writer = await asyncio.open_connection("127.0.0.1", subscriber.port)
            request = b'{"id":1,"jsonrpc":"2.0","method":"m"}'
            writer.write(b"[%b,7]" % request + b'{"id":2}' + b'"text"' + request.replace(b"1", b'"s"', 1) + b"?")
            replies = await reader.read()
            assert len(subscriber.processed) == 2
            writer.close()
            await writer.wait_closed()
            return replies

    replies = run(main)
    confirmation = b'{"jsonrpc":"2.0","id":1,"result":"ok"}'
    assert replies.startswith(confirmation + b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700')
    assert b'"id":"s","result":"ok"' in replies
    assert replies.count(b'"error"') == 4
    assert b"-32600" in replies


def test_on_a_simulated_host() -> None:
    """On a simulated host it is found by its name, crashes with the host, and begins anew when that restarts."""
    subscriber = ScriptedSubscriber("app1", 8080, script=Confirm(delay=0.01))
    simulation = Simulation(5, strict=True)
    network = simulation.network
    host = network.host("app1", start=subscriber.serve)

    async def main() -> None:
        async with sink_to(subscriber) as sink:
            assert sink.name == subscriber.name == "jsonrpc:app1:8080"
            assert (await deliver(sink, n=1)).confirmed
            waiting = asyncio.ensure_future(deliver(sink, n=2))
            await asyncio.sleep(0.005)
            host.crash()
            assert (await waiting).outcome is UNCONFIRMED
            assert (await deliver(sink, n=3)).outcome is UNREACHABLE
            host.restart()
            await asyncio.sleep(0.01)
            assert (await deliver(sink, n=4)).confirmed
            host.restart()
            await asyncio.sleep(0.01)
            assert (await deliver(sink, n=5)).confirmed
            assert [done.params["n"] for done in subscriber.processed] == [1, 4, 5]

    simulation.run(main())


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_the_work_is_done_before_anything_is_written(name: str) -> None:
    """Whatever the action, a history hears of the processing before the first byte of a reply is on the network."""
    order: list[str] = []

    class Ordered(Told):
        def processed(self, subscriber: str, event: str, at: float, connection: int) -> None:
            order.append("processed")

    def packet(record: Record) -> None:
        if record.what == "data" and record.source.startswith("app1:"):
            order.append("written")

    subscriber = ScriptedSubscriber("app1", 80, script=action(name, delay=0.01), history=Ordered())
    simulation = Simulation(1)
    simulation.network.host("app1", start=subscriber.serve)
    simulation.network.observers.append(packet)

    async def main() -> None:
        async with sink_to(subscriber) as sink:
            await deliver(sink)

    simulation.run(main())
    if name in {"error", "confirm_unhandled"}:
        assert order[0] == "written"
    elif name in {"silent", "close_on_request", "reset_on_request"}:
        assert not order
    else:
        assert order[0] == "processed"
    assert order.count("processed") <= 1


def test_names_and_arguments() -> None:
    """Actions and behaviours by name; a name or an argument that there is not is an error that says what there is."""
    assert action("error", code=5) == Refuse(5)
    assert action("confirm", delay={"uniform": [0.1, 0.2]}) != Confirm()
    assert connecting("accept_and_stall", after=2) == AcceptAndStall(2)
    with pytest.raises(ConfigError, match=r"no action 'explode'; expected one of batch, .*wrong_id"):
        action("explode")
    with pytest.raises(ConfigError, match=r"'silent' has no argument 'code'; it has delay"):
        action("silent", code=1)
    with pytest.raises(ConfigError, match="expected one of 'before', 'amid', 'after'"):
        action("close_on_request", when="never")
    with pytest.raises(ConfigError, match="expected a whole number"):
        connecting("accept_and_stall", after=-1)
    with pytest.raises(ConfigError, match="delay=-1"):
        Confirm(delay=-1)
    with pytest.raises(ConfigError, match="keep=0"):
        ScriptedSubscriber(keep=0)


def test_an_action_of_ones_own(run: Run) -> None:
    """A function decides by the request, and a request has all that an action needs to answer it."""

    async def main() -> None:
        seen: list[Call] = []

        def script(call: Call) -> Confirm:
            seen.append(call)
            return Confirm({"connection": call.connection, "method": call.method})

        async with ScriptedSubscriber(script=script) as subscriber, sink_to(subscriber) as sink:
            assert (await deliver(sink, n=1)).result == {"connection": 1, "method": "E_TEST"}
            assert (seen[0].params, seen[0].raw_id is None) == ({"n": 1}, False)

    run(main)
