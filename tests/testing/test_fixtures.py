"""The plugin's fixtures, used as any other test would use them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from failover import Event, Group, jsonrpc
from failover.errors import UsageError
from failover.sim import Simulation
from failover.sim.network import Network
from failover.strategies import Failover
from failover.testing import Confirm, Reset, Silent
from failover.testing.checkers import ALL
from failover.testing.entries import FaultSet, Processed, Raised
from failover.testing.history import History
from failover.testing.places import LoopThread
from failover.testing.timeline import FaultEvent, play
from failover.testing.trials import Proxies, Subscribers, Trial, WatchedGroups
from failover.testing.watching import ON_REAL_SOCKETS


@pytest.mark.seeds(5)
async def test_a_simulated_subscriber_obeys_from_afar(
    scripted_subscriber: Subscribers, watched_group: WatchedGroups, failover_history: History
) -> None:
    """What crashes, restarts and holds a subscriber is called on the test's host and happens on the subscriber's."""
    one = scripted_subscriber()
    async with watched_group(Failover(jsonrpc(one.socket, timeout=0.2), quarantine=0)) as group:
        assert (await group.deliver(Event("E_X", {"n": 1}))).confirmed
        await one.crash()
        assert not (await group.deliver(Event("E_X", {"n": 2}))).settled
        await one.restart()
        assert (await group.deliver(Event("E_X", {"n": 3}))).confirmed
        one.hold()
        assert not (await group.deliver(Event("E_X", {"n": 4}))).settled
        one.release()
        await one.until(lambda: len(one.processed) == 3)
        await play([FaultEvent(0.0, "silent", on="one", lasts=1.0)], {"one": one})
        assert (await group.deliver(Event("E_X", {"n": 5}))).confirmed
    assert [done.params["n"] for done in one.processed] == [1, 3, 4, 5]
    faults = [entry.fault for entry in failover_history if isinstance(entry, FaultSet) and entry.active]
    assert faults == ["crash", "hold", "script"]


@pytest.mark.seeds(5)
async def test_a_simulated_subscriber_obeys_from_the_first_moment_on(
    scripted_subscriber: Subscribers, watched_group: WatchedGroups
) -> None:
    """One that crashes before anything else happened is down, and back when it is restarted."""
    one = scripted_subscriber()
    async with watched_group(Failover(jsonrpc(one.socket, timeout=0.2), quarantine=0)) as group:
        await one.crash()
        assert not (await group.deliver(Event("E_X"))).settled
        await one.restart()
        assert (await group.deliver(Event("E_X"))).confirmed
    hasty = scripted_subscriber()
    crashing = asyncio.ensure_future(hasty.crash())
    await asyncio.sleep(0)
    crashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashing


@pytest.mark.seeds(5)
async def test_a_simulated_proxy_obeys_from_afar(
    scripted_subscriber: Subscribers, fault_proxy: Proxies, watched_group: WatchedGroups
) -> None:
    """A proxy has a host of its own; the history knows the subscriber behind it."""
    subscriber = scripted_subscriber(host="billing", port=9000)
    proxy = fault_proxy("jsonrpc:billing:9000/cdr")
    assert proxy.socket == "jsonrpc:proxy1:8080"
    async with watched_group(Failover(jsonrpc(proxy.socket, timeout=0.2), quarantine=0)) as group:
        assert (await group.deliver(Event("E_X"))).confirmed
        proxy.refuse()
        proxy.reset()
        assert not (await group.deliver(Event("E_X"))).settled
        await proxy.repair("refuse")
        assert (await group.deliver(Event("E_X"))).confirmed
    assert len(subscriber.processed) == 2


@pytest.mark.seeds(3, latency=0.2)
async def test_what_a_watched_group_is_given(
    scripted_subscriber: Subscribers, watched_group: WatchedGroups, failover_history: History
) -> None:
    """Batches, deadlines, and events that carry an id already are raised as they are; misuse raises nothing."""
    group = watched_group(scripted_subscriber().socket, name="all kinds", drain=0)
    with pytest.raises(UsageError, match="not open"):
        await group.deliver(Event("E_X"))
    async with group:
        with pytest.raises(TypeError, match="an Event was expected"):
            await group.deliver("E_X")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        began = asyncio.get_running_loop().time()
        given = [
            Event("E_PAIRS", [("n", 1), ("n", 2)], id="first"),
            Event("E_CARRIES", {"event_id": "second"}),
            Event("E_SAME", {"event_id": "third"}, id="third"),
        ]
        receipts = await group.deliver_many(given, within=9.0, deadline=began + 5.0)
        assert [receipt.event.id for receipt in receipts] == ["first", "second", "third"]
        assert all(receipt.confirmed for receipt in receipts)
        late = await group.deliver(Event("E_LATE", id="fourth"), within=0.3)
        assert late.outcome.value == "abandoned"
    raised = {entry.event: entry.deadline for entry in failover_history if isinstance(entry, Raised)}
    assert raised == {
        "first": began + 5.0,
        "second": began + 5.0,
        "third": began + 5.0,
        "fourth": pytest.approx(receipts[0].ended + 0.3),
    }
    done = {entry.event: entry.subscriber for entry in failover_history if isinstance(entry, Processed)}
    assert done == dict.fromkeys(("first", "second", "third", "fourth"), "app1:8080")


@pytest.mark.seeds(3)
async def test_events_left_as_they_are(scripted_subscriber: Subscribers, watched_group: WatchedGroups) -> None:
    """Without ids, events go out as they are given, and nothing is held against subscribers that can't tell them."""
    one = scripted_subscriber()
    async with watched_group(one.socket, ids=False) as group:
        assert (await group.deliver(Event("E_X", [1, 2]))).confirmed
        assert (await group.deliver(Event("E_X"))).confirmed
    assert [done.params for done in one.processed] == [[1, 2], None]


