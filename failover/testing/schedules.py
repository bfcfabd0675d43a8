"""Random schedules: trees of strategies, faults and events from a seed, through the real engine, under all checkers.

Run: `python -m failover.testing.schedules --seeds 100000`, or to repeat one `… --seed 7`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import frozen

from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.sim.links import log_normal
from failover.sim.seeds import derive
from failover.sim.simulation import Simulation
from failover.sink import Sink
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from failover.testing.actions import Action
from failover.testing.calls import Call
from failover.testing.checkers import ALL, Checker
from failover.testing.disturbing import Disturber
from failover.testing.history import History
from failover.testing.plans import Branch, Plan, PlannedEvent, Socket, random_plan
from failover.testing.plans import sockets as sockets_of
from failover.testing.stories import Finding
from failover.testing.subscriber import ScriptedSubscriber
from failover.testing.wire import Wire

__all__ = ["KINDS", "Played", "play", "play_seed"]

_SETTLE: Final = 1.0  # seconds in which what is late still comes, after the last event has ended
_LEAD: Final = 0.2  # seconds from the start of the simulation to the plan's

KINDS: Final[dict[str, Callable[..., Sink]]] = {
    "Failover": Failover,
    "RoundRobin": RoundRobin,
    "Parallel": Parallel,
    "Socket": jsonrpc,
}
"""What trees are made of; replaced in one place to see whether the checkers notice."""


@frozen
class Played:
    """What came of a schedule.

    Args:
        plan: The schedule.
        history: All that happened.
        findings: What should not have.
        exercised: How often each fault has really met something.
    """

    plan: Plan
    history: History
    findings: tuple[Finding, ...]
    exercised: Mapping[str, int]


def play_seed(seed: int, *, checkers: Sequence[Checker] = ALL) -> Played:
    """Draw the schedule of a seed and play it."""
    return play(random_plan(seed), checkers=checkers)


def play(plan: Plan, *, checkers: Sequence[Checker] = ALL) -> Played:
    """Play a schedule in a simulation.

    Args:
        plan: What is to happen.
        checkers: Who judges it.
    """
    simulation = Simulation(
        plan.seed,
        latency=log_normal(plan.latency),
        cut=plan.cut,
        repeat=f"python -m failover.testing.schedules --seed {plan.seed}",
        max_steps=5_000_000,
    )
    network = simulation.network
    history = History(checkers=checkers, behind={socket.name: socket.subscriber for socket in sockets_of(plan.root)})
    wire = Wire(network, history)
    subscribers: dict[str, ScriptedSubscriber] = {}
    rng = derive(plan.seed, "subscribers")
    disturber = Disturber(network, subscribers, history, wire, rng)

    def script(where: str, call: Call) -> Action:
        wire.request(where, call)
        return disturber.choose(where, call)

    for name in plan.hosts:
        subscribers[name] = ScriptedSubscriber(
            name, 80, name=name, script=partial(script, name), rng=rng, history=history, keep=1000
        )
        network.host(name, start=subscribers[name].serve)
    simulation.run(_main(plan, history, disturber))
    findings = tuple(history.check())
    return Played(plan, history, findings, dict(disturber.exercised))


async def _main(plan: Plan, history: History, disturber: Disturber) -> None:
    options = ConnectionOptions(in_flight=plan.in_flight, waiting=plan.waiting)
    group = Group("group", _build(plan.root, options), observers=[history], rng=derive(plan.seed, "group"), drain=0.5)
    history.declared(group)
    async with group:
        async with asyncio.TaskGroup() as tasks:
            for disturbance in plan.disturbances:
                tasks.create_task(_later(_LEAD + disturbance.at, disturber.play, disturbance))
            for number, event in enumerate(plan.events):
                tasks.create_task(_later(_LEAD + event.at, _raise, group, history, number, event))
        await asyncio.sleep(_SETTLE)


async def _later(seconds: float, function: Callable[..., Any], *args: Any) -> None:
    await asyncio.sleep(seconds)
    await function(*args)


async def _raise(group: Group, history: History, number: int, planned: PlannedEvent) -> None:
    """Raise an event, or a batch."""
    loop = asyncio.get_running_loop()
    events = [
        history.event("E_SCHEDULE", {"n": number}, id=f"{number}.{position}" if planned.batch > 1 else str(number))
        for position in range(planned.batch)
    ]
    deadline = None if planned.within is None else loop.time() + planned.within
    for event in events:
        history.raised(event, deadline=deadline, batched=planned.batch > 1)
    if planned.batch > 1:
        await group.deliver_many(events, deadline=deadline)
    elif planned.cancel_after is None:
        await group.deliver(events[0], deadline=deadline)
    else:
        await asyncio.wait(
            [delivery := asyncio.ensure_future(group.deliver(events[0], deadline=deadline))],
            timeout=planned.cancel_after,
        )
        delivery.cancel()
        await asyncio.wait([delivery])


def _build(node: Branch | Socket, options: ConnectionOptions) -> Sink:
    """The sinks of a plan's tree."""
    if isinstance(node, Socket):
        return KINDS["Socket"](
            f"{node.subscriber}:80",
            name=node.name,
            timeout=node.timeout,
            confirm=node.confirm,
            at_limit=node.at_limit,
            options=options,
        )
    children = [_build(child, options) for child in node.children]
    if node.kind == "Parallel":
        return KINDS["Parallel"](*children, name=node.name, require=node.require)
    sequential: dict[str, Any] = {
        "name": node.name,
        "quarantine": node.quarantine,
        "quarantine_rejected": node.quarantine_rejected,
        "last_resort": node.last_resort,
    }
    if node.kind == "RoundRobin":
        sequential["move_on"] = node.move_on
    return KINDS[node.kind](*children, **sequential)
