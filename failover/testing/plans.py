"""Plans of schedules: a tree of strategies, faults over time and events, as plain values drawn from one seed."""

# ruff: noqa: PLR2004  the probabilities of what is drawn are read best where they are used

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Literal, get_args

from attrs import Factory, frozen

from failover.health import Failback, Health, Probe
from failover.sim.seeds import derive
from failover.sinks.jsonrpc import AtLimit
from failover.testing.forms import FORMS

__all__ = [
    "ACTS",
    "BEHAVIOURS",
    "BUSY",
    "FAULTS",
    "NETWORK",
    "PING",
    "RULES",
    "Branch",
    "Disturbance",
    "Plan",
    "PlannedEvent",
    "Socket",
    "code_for",
    "random_plan",
    "sockets",
]

NETWORK: Final = (
    "refuse",
    "black_hole",
    "partition",
    "partition_one_way",
    "hold",
    "latency",
    "jitter",
    "loss",
    "bandwidth",
    "slicing",
    "reset",
    "half_open",
    "crash",
    "crash_silent",
)
"""What the network and the hosts can suffer in a schedule."""
BEHAVIOURS: Final = ("accept_and_stall", "never_read", "refuse_connections")
"""What a subscriber can do with those who connect."""
ACTS: Final = (
    "error",
    "silent",
    "late",
    "close_on_request",
    "reset_on_request",
    "handle_then_drop",
    "twice",
    "wrong_id",
    "string_id",
    "no_id",
    "joined",
    "batch",
    "garbage",
    "raw",
    "split",
    "split_utf8",
    "huge",
    "pretty",
    "busy",
)
"""What a subscriber can do with a request, by the names of `failover.testing.ACTIONS`, not those in which it lies; and
`busy`, an error by which it asks to be left alone."""
FAULTS: Final = (*NETWORK, *BEHAVIOURS, *ACTS)
"""Everything that can go wrong in a schedule."""
_MOSTLY: Final = ("Failover", "RoundRobin", "Parallel")  # half of all strategies, and some of the other half
BUSY: Final = -32050
"""The error code of a subscriber that is busy."""
PING: Final = "ping"
"""The method by which children that are out are asked."""
RULES: Final[Mapping[str, tuple[Any, ...]]] = {
    "failures": (None, 1, 2, 3),
    "ratio": (None, None, 0.3, 0.6, 1.0),
    "window": (0.1, 1.0, 10.0),
    "growth": (1.0, 1.0, 2.0),
    "longest": (0.2, 1.0, 3600.0),
    "jitter": (0.0, 0.0, 0.2, 0.9),
    "failback": get_args(Failback),
    "slow_start": (1, 2, 4, 64),
    "probe": (None, None, Probe(every=0.05, timeout=0.05), Probe(method=PING, every=0.1, timeout=0.1)),
}
"""What the rules of `Health` are drawn from, besides the quarantine, in this order; the more often, the likelier."""
_CODES: Final = (-32000, -32600, -32602, -32603)


@frozen
class Socket:
    """A socket of a tree.

    Args:
        name: Its sink's name.
        subscriber: The host behind it.
        timeout: Seconds.
        confirm: Whether events are requests; else notifications.
        at_limit: What happens when its connection's window is full.
    """

    name: str
    subscriber: str
    timeout: float = 0.2
    confirm: bool = True
    at_limit: AtLimit = "wait"


@frozen
class Branch:
    """A strategy of a tree.

    Args:
        name: Its name.
        kind: Which strategy, as of `failover.testing.forms.FORMS`.
        children: What is below it.
        health: The rules by which a sequence takes its children out and back.
        quarantine_rejected: As of `Sequential`.
        last_resort: As of `Sequential`.
        move_on: As of `RoundRobin`.
        require: As of `Parallel`.
        amount: What else there is to say of its kind, 0 to 1: how late, how many, how long.
    """

    name: str
    kind: str
    children: tuple[Branch | Socket, ...]
    health: Health = Factory(Health)
    quarantine_rejected: bool = False
    last_resort: bool = True
    move_on: bool = True
    require: Literal["all", "any"] | int = "all"
    amount: float = 0.5


@frozen
class Disturbance:
    """Something that goes wrong for a while.

    Args:
        at: When, seconds after the start.
        fault: Its name: one of `NETWORK`, `BEHAVIOURS` or `ACTS`.
        where: The host that it concerns.
        seconds: How long; a fault of one moment is over at once.
        amount: What it is worth, 0 to 1: how late, how probable, how many, as the fault has it.
    """

    at: float
    fault: str
    where: str
    seconds: float
    amount: float = 0.5


@frozen
class PlannedEvent:
    """An event to raise, or a batch of them.

    Args:
        at: When, seconds after the start.
        within: Seconds of its deadline; None without.
        cancel_after: Seconds after which whoever waits gives up; None never.
        batch: How many events are delivered together.
    """

    at: float
    within: float | None = None
    cancel_after: float | None = None
    batch: int = 1


