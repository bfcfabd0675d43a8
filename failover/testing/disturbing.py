"""Plays the disturbances of a plan on a simulated network and its scripted subscribers, and counts what they did."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from failover.sim.faults import Fault
from failover.sim.network import Network
from failover.sim.records import Record
from failover.testing.actions import Action, Confirm
from failover.testing.calls import Call
from failover.testing.connections import Accept, AcceptAndStall, Connecting, NeverRead, RefuseConnections
from failover.testing.history import History
from failover.testing.plans import ACTS, BUSY, Disturbance, code_for
from failover.testing.subscriber import ScriptedSubscriber
from failover.testing.vocabulary import action
from failover.testing.wire import Wire

__all__ = ["Disturber"]

_NEVER: Final = "never"
_FATES: Final[dict[str, str]] = {
    "refuse": "reset",
    "black_hole": "dropped",
    "partition": "dropped",
    "partition_one_way": "dropped",
    "loss": "dropped",
    "hold": "held",
    "latency": "arrived",
    "jitter": "arrived",
    "bandwidth": "arrived",
    "slicing": "arrived",
    "crash": _NEVER,
    "crash_silent": _NEVER,
}
"""What becomes of packets when a fault of the network is really exercised."""


class Disturber:
    """Sets and repairs faults as planned.

    Args:
        network: Where.
        subscribers: By the name of their host.
        history: Is told of each fault.
        wire: Is told of connections that are cut.
        rng: Where the subscribers' choices come from.
        host: Who delivers.
    """

    def __init__(
        self,
        network: Network,
        subscribers: Mapping[str, ScriptedSubscriber],
        history: History,
        wire: Wire,
        rng: Random,
        *,
        host: str = "main",
    ) -> None:
        self.exercised: Counter[str] = Counter()
        """How often each fault has really met something: a packet, a connection or a request."""
        self._network = network
        self._subscribers = subscribers
        self._history = history
        self._wire = wire
        self._rng = rng
        self._host = host
        self._acting: dict[str, dict[Disturbance, Action]] = defaultdict(dict)
        self._watched: dict[str, dict[Disturbance, str]] = defaultdict(dict)
        self._met: set[Disturbance] = set()
        network.observers.append(self._see)

    def choose(self, where: str, _call: Call) -> Action:
        """What a subscriber does with a request: as one of the disturbances that act on it says, or confirm."""
        acting = self._acting[where]
        if not acting:
            return Confirm()
        disturbance, act = self._rng.choice(list(acting.items()))
        if self._rng.random() >= 0.2 + 0.8 * disturbance.amount:
            return Confirm()
        self.exercised[disturbance.fault] += 1
        return act

    async def play(self, disturbance: Disturbance) -> None:
        """Set a fault when it is due, repair it when its time is over."""
        fault, where = disturbance.fault, disturbance.where
        if fault in ("reset", "half_open"):
            self._at_once(disturbance)
            return
        begin = self._behave if fault in _BEHAVIOURS else self._act if fault in ACTS else self._break
        self._history.fault(fault, where, detail=f"for {disturbance.seconds:.3f} s")
        end = await begin(disturbance)
        try:
            await asyncio.sleep(disturbance.seconds)
        finally:
            end()
            self._watched[where].pop(disturbance, None)
            self._history.fault(fault, where, active=False)

    def _at_once(self, disturbance: Disturbance) -> None:
        verb = self._network.reset if disturbance.fault == "reset" else self._network.half_open
        where = disturbance.where
        if self._network.hosts[where].up:
            count = verb(where, peer=self._host)
            self.exercised[disturbance.fault] += count
            self._history.fault(disturbance.fault, where)
            if count and disturbance.fault == "reset":
                self._wire.cut(where, asyncio.get_running_loop().time())

    async def _act(self, disturbance: Disturbance) -> Callable[[], object]:
        acting = self._acting[disturbance.where]
        acting[disturbance] = act_for(disturbance)
        return lambda: acting.pop(disturbance, None)

    async def _behave(self, disturbance: Disturbance) -> Callable[[], object]:
        """Have a subscriber treat those who connect in another way, and whoever is connected connect again."""
        where = disturbance.where
        subscriber = self._subscribers[where]
        host = self._network.hosts[where]
        if not host.up:
            return lambda: None

        def become(behaviour: Connecting) -> None:
            if host.up:
                host.spawn(subscriber.connecting(behaviour))

        become(_BEHAVIOURS[disturbance.fault](disturbance))
        self._watched[where][disturbance] = "rst sent" if disturbance.fault == "refuse_connections" else "arrived"
        if self._network.reset(where, peer=self._host):
            self._wire.cut(where, asyncio.get_running_loop().time())
        return lambda: become(Accept())

    async def _break(self, disturbance: Disturbance) -> Callable[[], object]:
        """Break the network or a host."""
        where, amount, name = disturbance.where, disturbance.amount, disturbance.fault
        network = self._network
        self._watched[where][disturbance] = _FATES[name]
        if name in ("crash", "crash_silent"):
            host = network.host(where)
            if host.up:
                self.exercised[name] += 1
                host.crash("silent" if name == "crash_silent" else "reset")
            return host.restart
        if name == "slicing":
            links = (network.link(where, self._host), network.link(self._host, where))
            before = [link.cut for link in links]
            for link in links:
                link.configure(cut=0.3 + 0.7 * amount)

            def restore() -> None:
                for link, cut in zip(links, before, strict=True):
                    link.configure(cut=cut)

            return restore
        verbs: dict[str, Callable[[], Fault]] = {
            "refuse": lambda: network.refuse(where),
            "black_hole": lambda: network.black_hole(where),
            "partition": lambda: network.partition(self._host, where),
            "partition_one_way": lambda: network.partition(*self._way(where, amount), one_way=True),
            "hold": lambda: network.hold(*self._way(where, amount)),
            "latency": lambda: network.latency(0.3 * amount, where),
            "jitter": lambda: network.jitter(0.3 * amount, where),
            "loss": lambda: network.loss(0.5 * amount, where),
            "bandwidth": lambda: network.bandwidth(1_000 + 100_000 * amount, where),
        }
        return verbs[name]().repair

    def _way(self, where: str, amount: float) -> tuple[str, str]:
        return (self._host, where) if amount < 0.5 else (where, self._host)  # noqa: PLR2004  # one way or the other

    def _see(self, record: Record) -> None:
        """Count a fault once it has met a packet."""
        if not record.destination:
            return
        source, destination = record.source.partition(":")[0], record.destination.partition(":")[0]
        watched = self._watched.get(destination if source == self._host else source)
        if watched:
            for disturbance, fate in watched.items():
                if fate in (record.fate, f"{record.what} {record.fate}") and disturbance not in self._met:
                    self._met.add(disturbance)
                    self.exercised[disturbance.fault] += 1


_BEHAVIOURS: Final[dict[str, Callable[[Disturbance], Connecting]]] = {
    "accept_and_stall": lambda disturbance: AcceptAndStall(after=int(disturbance.amount * 4)),
    "never_read": lambda _: NeverRead(),
    "refuse_connections": lambda _: RefuseConnections(),
}


def act_for(disturbance: Disturbance) -> Action:
    """The action that a disturbance has a subscriber do."""
    amount = disturbance.amount
    if disturbance.fault == "busy":
        seconds = 0.01 + 0.5 * amount
        return action("error", code=BUSY, text="busy", data=seconds if amount < 0.5 else {"retry_after": seconds})  # noqa: PLR2004  # one or the other
    when = ("before", "amid", "after")[int(amount * 3) % 3]
    arguments: dict[str, dict[str, Any]] = {
        "error": {"code": code_for(amount), "delay": 0.02 * amount},
        "late": {"after": 0.05 + 0.6 * amount},
        "close_on_request": {"when": when, "delay": 0.05 * amount},
        "reset_on_request": {"when": when, "delay": 0.05 * amount},
        "handle_then_drop": {"how": ("close", "reset", "silent")[int(amount * 3) % 3]},
        "twice": {"pause": 0.1 * amount},
        "no_id": {"null": amount < 0.5},  # noqa: PLR2004  # one or the other
        "joined": {"of": 2 + int(amount * 3)},
        "batch": {"of": 1 + int(amount * 3)},
        "huge": {"size": 1000 + int(amount * 50_000)},
    }
    return action(disturbance.fault, **arguments.get(disturbance.fault, {}))
