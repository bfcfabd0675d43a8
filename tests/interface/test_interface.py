"""The event interface: who gets which event, for how long, and what whoever raises it learns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from failover import (
    AddressError,
    ClosedError,
    ConfigError,
    ConnectionOptions,
    Event,
    EventError,
    EventInterface,
    Group,
    Opening,
    Outcome,
    Receipt,
    Status,
    UsageError,
    WrongLoopError,
    jsonrpc,
)
from failover.grammar import parse
from failover.records import ConnectionChanged, DeliveryEnded, Record
from failover.strategies import Failover
from failover.subscriber.listening import stop_listening
from tests.clock import ClockLoop, move_clock, run


class Peer:
    """A real subscriber on the loopback: records the events it gets and confirms them unless it is silent."""

    def __init__(self) -> None:
        self.port = 0
        self.events: list[dict[str, Any]] = []
        self.connections = 0
        self.closed = 0
        self.silent = False
        self.changed = asyncio.Condition()
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def socket(self) -> str:
        """Its address."""
        return f"jsonrpc:127.0.0.1:{self.port}"

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that is true of it."""
        async with self.changed:
            await self.changed.wait_for(true)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read whole events (they are small: one read never ends inside one) and answer them."""
        self.writers.append(writer)
        self.connections += 1
        while text := (await reader.read(65536)).decode():
            while text:
                event, end = json.JSONDecoder().raw_decode(text)
                text = text[end:]
                self.events.append(event)
                if not self.silent and event.get("id") is not None:
                    writer.write(b'{"jsonrpc":"2.0","result":"ok","id":%d}' % event["id"])
            async with self.changed:
                self.changed.notify_all()
        writer.close()
        self.closed += 1
        async with self.changed:
            self.changed.notify_all()


@asynccontextmanager
async def listening(count: int) -> AsyncGenerator[list[Peer], None]:
    """So many subscribers, gone afterwards."""
    peers = [Peer() for _ in range(count)]
    servers = [await asyncio.start_server(peer.serve, "127.0.0.1", 0) for peer in peers]
    for peer, server in zip(peers, servers, strict=True):
        peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peers
    finally:
        for server in servers:
            await stop_listening(server)
        for peer in peers:
            for writer in peer.writers:
                writer.close()
            await peer.until(lambda peer=peer: peer.closed == peer.connections)  # type: ignore[misc]


def test_public_face() -> None:
    """The example of the README: subscribe text, raise by name with named params, with values, and as an `Event`."""

    async def body() -> None:
        async with listening(2) as (first, second):
            events = EventInterface(sync_mode=True, timeout=1.0, event_param=None, failover_timeout=30)
            events.subscribe("E_PIKE_BLOCKED", f"virtual:FAILOVER {first.socket}/block_ip {second.socket}", expire=3600)
            events.subscribe("E_MY_EVENT", second.socket)
            async with events:
                [blocked] = await events.raise_event("E_PIKE_BLOCKED", ip="192.168.2.11")
                [mine] = await events.raise_event("E_MY_EVENT", 3, 5)
                [twice] = await events.raise_event(Event("E_MY_EVENT", [("k", 1), ("k", 2)], id="a84b4c76e66710-1"))
            assert [blocked.outcome, mine.outcome, twice.outcome] == [Outcome.CONFIRMED] * 3
            assert blocked.attempts[0].sink == f"{first.socket}/block_ip"
            assert twice.event.id == "a84b4c76e66710-1"
            assert [(event["method"], event["params"]) for event in first.events] == [
                ("block_ip", {"ip": "192.168.2.11"})
            ]
            assert [(event["method"], event["params"]) for event in second.events] == [
                ("E_MY_EVENT", [3, 5]),
                ("E_MY_EVENT", {"k": 2}),
            ]

    run(body)


def test_every_name_is_free_for_a_param() -> None:
    """A named event may have params called `within`, `deadline`, `event` and `self`: options need an `Event`."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface() as events:
            events.subscribe("E_A", peer.socket)
            await events.raise_event("E_A", within="a", deadline="b", event="c", self="d")
            assert peer.events[0]["params"] == {"within": "a", "deadline": "b", "event": "c", "self": "d"}

    run(body)