@frozen
class Plan:
    """A whole schedule: everything that `failover.testing.schedules.play` needs, and nothing by chance.

    Args:
        seed: Of the simulation and of the subscribers.
        root: The tree.
        disturbances: The faults.
        events: The events.
        latency: Median of the network's latency, seconds one way.
        cut: Probability that a write arrives in pieces.
        in_flight: Bound of each connection.
        waiting: How many deliveries may wait for a slot.
    """

    seed: int
    root: Branch
    disturbances: tuple[Disturbance, ...]
    events: tuple[PlannedEvent, ...]
    latency: float = 0.0005
    cut: float = 0.0
    in_flight: int = 1024
    waiting: int = 1024

    @property
    def hosts(self) -> list[str]:
        """The subscribers' hosts, sorted."""
        return sorted({socket.subscriber for socket in sockets(self.root)})


def sockets(node: Branch | Socket) -> list[Socket]:
    """The sockets at or below a node, left to right."""
    if isinstance(node, Socket):
        return [node]
    return [socket for child in node.children for socket in sockets(child)]


def random_plan(seed: int, *, events: int = 40) -> Plan:
    """Draw a plan.

    Args:
        seed: What it depends on, and all of it.
        events: How many events there are at most.
    """
    rng = derive(seed, "schedule")
    hosts = [f"app{number}" for number in range(1, rng.randint(1, 4) + 1)]
    root = _Trees(rng, derive(seed, "health"), hosts).root()
    hosts = sorted({socket.subscriber for socket in sockets(root)})
    rate = rng.choice((2.0, 10.0, 50.0, 200.0))
    planned = _events(rng, rng.randint(5, events), rate)
    end = planned[-1].at + 0.2
    return Plan(
        seed,
        root,
        tuple(_disturbance(rng, hosts, end) for _ in range(rng.choice((0, 1, 2, 4, 8)))),
        planned,
        latency=rng.choice((0.0001, 0.0005, 0.005)),
        cut=rng.choice((0.0, 0.0, 0.3)),
        in_flight=rng.choice((1024, 1024, 1024, 2, 8)),
        waiting=rng.choice((1024, 1024, 4)),
    )


class _Trees:
    """Draws trees, giving each node a name of its own."""

    def __init__(self, rng: Random, rules: Random, hosts: list[str]) -> None:
        self._rng = rng
        self._rules = rules
        self._hosts = hosts
        self._numbers: dict[str, int] = {}

    def root(self) -> Branch:
        depth = self._rng.choice((1, 1, 2, 3))
        return self._branch(depth)

    def _name(self, kind: str) -> str:
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        return f"{kind}{self._numbers[kind]}"

    def _branch(self, depth: int) -> Branch:
        rng = self._rng
        kind = rng.choice(_MOSTLY if rng.random() < 0.5 else tuple(FORMS))
        name = self._name(kind.lower())
        form = FORMS[kind]
        count = max(form.least, min(form.most, rng.randint(1, min(4, len(self._hosts) + 1))))
        children = tuple(
            self._branch(depth - 1) if depth > 1 and rng.random() < 0.5 else self._socket() for _ in range(count)
        )
        return Branch(
            name,
            kind,
            children,
            health=_health(rng.choice((0.0, 0.1, 0.5, 2.0, 30.0)), self._rules),
            quarantine_rejected=rng.random() < 0.1,
            last_resort=rng.random() < 0.9,
            move_on=rng.random() < 0.95,
            require=rng.choice(("all", "any", rng.randint(1, count))),
            amount=rng.random(),
        )

    def _socket(self) -> Socket:
        rng = self._rng
        limits: tuple[AtLimit, ...] = ("wait", "wait", "wait", "next", "reject")
        return Socket(
            self._name("socket"),
            rng.choice(self._hosts),
            timeout=rng.choice((0.05, 0.1, 0.2, 0.2, 0.5)),
            confirm=rng.random() < 0.97,
            at_limit=rng.choice(limits),
        )


def _health(quarantine: float, rng: Random) -> Health:
    """Rules with this quarantine; every other time no others than the usual ones."""
    if rng.random() < 0.5:
        return Health(quarantine=quarantine)
    drawn: dict[str, Any] = {name: rng.choice(given) for name, given in RULES.items()}
    return Health(quarantine=quarantine, **drawn)


def _events(rng: Random, count: int, rate: float) -> tuple[PlannedEvent, ...]:
    planned: list[PlannedEvent] = []
    at = 0.0
    while count > 0:
        at += rng.expovariate(rate)
        batch = rng.randint(2, 8) if rng.random() < 0.05 else 1
        within = rng.choice((0.002, 0.02, 0.1, 0.3, 1.0)) if rng.random() < 0.4 else None
        cancel = rng.uniform(0.0, 0.3) if rng.random() < 0.05 else None
        planned.append(PlannedEvent(at, within, cancel, batch))
        count -= batch
    return tuple(planned)


def _disturbance(rng: Random, hosts: list[str], end: float) -> Disturbance:
    lengths: tuple[Callable[[], float], ...] = (
        lambda: rng.uniform(0.0, 0.2),
        lambda: rng.uniform(0.1, 1.0),
        lambda: end,
    )
    return Disturbance(
        rng.uniform(-0.1, end), rng.choice(FAULTS), rng.choice(hosts), rng.choice(lengths)(), rng.random()
    )


def code_for(amount: float) -> int:
    """The error code that an amount stands for."""
    return _CODES[int(amount * len(_CODES)) % len(_CODES)]
