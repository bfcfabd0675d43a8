"""Random schedules: trees of strategies, faults and events from a seed, through the real engine, under all checkers.

Run: `python -m failover.testing.schedules --seeds 100000`, or to repeat one `… --seed 7`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, ClassVar, Final

from attrs import Factory, define, frozen

from failover.event import Event
from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.sim.links import log_normal
from failover.sim.seeds import derive
from failover.sim.simulation import Simulation
from failover.sink import Sink
from failover.sinks.jsonrpc import jsonrpc
from failover.sinks.verdicts import DEFAULT_VERDICTS
from failover.testing.actions import Action
from failover.testing.calls import Call
from failover.testing.checkers import ALL, Checker
from failover.testing.disturbing import Disturber
from failover.testing.forms import FORMS
from failover.testing.history import History
from failover.testing.plans import BUSY, FAULTS, PING, Branch, Plan, PlannedEvent, Socket, random_plan
from failover.testing.plans import sockets as sockets_of
from failover.testing.stories import Finding
from failover.testing.subscriber import ScriptedSubscriber
from failover.testing.wire import Wire

__all__ = ["KINDS", "Played", "Tally", "main", "play", "play_seed", "play_seeds"]

_SETTLE: Final = 1.0  # seconds in which what is late still comes, after the last event has ended
_PATIENCE: Final = 300.0  # seconds after which a delivery hangs; it takes no real time
_PART: Final = 50  # seeds between two words of progress
_SHOWN: Final = 20  # failed seeds that are printed
_LEAD: Final = 0.2  # seconds from the start of the simulation to the plan's

_VERDICTS: Final = {**DEFAULT_VERDICTS, BUSY: Verdict.BUSY}

KINDS: Final[dict[str, Callable[..., Sink]]] = {
    **{name: form.kind for name, form in FORMS.items()},
    "Socket": jsonrpc,
}
"""What trees are made of; replaced in one place to see whether the checkers notice."""


@frozen
class _Pong(Action):
    """Answers a probe: there is no work to do."""

    name: ClassVar[str] = "pong"
    is_fault: ClassVar[bool] = False

    def act(self, call: Call) -> None:
        """Reply."""
        call.send(call.confirmation())


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


@define
class Tally:
    """What came of many schedules."""

    played: int = 0
    events: int = 0
    seconds: float = 0.0
    """Virtual time of all of them together."""
    counts: Counter[str] = Factory(Counter[str])
    """What happened, as of `History.counts`."""
    exercised: Counter[str] = Factory(Counter[str])
    failed: list[tuple[int, str]] = Factory(list[tuple[int, str]])
    """The seed of each schedule in which something was found, and the first of it."""

    def take(self, played: Played) -> None:
        """Add one schedule."""
        self.played += 1
        self.events += played.history.counts["raised"]
        self.seconds += max((entry.at for entry in played.history), default=0.0)
        self.counts.update(played.history.counts)
        self.exercised.update(played.exercised)
        if played.findings:
            self.failed.append((played.plan.seed, str(played.findings[0])))

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.played += other.played
        self.events += other.events
        self.seconds += other.seconds
        self.counts.update(other.counts)
        self.exercised.update(other.exercised)
        self.failed += other.failed

    def unmet(self) -> list[str]:
        """The faults that nothing has met."""
        return [fault for fault in FAULTS if not self.exercised[fault]]

    def lines(self, took: float) -> Iterator[str]:
        """All of it as text.

        Args:
            took: Real time, in seconds.
        """
        passed = self.played - len(self.failed)
        rate = self.played / max(took, 1e-9)
        yield f"{passed:,} of {self.played:,} schedules passed; {took:.0f} s, {rate:.0f} a second"
        outcomes = [outcome.value for outcome in Outcome]
        yield f"{self.events:,} events in {self.seconds:,.0f} s of virtual time, attempts: " + ", ".join(
            f"{self.counts[outcome]:,} {outcome}" for outcome in outcomes
        )
        yield "faults that met something: " + ", ".join(f"{fault} {self.exercised[fault]:,}" for fault in FAULTS)
        if self.unmet():
            yield f"NOT EXERCISED: {', '.join(self.unmet())}"
        for seed, text in sorted(self.failed)[:_SHOWN]:
            yield f"FAILED seed {seed}: {text}\n  to repeat it: python -m failover.testing.schedules --seed {seed}"
        if len(self.failed) > _SHOWN:
            yield f"and {len(self.failed) - _SHOWN} more"


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
        if call.method == PING:
            return _Pong()
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
        events = [
            asyncio.create_task(_later(_LEAD + event.at, _raise, group, history, number, event))
            for number, event in enumerate(plan.events)
        ]
        async with asyncio.TaskGroup() as tasks:
            for disturbance in plan.disturbances:
                tasks.create_task(_later(_LEAD + disturbance.at, disturber.play, disturbance))
            done, hanging = await asyncio.wait(events, timeout=_LEAD + plan.events[-1].at + _PATIENCE)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        for task in done:
            task.result()
        await asyncio.sleep(_SETTLE)


async def _later(seconds: float, function: Callable[..., Any], *args: Any) -> None:
    await asyncio.sleep(seconds)
    await function(*args)


async def _raise(group: Group, history: History, number: int, planned: PlannedEvent) -> None:
    """Raise an event, a batch, or events that are begun together; only whoever awaits can cancel."""
    loop = asyncio.get_running_loop()
    together = planned.batch > 1 and planned.cancel_after is None and number % 2 == 0
    events = [
        history.event("E_SCHEDULE", {"n": number}, id=f"{number}.{position}" if planned.batch > 1 else str(number))
        for position in range(planned.batch)
    ]
    deadline = None if planned.within is None else loop.time() + planned.within
    for event in events:
        history.raised(event, deadline=deadline, batched=planned.batch > 1 and not together)
    if together:
        await _Begun(events).of(group, deadline)
        return
    delivery: Coroutine[Any, Any, object] = (
        group.deliver_many(events, deadline=deadline)
        if planned.batch > 1
        else group.deliver(events[0], deadline=deadline)
    )
    if planned.cancel_after is None:
        await delivery
        return
    task = asyncio.ensure_future(delivery)
    await asyncio.wait([task], timeout=planned.cancel_after)
    task.cancel()
    await asyncio.wait([task])


class _Begun:
    """Takes the receipts of events that were begun together, and has a task for whatever goes on.

    Args:
        events: All of them.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._left = set(events)
        self._tasks: set[asyncio.Task[Receipt]] = set()
        self._over = asyncio.get_running_loop().create_future()

    async def of(self, group: Group, deadline: float | None) -> None:
        """Begin them, and wait until each has its receipt."""
        group.begin_many(self._events, self, deadline=deadline)
        await self._over

    def take(self, receipts: list[Receipt], /) -> None:
        """Count them off."""
        self._left -= {receipt.event for receipt in receipts}
        if not self._left and not self._over.done():
            self._over.set_result(None)

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:  # its receipt names it
        """Await one of them in a task."""
        task = asyncio.ensure_future(rest)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Receipt]) -> None:
        self._tasks.discard(task)
        self.take([task.result()])