def test_no_params_at_all() -> None:
    """A name alone is an event without params, which is not the same as empty ones."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface() as events:
            events.subscribe("E_A", peer.socket)
            await events.raise_event("E_A")
            await events.raise_event(Event("E_A", {}))
            assert ["params" in event for event in peer.events] == [False, True]

    run(body)


def test_params_are_of_one_kind() -> None:
    """Values beside named params are an error, so is anything beside an `Event` but its options; nothing is sent."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface() as events:
            events.subscribe("E_A", peer.socket)
            with pytest.raises(EventError, match="either values alone or all named"):
                await events.raise_event("E_A", 1, two=2)
            with pytest.raises(EventError, match="has no JSON form"):
                await events.raise_event("E_A", load=float("nan"))
            untyped: Any = events
            with pytest.raises(TypeError, match="deadline= and within= alone"):
                await untyped.raise_event(Event("E_A"), 1)
            with pytest.raises(TypeError, match="deadline= and within= alone"):
                await untyped.raise_event(Event("E_A"), ip="192.168.2.11")
            with pytest.raises(ConfigError, match="within"):
                await events.raise_event(Event("E_A"), within=-1)
            assert peer.events == []

    run(body)


def test_a_deadline_cuts_short() -> None:
    """With an `Event`, `within` and `deadline` end the wait for every subscriber; the earlier one counts."""

    async def body() -> None:
        async with listening(2) as (one, two), EventInterface(timeout=5, drain=0) as events:
            one.silent = two.silent = True
            events.subscribe("E_A", one.socket)
            events.subscribe("E_A", two.socket)
            now = asyncio.get_running_loop().time()
            raising = asyncio.create_task(events.raise_event(Event("E_A"), within=2, deadline=now + 1))
            await one.until(lambda: bool(one.events))
            await two.until(lambda: bool(two.events))
            await move_clock(1)
            receipts = await raising
            assert [receipt.outcome for receipt in receipts] == [Outcome.ABANDONED] * 2
            assert [receipt.ended for receipt in receipts] == [now + 1] * 2

    run(body)


def test_newest_subscriber_first() -> None:
    """All subscribers of an event get it and no others; receipts begin with the newest; nobody subscribed: none."""

    async def body() -> None:
        async with listening(3) as (one, two, other), EventInterface() as events:
            events.subscribe("E_A", one.socket)
            events.subscribe("E_A", two.socket)
            events.subscribe("E_B", other.socket)
            receipts = await events.raise_event("E_A", 1)
            assert [receipt.sink for receipt in receipts] == [two.socket, one.socket]
            assert [len(peer.events) for peer in (one, two, other)] == [1, 1, 0]
            assert await events.raise_event("E_C", 1) == []

    run(body)


def test_a_slow_subscriber_holds_back_nobody() -> None:
    """The event is delivered to a healthy subscriber while a silent one is still waited for."""

    async def body() -> None:
        delivered: list[str] = []
        done = asyncio.Event()

        def observe(record: Record) -> None:
            if isinstance(record, DeliveryEnded):
                delivered.append(record.group)
                done.set()

        async with listening(2) as (slow, quick), EventInterface(timeout=1, observers=[observe]) as events:
            slow.silent = True
            events.subscribe("E_A", quick.socket)
            events.subscribe("E_A", slow.socket)
            raising = asyncio.create_task(events.raise_event("E_A", 1))
            await done.wait()
            assert delivered == [quick.socket]
            await slow.until(lambda: bool(slow.events))
            await move_clock(1.01)
            assert [receipt.outcome for receipt in await raising] == [Outcome.UNCONFIRMED, Outcome.CONFIRMED]

    run(body)


