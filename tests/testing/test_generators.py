"""The Hypothesis strategies: what they give is as they say, and what fails shrinks to what matters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from failover import Event, Group, jsonrpc
from failover.errors import ConfigError, EventError
from failover.grammar import parse
from failover.health import Health, Probe
from failover.sim import Simulation
from failover.strategies import Failover
from failover.strategy import Strategy
from failover.testing import Action, FaultProxy, ScriptedSubscriber
from failover.testing.checkers import ALL
from failover.testing.faulty import HostFaults
from failover.testing.generators import (
    ON_HOSTS,
    acts,
    addresses,
    events,
    fault_schedules,
    invalid_events,
    plans,
    rules,
    scripts,
    strategies,
)
from failover.testing.history import History
from failover.testing.plans import RULES, Plan
from failover.testing.schedules import play as play_plan
from failover.testing.timeline import FaultEvent, Places, check_faults, play
from tests.examples import examples

GENERATED = settings(phases=[Phase.generate], max_examples=2000)
"""To find one, whichever it is."""
SOCKETS = ["jsonrpc:app1:8080", "jsonrpc:app2:8080"]


def served(
    script: Action | None = None, *, seed: int = 1, **settings: Any
) -> tuple[Simulation, list[ScriptedSubscriber]]:
    """A simulation with subscribers on app1 and app2; `script` is what the first of them does."""
    simulation = Simulation(seed, **settings)
    subscribers = [
        ScriptedSubscriber(f"app{number}", 8080, script=script if number == 1 else None) for number in (1, 2)
    ]
    for subscriber in subscribers:
        simulation.network.host(subscriber.host, start=subscriber.serve)
    return simulation, subscribers


@given(events(raw=True))
def test_events_can_be_carried(event: Event) -> None:
    """Every event that is drawn has its params as JSON, unless it has none."""
    assert (event.body is None) == (event.params is None)
    if event.body is not None:
        decoded = json.loads(event.body.decode("utf-8", "replace"))
        assert len(decoded) <= len(event.params or ())


@given(invalid_events())
def test_invalid_events_are_refused(arguments: tuple[Any, Any, Any]) -> None:
    """Every one of them is refused, and the error says where."""
    name, params, own_id = arguments
    with pytest.raises(EventError, match="event"):
        Event(name, params, id=own_id)


@given(addresses(SOCKETS))
def test_addresses_parse(text: str) -> None:
    """Every address that is drawn is one, and comes back as the same text."""
    assert str(parse(text)) == text


@examples(50)
@given(strategies(SOCKETS), st.lists(events(), max_size=3))
def test_trees_deliver(tree: Strategy, given: list[Event]) -> None:
    """Every tree that is drawn can be opened, and delivers while its subscribers are well."""
    simulation, _ = served()

    async def main() -> None:
        async with Group("tree", tree) as group:
            for event in given:
                assert (await group.deliver(event)).settled

    simulation.run(main())


@examples(50)
@given(scripts(longest=0.3), st.integers(1, 5))
def test_scripts_hurt_and_break_nothing(script: list[Action], count: int) -> None:
    """Whatever an honest subscriber does, the group's promises hold, as the checkers say."""
    simulation = Simulation(1)
    history = History(behind={name: name for name in ("app1", "app2")})
    for name in ("app1", "app2"):
        subscriber = ScriptedSubscriber(name, 8080, name=name, history=history)
        if name == "app1":
            subscriber.in_order(script)
        simulation.network.host(name, start=subscriber.serve)

    async def main() -> None:
        tree = Failover(*[jsonrpc(f"jsonrpc:{name}:8080", name=name, timeout=0.1) for name in ("app1", "app2")])
        group = Group("billing", tree, observers=[history])
        history.declared(group)
        async with group:
            for _ in range(count):
                event = history.event("E_X")
                history.raised(event)
                assert (await group.deliver(event)).settled
            await asyncio.sleep(1.0)

    simulation.run(main())
    assert history.check(ALL) == []


@given(acts())
def test_acts_are_honest(act: Action) -> None:
    """Nobody lies unless lies are asked for."""
    assert act.name not in {"handle_then_error", "confirm_unhandled"}


def test_lies_can_be_asked_for() -> None:
    """With `lies`, they are drawn too."""
    assert find(acts(lies=True), lambda act: act.name == "confirm_unhandled").name == "confirm_unhandled"