def _build(node: Branch | Socket, options: ConnectionOptions) -> Sink:
    """The sinks of a plan's tree."""
    if isinstance(node, Socket):
        return KINDS["Socket"](
            f"{node.subscriber}:80",
            name=node.name,
            timeout=node.timeout,
            confirm=node.confirm,
            at_limit=node.at_limit,
            verdicts=_VERDICTS,
            options=options,
        )
    arguments, settings = FORMS[node.kind].arguments(node, [_build(child, options) for child in node.children])
    return KINDS[node.kind](*arguments, name=node.name, **settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play many seeds, or one of them with its whole history; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m failover.testing.schedules", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time")
    parser.add_argument("--seed", type=int, help="play this one alone, and tell its history around each finding")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _tell(play_seed(options.seed))
    began = time.monotonic()
    tally = Tally()
    seeds = range(options.first, options.first + options.seeds)
    for part in _parts(seeds, options.processes):
        tally.add(part)
        if sys.stderr.isatty():
            print(f"\r{tally.played} of {len(seeds)}", end="", file=sys.stderr, flush=True)  # noqa: T201  # a command
    print("\n".join(tally.lines(time.monotonic() - began)))  # noqa: T201
    return int(bool(tally.failed) or bool(tally.unmet()))


def play_seeds(seeds: Sequence[int]) -> Tally:
    """Play several seeds and add them up."""
    tally = Tally()
    for seed in seeds:
        tally.take(play_seed(seed))
    gc.collect()  # simulations switch the automatic collection off, so that it comes by no chance
    return tally


def _parts(seeds: range, processes: int) -> Iterator[Tally]:
    parts = [seeds[start : start + _PART] for start in range(0, len(seeds), _PART)]
    if processes < 2:  # noqa: PLR2004  # one is this one
        yield from map(play_seeds, parts)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play_seeds, parts)


def _tell(played: Played) -> int:
    for finding in played.findings:
        print(f"{finding}\n{played.history.tell(finding)}\n")  # noqa: T201  # a command
    counts = ", ".join(f"{name} {count}" for name, count in sorted(played.exercised.items())) or "none"
    print(f"seed {played.plan.seed}: {len(played.findings)} findings; faults: {counts}")  # noqa: T201
    return int(bool(played.findings))


if __name__ == "__main__":
    sys.exit(main())