def test_settings_reach_sockets_given_as_text() -> None:
    """Notification mode, its dialect and the event's name among the params are OpenSIPS's settings for text."""

    async def body() -> None:
        async with listening(1) as (peer,):
            for null_id in (True, False):
                settings = EventInterface(sync_mode=False, event_param="event", id_param="ref", null_id=null_id)
                async with settings as events:
                    events.subscribe("E_A", f"virtual:PARALLEL {peer.socket}/m")
                    [receipt] = await events.raise_event(Event("E_A", {"ip": "192.168.2.11"}, id="a84b-1"))
                    assert receipt.outcome is Outcome.SENT
            await peer.until(lambda: len(peer.events) == 2)
            assert [list(event) for event in peer.events] == [
                ["id", "jsonrpc", "method", "params"],
                ["jsonrpc", "method", "params"],
            ]
            assert peer.events[0]["params"] == {"event": "E_A", "ip": "192.168.2.11", "ref": "a84b-1"}

    run(body)


def test_failover_timeout_is_the_quarantine() -> None:
    """A socket at fault is skipped for as long as `failover_timeout` says, exactly, and then tried again."""

    async def body() -> None:
        async with listening(2) as (first, second), EventInterface(timeout=1, failover_timeout=7) as events:
            events.subscribe("E_A", f"virtual:FAILOVER {first.socket} {second.socket}")
            events.subscribe("E_B", f"virtual:PARALLEL {first.socket} {second.socket}")
            assert (await events.raise_event("E_B"))[0].confirmed  # both are connected: no connect can time out below
            first.silent = True
            raising = asyncio.create_task(events.raise_event("E_A"))
            await first.until(lambda: len(first.events) == 2)
            await move_clock(1)
            assert (await raising)[0].attempts[-1].sink == second.socket
            first.silent = False
            await move_clock(6.99)
            assert (await events.raise_event("E_A"))[0].attempts[0].sink == second.socket
            await move_clock(0.01)
            assert (await events.raise_event("E_A"))[0].attempts[0].sink == first.socket

    run(body)


def test_a_socket_of_a_subscription_taken_out_by_hand() -> None:
    """The group of a subscription takes out a socket that its address names, and puts it back."""

    async def body() -> None:
        async with listening(2) as (first, second), EventInterface() as events:
            group = events.subscribe("E_A", f"virtual:FAILOVER {first.socket} {second.socket}").group
            assert (await events.raise_event("E_A"))[0].attempts[0].sink == first.socket
            group.quarantine(first.socket)
            assert (await events.raise_event("E_A"))[0].attempts[0].sink == second.socket
            group.reinstate(first.socket)
            assert (await events.raise_event("E_A"))[0].attempts[0].sink == first.socket

    run(body)