@examples(50)
@given(st.data())
def test_fault_schedules_can_be_played(data: st.DataObject) -> None:
    """Every schedule fits the places that it was drawn for: simulated hosts, subscribers, proxies; it is in order."""
    simulation = Simulation(1)
    hosts = {name: HostFaults(simulation.network, name) for name in ("app1", "app2")}
    others: Places = {"one": ScriptedSubscriber(), "two": FaultProxy("127.0.0.1:1")}
    assert set(ON_HOSTS) <= hosts["app1"].names
    by_name = data.draw(fault_schedules(hosts, duration=5.0))
    by_places = data.draw(fault_schedules({**hosts, **others}, most=3, longest=0.5))
    check_faults(by_name, hosts)
    check_faults(by_places, {**hosts, **others})
    assert by_name == sorted(by_name, key=lambda fault: fault.at)
    assert all(fault.at <= 5.0 for fault in by_name)
    assert len(by_places) <= 3
    assert all(fault.lasts is None or 0 < fault.lasts <= 0.5 for fault in by_places)


def test_places_without_such_faults() -> None:
    """Faults that no place has can't be drawn."""
    with pytest.raises(ConfigError, match="no place of one has any of the faults"):
        fault_schedules({"one": ScriptedSubscriber()}, what=["loss"])


@examples(25)
@given(plans())
def test_plans_find_nothing_wrong(plan: Plan) -> None:
    """Whole schedules run through the real engine, and no checker has anything to say."""
    assert play_plan(plan).findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_of_health(name: str) -> None:
    """Children are taken out and come back by all of them; of what fails by one alone the others are the usual ones."""
    usual = Health()
    found = find(rules(), lambda health: getattr(health, name) != getattr(usual, name))
    assert [one for one in RULES if getattr(found, one) != getattr(usual, one)] == [name]


@pytest.mark.slow
def test_rules_ask_by_no_method_unless_one_is_given() -> None:
    """A subscriber that knows no such method is only connected to; in whole plans there is one."""

    def asks(health: Health) -> bool:
        return health.probe is not None and health.probe.method is not None

    with pytest.raises(NoSuchExample):
        find(rules(), asks)
    assert find(rules(ping="ping"), asks).probe == Probe(method="ping", every=0.1, timeout=0.1)
    assert find(plans(depth=1, faults=0), lambda plan: asks(plan.root.health), settings=GENERATED).root.health.probe


# A failing schedule shrinks.


def losing(tree: Callable[[], Strategy]) -> Callable[[list[FaultEvent]], bool]:
    """Whether a tree loses an event under some faults, of ten events a second."""

    def loses(faults: list[FaultEvent]) -> bool:
        simulation, _ = served()
        network = simulation.network
        lost: list[int] = []

        async def main() -> None:
            places = {name: HostFaults(network, name, 8080) for name in ("app1", "app2")}
            playing = asyncio.create_task(play(faults, places))
            async with Group("billing", tree()) as group:
                for number in range(5):
                    receipt = await group.deliver(Event("E_X", {"n": number}))
                    if not receipt.settled:
                        lost.append(number)
                    await asyncio.sleep(0.1)
            playing.cancel()

        simulation.run(main())
        return bool(lost)

    return loses


class Stubborn(Failover):
    """A planted bug: it never goes on to the next child."""

    def order(self, event: Event) -> Any:
        """The first."""
        return self.children[:1]


def smallest(tree: Callable[[], Strategy]) -> list[FaultEvent]:
    """The schedule that a failure shrinks to."""
    schedules = fault_schedules(["app1", "app2"], duration=0.3, most=4, what=["crash", "reset", "latency"])
    return find(
        schedules,
        losing(tree),
        settings=settings(max_examples=200, database=None, deadline=None, phases=[Phase.generate, Phase.shrink]),
        random=Random(1),
    )


def test_a_failure_shrinks_to_one_fault() -> None:
    """A strategy that doesn't move on is caught, and what is shown is one short fault of its only child."""
    (fault,) = smallest(lambda: Stubborn(*[jsonrpc(socket, timeout=0.1) for socket in SOCKETS]))
    assert (fault.what, fault.on) == ("crash", "app1")
    assert fault.lasts is not None
    assert fault.lasts <= 0.1


@pytest.mark.slow
def test_a_failure_shrinks_to_two_faults() -> None:
    """A tree that gives up while all its children are out needs a fault of each, and two are shown."""
    two = smallest(lambda: Failover(*[jsonrpc(socket, timeout=0.1) for socket in SOCKETS], last_resort=False))
    assert sorted(fault.on for fault in two) == ["app1", "app2"]
    assert {fault.what for fault in two} == {"crash"}
