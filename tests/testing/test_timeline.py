"""Faults over time: the same names on a subscriber, a proxy and a simulated host, written down or drawn from a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt
from failover.records import Record
from failover.sim import Simulation
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.testing import Confirm, FaultEvent, FaultProxy, HostFaults, ScriptedSubscriber, play, random_faults
from failover.testing.connections import Accept
from failover.testing.faulty import MOMENTARY, ProxyFaults, SubscriberFaults
from failover.testing.timeline import check_faults
from failover.testing.vocabulary import ACTIONS, CONNECTIONS
from tests.scripted import opened
from tests.testing.conftest import Run

SHARED = {"refuse", "black_hole", "reset", "half_open", "hold", "latency", "jitter", "crash", "restart"}


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


def simulate(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on virtual time; nothing may be left behind."""
    return Simulation(1, strict=True).run(main)


async def outcomes(sink: JsonRpcSink, every: float, until: float) -> list[tuple[float, str]]:
    """Deliver an event every so many seconds; when each was, and what became of it."""
    begun = now()
    tasks: list[tuple[float, asyncio.Task[Any]]] = []
    for number in range(round(until / every)):
        await asyncio.sleep(begun + number * every - now())
        tasks.append((round(number * every, 6), asyncio.ensure_future(sink.deliver(Event("E_TEST", {"n": number})))))
    return [(at, (await task).outcome.value) for at, task in tasks]


def test_faults_of_a_subscriber_over_time() -> None:
    """Each fault acts from its time for as long as it lasts, and then all is as before."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber:
            sink = jsonrpc(subscriber.socket, timeout=0.5, lazy=True)
            async with opened(sink):
                timeline = [
                    FaultEvent(2.5, "error", {"code": 7}, lasts=1),
                    FaultEvent(0.5, "silent", lasts=1),
                    FaultEvent(4.5, "crash", lasts=1),
                    FaultEvent(6.5, "latency", {"delay": 0.2}, lasts=1),
                ]
                playing = asyncio.ensure_future(play(timeline, {"it": subscriber}))
                seen = await outcomes(sink, 0.25, 8.0)
                await playing
                kinds: dict[str, Callable[[float], bool]] = {
                    "confirmed": lambda at: at <= 0.5 or 1.5 <= at < 2.5 or 3.5 <= at <= 4.25 or at >= 5.5,
                    "unconfirmed": lambda at: 0.5 < at < 1.5,
                    "rejected": lambda at: 2.5 < at < 3.5,
                    "unreachable": lambda at: 4.5 < at < 5.5,
                }
                for at, outcome in seen:
                    if at % 1 != 0.5:  # at the edges either may be
                        assert kinds[outcome](at), (at, outcome)
                assert {outcome for _, outcome in seen} == set(kinds)
                slow = [act.at for act in subscriber.acts if act.what in {"latency", "end of latency"}]
                assert [round(at, 3) for at in slow] == [6.5, 7.5]
                assert subscriber.latency == 0.0
                assert subscriber.script == Confirm()

    simulate(main())


def test_every_name_can_be_set_and_ended(run: Run) -> None:
    """Whatever a subscriber or a proxy knows by name begins, ends, and leaves it as it was: events are confirmed."""
    arguments: dict[str, dict[str, Any]] = {
        "latency": {"delay": {"uniform": [0.001, 0.002]}},
        "jitter": {"most": 0.001},
        "bandwidth": {"rate": 1e6},
        "corrupt": {"probability": 0.5},
        "limit": {"size": 10},
        "tls_failure": {"kind": "plain_text"},
    }

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, FaultProxy(subscriber.socket) as proxy:
            for faults in (SubscriberFaults(subscriber), ProxyFaults(proxy)):
                assert faults.names >= SHARED
                for name in sorted(faults.names - {"restart"}):
                    await faults.begin(name, arguments.get(name, {}))
                    await faults.end(name)
                    await faults.end(name)
            assert SubscriberFaults(subscriber).names >= ACTIONS.keys() | CONNECTIONS.keys()
            sink = jsonrpc(proxy.socket, timeout=5.0, lazy=True)
            async with opened(sink):
                assert (await sink.deliver(Event("E_TEST"))).confirmed
                await ProxyFaults(proxy).begin("restart", {})
                await SubscriberFaults(subscriber).begin("restart", {})
            async with opened(sink):
                assert (await sink.deliver(Event("E_TEST"))).confirmed

    run(main)


def test_faults_that_overlap() -> None:
    """Of two that are the same the later one's arguments hold, and the fault ends with the last of them."""

    async def main() -> list[tuple[float, str]]:
        async with ScriptedSubscriber() as subscriber:
            timeline = [
                FaultEvent(1.0, "error", {"code": 1}, lasts=4.0),
                FaultEvent(2.0, "silent", lasts=1.0),
                FaultEvent(2.5, "error", {"code": 2}, lasts=1.0),
            ]
            playing = asyncio.ensure_future(play(timeline, {"it": subscriber}, start=now()))
            seen: list[tuple[float, str]] = []
            for _ in range(12):
                await asyncio.sleep(0.45)
                seen.append((round(now(), 2), repr(subscriber.script)))
            await playing
            return seen

    shown = {at: script.partition("(")[0] + ("2" if "code=2" in script else "") for at, script in simulate(main())}
    assert shown == {
        0.45: "Confirm",
        0.9: "Confirm",
        1.35: "Refuse",
        1.8: "Refuse",
        2.25: "Silent",
        2.7: "Refuse2",
        3.15: "Refuse2",
        3.6: "Refuse2",
        4.05: "Refuse2",
        4.5: "Refuse2",
        4.95: "Refuse2",
        5.4: "Confirm",
    }