def test_a_subscription_vanishes_exactly_at_its_time() -> None:
    """It gets events to the last moment and none after it; then its connection is closed and it is listed no more."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface() as events:
            subscription = events.subscribe("E_A", peer.socket, expire=60)
            assert len(await events.raise_event("E_A")) == 1
            await move_clock(59.999)
            assert len(await events.raise_event("E_A")) == 1
            assert not subscription.ended
            loop = asyncio.get_running_loop()
            assert isinstance(loop, ClockLoop)
            loop.now += 0.001
            assert await events.raise_event("E_A") == []  # although the loop had no turn to act on it yet
            await peer.until(lambda: peer.closed == 1)
            assert subscription.ended
            assert events.events_list() == {"Events": []}
            assert peer.connections == 1

    run(body)


def test_subscribing_again_refreshes() -> None:
    """The same socket keeps its place, connection and quarantine; its term begins anew, or never ends any more."""

    async def body() -> None:
        async with listening(2) as (one, two), EventInterface() as events:
            first = events.subscribe("E_A", one.socket, expire=10)
            events.subscribe("E_A", two.socket, expire=10)
            assert len(await events.raise_event("E_A")) == 2
            await move_clock(9)
            assert events.subscribe("E_A", one.socket, expire=10) is first
            await move_clock(2)
            assert [receipt.sink for receipt in await events.raise_event("E_A")] == [one.socket]
            assert events.subscribe("E_A", one.socket) is first
            await move_clock(1_000_000)
            assert len(await events.raise_event("E_A")) == 1
            assert one.connections == 1

    run(body)


@pytest.mark.parametrize(("policy", "same"), [("PARALLEL", True), ("FAILOVER", False), ("ROUND-ROBIN", False)])
def test_order_matters_unless_parallel(policy: str, same: bool) -> None:  # noqa: FBT001  # a column of the table
    """A PARALLEL set in another order is the same subscription; the other policies are in order."""
    events = EventInterface()
    a, b = "jsonrpc:127.0.0.1:1", "jsonrpc:127.0.0.1:2/m"
    one = events.subscribe("E_A", f"virtual:{policy} {a} {b}")
    assert events.subscribe("E_A", parse(f"virtual:{policy}\t{a}  {b}")) is one
    assert (events.subscribe("E_A", f"virtual:{policy} {b} {a}") is one) is same
    assert events.subscribe("E_A", a) is not one


def test_the_same_set_inside_another() -> None:
    """Order means nothing in a PARALLEL or QUORUM at any depth; options and everything else do."""
    events = EventInterface()
    text = "virtual:FAILOVER (PARALLEL require=any {} {} timeout=1s) (QUORUM k=1 {} {})"
    a, b, c, d = (f"jsonrpc:127.0.0.1:{port}" for port in (1, 2, 3, 4))
    one = events.subscribe("E_A", text.format(a, b, c, d))
    assert (
        events.subscribe("E_A", f"virtual:FAILOVER (PARALLEL require=any {b} timeout=1s {a}) (QUORUM k=1 {d} {c})")
        is one
    )
    assert events.subscribe("E_A", text.format(b, a, c, d)) is not one
    assert events.subscribe("E_A", text.format(a, b, c, d).replace("any", "2")) is not one


def test_one_expiry_for_a_virtual_subscription() -> None:
    """All sockets of a virtual subscriber are given back together when its term ends."""

    async def body() -> None:
        async with listening(2) as (one, two), EventInterface() as events:
            events.subscribe("E_A", f"virtual:PARALLEL {one.socket} {two.socket}", expire=5)
            [receipt] = await events.raise_event("E_A")
            assert len(receipt.attempts) == 2
            await move_clock(5)
            await one.until(lambda: one.closed == 1)
            await two.until(lambda: two.closed == 1)

    run(body)


def test_expire_zero_and_unsubscribe() -> None:
    """Both end a subscription at once, by the socket's meaning; of none they are no error. In flight is waited for."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface(timeout=5) as events:
            peer.silent = True
            events.subscribe("E_A", peer.socket)
            raising = asyncio.create_task(events.raise_event("E_A"))
            await peer.until(lambda: bool(peer.events))
            assert events.unsubscribe("E_A", peer.socket)
            assert not events.unsubscribe("E_A", peer.socket)
            peer.writers[0].write(b'{"id":%d,"result":null}' % peer.events[0]["id"])
            assert (await raising)[0].outcome is Outcome.CONFIRMED
            subscription = events.subscribe("E_B", peer.socket)
            assert events.subscribe("E_B", peer.socket, expire=0) is subscription
            assert subscription.ended
            assert events.subscribe("E_B", peer.socket, expire=0).ended
            assert events.subscribers_list() == {"Events": []}
            with pytest.raises(ClosedError, match="has ended"):
                await subscription.ready()

    run(body)