async def _confirm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Confirm one request, as a subscriber that knows nothing of histories."""
    number = (await reader.readuntil(b"}}"))[6:].partition(b",")[0]
    writer.write(b'{"jsonrpc":"2.0","id":' + number + b',"result":1}')
    writer.close()


@pytest.mark.seeds(3)
async def test_somebody_elses_subscriber(simulated_network: Network, watched_group: WatchedGroups) -> None:
    """A subscriber that tells nobody what it processes is not said to have lied."""

    async def serve() -> None:
        async with await asyncio.start_server(_confirm, "theirs", 80) as server:
            await server.serve_forever()

    simulated_network.host("theirs", start=serve)
    async with watched_group("jsonrpc:theirs:80") as group:
        assert (await group.deliver(Event("E_X", {"n": 1}))).confirmed


@pytest.mark.seeds(4)
def test_a_plain_test_has_a_simulation_per_seed(simulation: Simulation, failover_seed: int) -> None:
    """Each run has a simulation of its own, with the run's seed and the command that repeats it."""

    async def main() -> float:
        await asyncio.sleep(failover_seed)
        return asyncio.get_running_loop().time()

    assert simulation.run(main()) == simulation.seed == failover_seed


def test_scripts_on_loopback(scripted_subscriber: Subscribers, watched_group: WatchedGroups) -> None:
    """A subscriber on loopback serves while the test's own thread waits, and obeys from any loop."""
    one, two = scripted_subscriber(Reset()), scripted_subscriber()
    group = watched_group(Failover(one.socket, two.socket, quarantine=0))

    async def main() -> None:
        async with group:
            assert (await group.deliver(Event("E_X", {"n": 1}))).confirmed
            one.always(Confirm())
            assert (await group.deliver(Event("E_X", {"n": 2}))).confirmed
            await one.until(lambda: one.processed)
            await one.crash()
            assert (await group.deliver(Event("E_X", {"n": 3}))).confirmed

    asyncio.run(main())
    assert [done.params["n"] for done in one.processed] == [2]
    assert [done.params["n"] for done in two.processed] == [1, 3]


def test_a_script_of_its_own_thread(scripted_subscriber: Subscribers) -> None:
    """A script may act on its subscriber: it runs where the subscriber lives."""

    def script(_: Any) -> Any:
        subscriber.reset()
        return Silent()

    subscriber = scripted_subscriber(script)
    with Group("billing", subscriber.socket).blocking(within=5) as group:
        assert group.deliver(Event("E_X")).outcome.value == "unconfirmed"


def test_a_group_of_ones_own_is_left_as_it_was() -> None:
    """A group that was watched tells nobody any more once the test is over."""
    trial = Trial(0, simulated=True, settings={}, repeat="pytest")
    group = Group("billing", "jsonrpc:app1:8080")
    before = dict(vars(group))
    assert trial.group(group) is group
    with pytest.raises(UsageError, match="has its settings already, as drain"):
        trial.group(group, drain=1)
    trial.close()
    assert vars(group) == before
    trial.close()


def test_without_groups_there_is_nothing_to_find() -> None:
    """A test that watches nothing isn't judged, and has nothing to tell."""
    trial = Trial(7, simulated=False, settings={}, repeat="pytest")
    assert trial.findings() == []
    assert trial.account([], 40) == ""
    assert repr(trial) == "<Trial with seed 7>"


def test_patience_on_real_sockets() -> None:
    """All checkers judge there too, two of them with more patience."""
    assert len(ON_REAL_SOCKETS) == len(ALL)
    assert len(set(ALL) - set(ON_REAL_SOCKETS)) == 2


def test_a_thread_does_not_wait_for_itself() -> None:
    """A loop's thread that is asked to wait for itself says so; what is left running there ends with it."""
    thread = LoopThread()
    thread.close()
    ended: list[bool] = []

    async def linger() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    def wait() -> None:
        thread.wait(linger())

    tasks = thread.call(lambda: [asyncio.ensure_future(linger())])
    with pytest.raises(UsageError, match="this thread runs the loop"):
        thread.call(wait)
    thread.call(asyncio.get_running_loop)
    thread.close()
    assert tasks[0].done()
    assert ended == [True]