def test_cancelled_it_ends_what_it_has_set() -> None:
    """A timeline that is cancelled, or fails, leaves no fault behind."""

    async def main() -> None:
        async with ScriptedSubscriber() as subscriber, FaultProxy(subscriber.socket) as proxy:
            timeline = [
                FaultEvent(0.0, "silent", lasts=9.0, on="app"),
                FaultEvent(0.0, "refuse", lasts=9.0),
                FaultEvent(0.5, "latency", {"delay": 1.0}, lasts=9.0, on="proxy"),
            ]
            places = {"app": subscriber, "proxy": proxy}
            playing = asyncio.ensure_future(play(timeline, places))
            await asyncio.sleep(1.0)
            assert proxy.up.latency == 1.0
            playing.cancel()
            await asyncio.wait([playing])
            assert (proxy.up.latency, subscriber.script) == (0.0, Confirm())
            sink = jsonrpc(proxy.socket, timeout=0.1)
            async with opened(sink):
                assert (await sink.deliver(Event("E_TEST"))).confirmed
            with pytest.raises(ConfigError, match="jitter"):
                await play([timeline[0], FaultEvent(0.1, "jitter", {"most": -1}, on="proxy")], places)
            assert subscriber.script == Confirm()

    simulate(main())


def test_what_cannot_be_played() -> None:
    """A name, an argument or a place that there is not is refused before anything is played."""
    subscriber = ScriptedSubscriber()
    places = {"app1": subscriber, "proxy": FaultProxy("127.0.0.1:1")}
    wrong: list[tuple[FaultEvent, str]] = [
        (FaultEvent(1, "silent", on="app2"), "there is no 'app2'; expected one of app1, proxy"),
        (FaultEvent(1, "explode", on="app1"), "there is no fault 'explode' on <ScriptedSubscriber"),
        (FaultEvent(1, "silent"), "there is no fault 'silent' on <FaultProxy"),
        (FaultEvent(1, "latency", on="app1"), "missing a required argument: 'delay'"),
        (FaultEvent(1, "latency", {"delay": -1}, on="app1"), "delay=-1"),
        (FaultEvent(1, "error", {"kode": 1}, on="app1"), "has no argument 'kode'"),
        (FaultEvent(1, "never_read", {"after": 1}, on="app1"), "has no argument 'after'"),
        (FaultEvent(1, "hold", {"sideways": 1}, on="proxy"), "unexpected keyword argument 'sideways'"),
    ]
    for event, problem in wrong:
        with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
            check_faults([event], places)
    with pytest.raises(ConfigError, match="at=-1"):
        FaultEvent(-1, "silent")
    with pytest.raises(ConfigError, match="no place of app1"):
        random_faults(Random(1), {"app1": subscriber}, duration=1.0, what=["loss"])
    check_faults([FaultEvent(1, "hold", lasts=2.0)], places)