def test_what_can_not_be_meant_is_refused_where_it_is_declared() -> None:
    """A bad address, expiry, name, socket or setting is one clear error at once, and leaves nothing behind."""
    events = EventInterface()
    with pytest.raises(AddressError, match="port 99999 is out of range at position 18"):
        events.subscribe("E_A", "jsonrpc:127.0.0.1:99999")
    with pytest.raises(AddressError, match="no socket after the policy"):
        events.subscribe("E_A", "virtual:FAILOVER")
    with pytest.raises(ConfigError, match="two children named 'jsonrpc:a:1'"):
        events.subscribe("E_A", "virtual:FAILOVER jsonrpc:a:1 jsonrpc:a:1")
    with pytest.raises(ConfigError, match="expire must be a number of seconds, 0 or more, not -1"):
        events.subscribe("E_A", "jsonrpc:127.0.0.1:1", expire=-1)
    with pytest.raises(ConfigError, match="non-empty string"):
        events.subscribe("", "jsonrpc:127.0.0.1:1")
    nothing: Any = 8080
    with pytest.raises(ConfigError, match="must be a sink or an address, not 8080"):
        events.subscribe("E_A", nothing)
    with pytest.raises(AddressError):
        events.unsubscribe("E_A", "jsonrpc")
    with pytest.raises(ConfigError, match="name the event too"):
        events.subscribers_list(socket="jsonrpc:127.0.0.1:1")
    assert events.events_list() == {"Events": []}
    for wrong in (
        {"timeout": 0},
        {"failover_timeout": -1},
        {"event_param": ""},
        {"id_param": ""},
        {"drain": float("nan")},
    ):
        with pytest.raises(ConfigError):
            EventInterface(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_lists_have_the_shapes_of_mi() -> None:
    """`events_list` and `subscribers_list` give plain data as OpenSIPS's management interface does."""
    events = EventInterface()
    a, b = "jsonrpc:127.0.0.1:1", "virtual:PARALLEL jsonrpc:127.0.0.1:2 jsonrpc:127.0.0.1:3"
    events.subscribe("E_A", a)
    events.subscribe("E_B", b, 60)
    events.subscribe("E_A", b, 0.5)
    listed_a = [{"socket": b, "expire": 0.5}, {"socket": a, "expire": "never"}]
    listed_b = [{"socket": b, "expire": 60}]
    assert events.events_list() == {"Events": [{"name": "E_A", "id": 0}, {"name": "E_B", "id": 1}]}
    assert events.subscribers_list() == {
        "Events": [
            {"name": "E_A", "id": 0, "Subscribers": listed_a},
            {"name": "E_B", "id": 1, "Subscribers": listed_b},
        ]
    }
    assert events.subscribers_list("E_A") == {"Event": {"name": "E_A", "id": 0, "Subscribers": listed_a}}
    assert events.subscribers_list("E_A", a) == {"Event": {"name": "E_A", "id": 0, "Subscriber": listed_a[1]}}
    assert events.subscribers_list("E_C") == events.subscribers_list("E_B", a) == {"Event": {}}
    assert json.loads(json.dumps(events.subscribers_list())) == events.subscribers_list()

    async def body() -> None:
        async with events:
            await move_clock(0.25)
            assert events.subscribers_list("E_B", b)["Event"]["Subscriber"] == {"socket": b, "expire": 60, "ttl": 60}
            await move_clock(1)
            assert events.subscribers_list("E_B", b)["Event"]["Subscriber"]["ttl"] == 59
            assert events.subscribers_list("E_A")["Event"]["Subscribers"] == [listed_a[1]]
            assert "3 subscriptions" not in repr(events)
            assert "open" in repr(events)

    run(body)


def test_terms_begin_when_the_interface_opens() -> None:
    """What is declared before needs no loop; its term runs from opening, and anew after closing and opening again."""

    async def body() -> None:
        async with listening(1) as (peer,):
            events = EventInterface()
            subscription = events.subscribe("E_A", peer.socket, expire=10)
            with pytest.raises(ClosedError, match="is not open"):
                await subscription.ready()
            for _ in range(2):
                await move_clock(100)
                async with events:
                    await move_clock(9)
                    assert (await events.raise_event("E_A"))[0].confirmed
                assert not subscription.status().up
            await events.aclose()
            with pytest.raises(ClosedError, match="async with events"):
                await events.raise_event("E_A")
            assert "1 subscriptions, closed" in repr(events)

    run(body)


def test_one_owner_one_loop() -> None:
    """Opening it twice, and using it from another loop or none while it is open, is refused; nothing breaks by it."""

    async def body() -> None:
        async with EventInterface() as events:
            with pytest.raises(UsageError, match="open already"):
                await events.open()

            def elsewhere() -> None:
                with pytest.raises(WrongLoopError):
                    events.subscribe("E_A", "jsonrpc:127.0.0.1:1")
                with pytest.raises(WrongLoopError):
                    asyncio.run(events.raise_event("E_A"))  # type: ignore[arg-type]

            await asyncio.to_thread(elsewhere)

    run(body)


def test_a_group_that_is_open_stays_its_owners() -> None:
    """It is used as it is and not closed; once its owner has closed it, events for it are skipped and say so."""

    async def body() -> None:
        async with listening(1) as (peer,):
            group = Group("billing", Failover(peer.socket))
            await group.open()
            async with EventInterface() as events:
                events.subscribe("E_A", group)
                assert (await events.raise_event("E_A"))[0].confirmed
            assert group.status().up
            async with EventInterface() as events:
                await events.subscribe("E_A", group).ready()
                await group.aclose()
                [receipt] = await events.raise_event("E_A")
                assert (receipt.outcome, receipt.sink) == (Outcome.SKIPPED, "billing")
                assert "'billing' is not open" in receipt.reason

    run(body)


def test_a_sink_is_opened_once_for_all_its_subscriptions() -> None:
    """A sink or group may subscribe to many events; it opens with the first subscription and closes with the last."""

    async def body() -> None:
        async with listening(1) as (peer,):
            for sink in (jsonrpc(f"127.0.0.1:{peer.port}", name="cdr"), Group("cdr", peer.socket)):
                async with EventInterface() as events:
                    one = events.subscribe("E_A", sink)
                    two = events.subscribe("E_B", sink)
                    assert (one.socket, two.socket) == ("cdr", "cdr")
                    assert (await events.raise_event("E_A"))[0].confirmed
                    events.unsubscribe("E_A", sink)
                    assert (await events.raise_event("E_B"))[0].confirmed
                    assert peer.connections == peer.closed + 1
                    events.unsubscribe("E_B", sink)
                    await peer.until(lambda: peer.closed == peer.connections)
            assert peer.connections == 2

    run(body)


def test_a_sink_that_is_being_closed_can_subscribe_again() -> None:
    """What is in flight ends first, then it is opened again; an event raised meanwhile waits for that."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface(timeout=5) as events:
            peer.silent = True
            sink = jsonrpc(f"127.0.0.1:{peer.port}")
            events.subscribe("E_A", sink)
            first = asyncio.create_task(events.raise_event("E_A", 1))
            await peer.until(lambda: len(peer.events) == 1)
            events.unsubscribe("E_A", sink)
            await move_clock(0)
            subscription = events.subscribe("E_A", sink)
            second = asyncio.create_task(events.raise_event("E_A", 2))
            await move_clock(0)
            assert not second.done()
            peer.silent = False
            peer.writers[0].write(b'{"id":%d,"result":null}' % peer.events[0]["id"])
            assert (await first)[0].confirmed
            assert (await second)[0].confirmed
            await subscription.ready()
            assert peer.connections == 2

    run(body)


class Odd:
    """A sink of another author that opens slowly, fails to open, or breaks the rules when it delivers."""

    def __init__(self, name: str, *, fault: Exception | None = None, remains: Exception | None = None) -> None:
        self.name = name
        self.fault = fault
        self.remains = remains
        self.go = asyncio.Event()
        self.opened = 0
        self.closed = 0

    async def open(self, opening: Opening) -> None:
        """Wait for the test, then open or fail."""
        await self.go.wait()
        self.opened += 1
        if isinstance(self.fault, ConfigError):
            raise self.fault

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Confirm, or fail."""
        if self.fault is not None:
            raise self.fault
        now = asyncio.get_running_loop().time()
        return Receipt(event, self.name, Outcome.CONFIRMED, now, now)

    def status(self) -> Status:
        """Always up."""
        return Status(self.name, up=True)

    async def aclose(self) -> None:
        """Count it, or fail."""
        self.closed += 1
        if self.remains is not None:
            raise self.remains


def test_events_wait_for_a_socket_that_is_opening() -> None:
    """No longer than an attempt may take, or the deadline says; then they are skipped. Others are not held up."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface(timeout=2) as events:
            events.subscribe("E_A", peer.socket)
            slow = Odd("slow")
            events.subscribe("E_A", slow)
            raising = asyncio.create_task(events.raise_event("E_A"))
            await peer.until(lambda: bool(peer.events))
            await move_clock(2)
            receipts = await raising
            assert [receipt.outcome for receipt in receipts] == [Outcome.SKIPPED, Outcome.CONFIRMED]
            assert receipts[0].reason == "its socket is not open yet"
            raising = asyncio.create_task(events.raise_event(Event("E_A"), within=1))
            await peer.until(lambda: len(peer.events) == 2)
            slow.go.set()
            assert [receipt.outcome for receipt in await raising] == [Outcome.CONFIRMED] * 2

    run(body)


def test_a_socket_that_can_not_be_opened_is_skipped_with_the_reason() -> None:
    """`ready` raises what opening raised, receipts carry it, others aren't harmed; subscribing again retries."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface() as events:
            events.subscribe("E_A", peer.socket)
            other = jsonrpc(f"127.0.0.1:{peer.port}", options=ConnectionOptions(in_flight=1))
            conflict = events.subscribe("E_A", other)
            with pytest.raises(ConfigError, match="shared and already has other options"):
                await conflict.ready()
            skipped, delivered = await events.raise_event("E_A")
            assert delivered.confirmed
            assert skipped.outcome is Outcome.SKIPPED
            assert "can't be opened: the connection to 127.0.0.1" in skipped.reason
            events.unsubscribe("E_A", peer.socket)
            await peer.until(lambda: peer.closed == 1)
            assert events.subscribe("E_A", other) is conflict
            await conflict.ready()
            assert [receipt.outcome for receipt in await events.raise_event("E_A")] == [Outcome.CONFIRMED]

    run(body)


def test_opening_all_or_nothing() -> None:
    """If one socket can't be opened, opening raises that and the others are closed again."""

    async def body() -> None:
        async with listening(1) as (peer,):
            bad = Odd("bad", fault=ConfigError("no such place"))
            bad.go.set()
            good = Odd("good")
            good.go.set()
            events = EventInterface()
            events.subscribe("E_A", peer.socket)
            events.subscribe("E_A", good)
            events.subscribe("E_B", bad)
            with pytest.raises(ConfigError, match="no such place"):
                await events.open()
            assert (good.opened, good.closed) == (1, 1)
            assert "closed" in repr(events)
            bad.fault = None
            async with events:
                assert len(await events.raise_event("E_A")) == 2
                assert len(await events.raise_event("E_B")) == 1
            assert (good.opened, good.closed) == (2, 2)

    run(body)


def test_a_sink_that_raises_cuts_nobody_short() -> None:
    """Its error reaches whoever raised the event, after all others have got it."""

    async def body() -> None:
        async with listening(1) as (peer,), EventInterface() as events:
            broken = Odd("broken", fault=ZeroDivisionError("a fault of its author"))
            broken.go.set()
            events.subscribe("E_A", peer.socket)
            events.subscribe("E_A", broken)
            with pytest.raises(ZeroDivisionError):
                await events.raise_event("E_A")
            assert len(peer.events) == 1

    run(body)


def test_cancelling_leaves_nothing_behind() -> None:
    """A cancelled `raise_event` abandons its attempts, observers get the partial receipts, no task stays."""

    async def body() -> None:
        ended: list[Receipt] = []

        def observe(record: Record) -> None:
            if isinstance(record, DeliveryEnded):
                ended.append(record.receipt)

        async with listening(2) as (one, two), EventInterface(timeout=5, observers=[observe]) as events:
            events.subscribe("E_A", one.socket)
            events.subscribe("E_A", f"virtual:FAILOVER {two.socket}")
            await events.raise_event("E_A")
            one.silent = two.silent = True
            before = asyncio.all_tasks()
            raising = asyncio.create_task(events.raise_event("E_A"))
            await one.until(lambda: len(one.events) == 2)
            await two.until(lambda: len(two.events) == 2)
            raising.cancel()
            with pytest.raises(asyncio.CancelledError):
                await raising
            assert asyncio.all_tasks() == before
        outcomes = [attempt.outcome for receipt in ended for attempt in receipt.attempts]
        assert outcomes == [Outcome.CONFIRMED] * 2 + [Outcome.ABANDONED] * 2

    run(body)


def test_closing_waits_for_what_is_in_flight_and_can_be_cut_short() -> None:
    """Closing refuses new events and waits as long as `drain` says; cancelled, it abandons the rest and is closed."""

    async def body() -> None:
        records: list[Record] = []
        async with listening(1) as (peer,):
            peer.silent = True
            for cut in (False, True):
                events = EventInterface(timeout=50, drain=10, observers=[records.append])
                events.subscribe("E_A", peer.socket)
                await events.open()
                count = len(peer.events)
                raising = asyncio.create_task(events.raise_event("E_A"))
                await peer.until(lambda count=count: len(peer.events) > count)  # type: ignore[misc]
                closing = asyncio.create_task(events.aclose())
                await move_clock(0)
                with pytest.raises(ClosedError):
                    await events.raise_event("E_A")
                await events.aclose()  # the second one leaves it to the first
                if cut:
                    closing.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await closing
                else:
                    await move_clock(9.9)
                    assert not closing.done()
                    await move_clock(0.2)
                    await closing
                assert (await raising)[0].outcome is Outcome.ABANDONED
                assert "closed" in repr(events)
                await peer.until(lambda: peer.closed == peer.connections)
        assert sum(isinstance(record, ConnectionChanged) and record.connected for record in records) == 2

    run(body)


def test_closing_does_not_wait_for_what_never_opens() -> None:
    """A sink that hangs while it opens is left alone, whoever waits for it is told, and so is who never got to wait."""

    async def body() -> None:
        events = EventInterface(timeout=50)
        await events.open()
        hanging = events.subscribe("E_A", Odd("hanging"))
        raising = asyncio.create_task(events.raise_event("E_A"))
        waiting = asyncio.create_task(hanging.ready())
        await move_clock(0)
        fresh = events.subscribe("E_A", Odd("fresh"))
        also_waiting = asyncio.create_task(fresh.ready())
        closing = asyncio.create_task(events.aclose())
        await closing
        for task in (waiting, also_waiting):
            with pytest.raises(ClosedError):
                await task
        [receipt] = await raising
        assert receipt.reason == "its socket can't be opened: the event interface was closed"

    run(body)


def test_a_fault_in_closing_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    """While the interface is open it is logged; closing the interface raises it, after all is closed."""

    async def body() -> None:
        events = EventInterface()
        await events.open()
        first, second, third = (Odd(name, remains=OSError(f"{name} is stuck")) for name in ("first", "second", "third"))
        third.remains = None
        for sink in (first, second, third):
            sink.go.set()
            await events.subscribe("E_A", sink).ready()
        events.unsubscribe("E_A", first)
        await move_clock(0)
        assert "closing <Group 'first', closed> failed" in caplog.text
        with pytest.raises(OSError, match="second is stuck"):
            await events.aclose()
        assert (first.closed, second.closed, third.closed) == (1, 1, 1)
        assert "second" not in caplog.text

    run(body)


def test_subscribed_anew_before_it_was_noticed_that_it_is_closed() -> None:
    """A sink that is subscribed again in the very turn in which it was closed is opened again."""

    async def body() -> None:
        async with EventInterface() as events:
            sink = Odd("odd")
            sink.go.set()
            await events.subscribe("E_A", sink).ready()
            place = events.subscribe("E_A", sink).place
            task = events._kept[place]  # pyright: ignore[reportPrivateUsage]
            events.unsubscribe("E_A", sink)
            task.add_done_callback(lambda _: events.subscribe("E_A", sink))
            await asyncio.wait([task])
            assert (await events.raise_event("E_A"))[0].confirmed
            assert (sink.opened, sink.closed) == (2, 1)

    run(body)


def test_on_uvloop() -> None:
    """Nothing of it depends on asyncio's own loop."""
    uvloop = pytest.importorskip("uvloop")

    async def body() -> None:
        async with listening(2) as (one, two), EventInterface() as events:
            events.subscribe("E_A", one.socket, expire=3600)
            events.subscribe("E_A", f"virtual:PARALLEL {one.socket}/m {two.socket}")
            assert [receipt.confirmed for receipt in await events.raise_event("E_A", ip="192.168.2.11")] == [True, True]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())