def test_random_faults_are_the_same_for_the_same_seed() -> None:
    """A seed gives one timeline, of all kinds in the end, and each can be played."""
    places = {"app1": ScriptedSubscriber(), "proxy": FaultProxy("127.0.0.1:1")}
    met: set[str] = set()
    for seed in range(300):
        drawn = random_faults(Random(seed), places, duration=10.0, most=4)
        assert drawn == random_faults(Random(seed), places, duration=10.0, most=4)
        assert 1 <= len(drawn) <= 4
        check_faults(drawn, places)
        met |= {fault.what for fault in drawn}
        assert all((fault.lasts is None) == (fault.what in MOMENTARY) for fault in drawn)
    assert met == (SubscriberFaults(ScriptedSubscriber()).names | ProxyFaults(FaultProxy("127.0.0.1:1")).names) - {
        "restart",
        Accept.name,
        Confirm.name,
    }


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 40), marks=pytest.mark.slow)])
def test_random_faults_end_and_every_event_has_its_receipt(seeds: range) -> None:
    """Under random faults of a subscriber and a proxy each event gets one receipt, and at the end all are confirmed."""

    async def main(seed: int) -> None:
        records: list[Record] = []
        rng = Random(seed)
        async with ScriptedSubscriber(rng=rng) as subscriber, FaultProxy(subscriber.socket, rng=rng) as proxy:
            places = {"app1": subscriber, "proxy": proxy}
            sink = jsonrpc(proxy.socket, timeout=0.5)
            async with opened(sink, observers=[records.append]):
                playing = asyncio.ensure_future(play(random_faults(rng, places, duration=3.0), places))
                seen = await outcomes(sink, 0.1, 6.0)
                await playing
                proxy.reset()  # a reply cut off by a fault has left the stream unreadable
                await asyncio.sleep(20.0)
                assert len(seen) == 60
                receipt = await sink.deliver(Event("E_LAST"))
                assert isinstance(receipt, Attempt)
                assert receipt.outcome is Outcome.CONFIRMED

    for seed in seeds:
        Simulation(seed, strict=True).run(main(seed))


def test_faults_of_a_simulated_host() -> None:
    """The same names act on a host of the simulated network, whoever serves there."""
    arguments: dict[str, dict[str, Any]] = {
        "latency": {"delay": 0.6},
        "jitter": {"most": 0.001},
        "bandwidth": {"rate": 50},
        "loss": {"probability": 1.0},
        "slicing": {"share": 1.0},
    }
    expected = {
        "refuse": "confirmed",  # a connection that exists stays
        "reset": "confirmed",
        "half_open": "unconfirmed",
        "jitter": "confirmed",
        "slicing": "confirmed",
        "crash": "unreachable",
        "restart": "confirmed",
    }

    async def main(simulation: Simulation, name: str) -> str:
        subscriber = ScriptedSubscriber("app1", 80)
        simulation.network.host("app1", start=subscriber.serve)
        faults = HostFaults(simulation.network, "app1", 80)
        assert faults.names >= SHARED
        sink = jsonrpc("app1:80", timeout=0.5)
        async with opened(sink):
            assert (await sink.deliver(Event("E_TEST"))).confirmed
            await faults.begin(name, arguments.get(name, {}))
            await asyncio.sleep(0.2)
            outcome = (await sink.deliver(Event("E_TEST"))).outcome.value
            await faults.end(name)
            await asyncio.sleep(20.0)
            assert (await sink.deliver(Event("E_TEST"))).confirmed
            return outcome

    probe = Simulation(1)
    probe.network.host("app1")
    for name in sorted(HostFaults(probe.network, "app1").names):
        simulation = Simulation(1, strict=True)
        outcome = simulation.run(main(simulation, name))
        assert outcome == expected.get(name, "unconfirmed"), name
    probe.loop.close()
