"""Hypothesis strategies: events, addresses, trees, scripts, faults over time, and whole schedules of all of them.

What fails shrinks: to fewer and shorter faults that begin at 0, to the tree with the fewest nodes, to the shortest
script. Needs `hypothesis`, which nothing else here imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, Literal, cast, get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from failover.errors import ConfigError
from failover.health import Health, Probe
from failover.policy import OPENSIPS
from failover.sinks.jsonrpc import AtLimit, jsonrpc
from failover.strategy import Strategy
from failover.testing import actions as scripted
from failover.testing import odd_replies
from failover.testing.actions import Action, Confirm
from failover.testing.event_generators import events, invalid_events, values
from failover.testing.faulty import MOMENTARY, faulty
from failover.testing.forms import FORMS
from failover.testing.plans import (
    ACTS,
    BEHAVIOURS,
    NETWORK,
    PING,
    RULES,
    Branch,
    Disturbance,
    Plan,
    PlannedEvent,
    Socket,
    sockets,
)
from failover.testing.timeline import FaultEvent, Places

__all__ = [
    "ON_HOSTS",
    "acts",
    "addresses",
    "events",
    "fault_schedules",
    "invalid_events",
    "plans",
    "rules",
    "scripts",
    "strategies",
    "trees",
    "values",
]

ON_HOSTS: Final = (
    "reset",
    "half_open",
    "crash",
    "refuse",
    "black_hole",
    "partition",
    "hold",
    "latency",
    "jitter",
    "bandwidth",
    "slicing",
    "loss",
)
"""The faults of simulated hosts, see `failover.testing.faulty.HostFaults`; what stands first, a failure shrinks to."""

_REQUIRE: Final[tuple[Literal["all", "any"], ...]] = ("all", "any")
_MS: Final = 1000  # times are whole milliseconds: these shrink to short numbers


# -- trees ---------------------------------------------------------------------------------------------------------


def addresses(places: Sequence[str]) -> SearchStrategy[str]:
    """Addresses as text: a socket, or `virtual:` with a policy over several.

    Args:
        places: The sockets there may be, e.g. `jsonrpc:app1:8080`.
    """

    def virtual(policy: str, chosen: list[str]) -> str:
        return f"virtual:{policy} {' '.join(chosen)}"

    several = st.lists(st.sampled_from(places), min_size=1, max_size=len(places), unique=True)
    return st.sampled_from(places) | st.builds(virtual, st.sampled_from(OPENSIPS), several)


def rules(*, ping: str | None = None) -> SearchStrategy[Health]:
    """Rules by which children are taken out and come back; the usual ones at their simplest.

    Args:
        ping: The method by which children that are out may be asked; without one they are connected to, at most.
    """
    usual = Health()
    given: dict[str, Any] = {"quarantine": st.sampled_from([1.0, 0.0, 0.1, 30.0])}
    for name, several in RULES.items():
        first = getattr(usual, name)
        given[name] = st.sampled_from([first, *(one for one in dict.fromkeys(several) if one != first)])
    probes = [one for one in RULES["probe"] if one is None or one.method is None]
    if ping is not None:
        probes.append(Probe(method=ping, every=0.1, timeout=0.1))
    return st.builds(Health, **given | {"probe": st.sampled_from(probes)})


@st.composite
def trees(
    draw: DrawFn, subscribers: Sequence[str], *, depth: int = 3, width: int = 4, ping: str | None = None
) -> Branch:
    """Trees of strategies as plain values: each node has a name of its own.

    Args:
        draw: Given by Hypothesis.
        subscribers: The hosts that sockets lead to.
        depth: Strategies one above the other, at most.
        width: Children of one, at most.
        ping: As of `rules`.
    """
    numbers = count(1)

    def socket() -> Socket:
        return Socket(
            f"socket{next(numbers)}",
            draw(st.sampled_from(subscribers)),
            timeout=draw(st.sampled_from([0.2, 0.05, 0.5])),
            confirm=not draw(_rarely()),
            at_limit=draw(st.sampled_from(get_args(AtLimit))),
        )

    def branch(left: int) -> Branch:
        kind = draw(st.sampled_from(list(FORMS)))
        form = FORMS[kind]
        name = f"{kind.lower()}{next(numbers)}"
        children = [
            branch(left - 1) if left > 1 and draw(st.booleans()) else socket()
            for _ in range(draw(st.integers(form.least, max(form.least, min(form.most, width)))))
        ]
        return Branch(
            name,
            kind,
            tuple(children),
            health=draw(rules(ping=ping)),
            quarantine_rejected=draw(_rarely()),
            last_resort=not draw(_rarely()),
            move_on=not draw(_rarely()),
            require=draw(st.sampled_from(_REQUIRE) | st.integers(1, len(children))),
            amount=draw(st.sampled_from([0.5, 0.0, 1.0])),
        )

    return branch(depth)


def strategies(places: Sequence[str], *, depth: int = 3, width: int = 4) -> SearchStrategy[Strategy]:
    """Trees of strategies as sinks, declared and not open; a tree serves one group once.

    Args:
        places: The sockets there may be, e.g. `jsonrpc:app1:8080`.
        depth: Strategies one above the other, at most.
        width: Children of one, at most.
    """
    return trees(places, depth=depth, width=width).map(_declared)


def _declared(node: Branch) -> Strategy:
    children = [
        _declared(child)
        if isinstance(child, Branch)
        else jsonrpc(
            child.subscriber, name=child.name, timeout=child.timeout, confirm=child.confirm, at_limit=child.at_limit
        )
        for child in node.children
    ]
    form = FORMS[node.kind]
    arguments, settings = form.arguments(node, children)
    return cast("Strategy", form.kind(*arguments, name=node.name, **settings))


def _rarely() -> SearchStrategy[bool]:
    return st.integers(0, 9).map(lambda number: number == 9)  # noqa: PLR2004  # shrinks to False


# -- scripts -------------------------------------------------------------------------------------------------------

_LIES: Final = {"handle_then_error", "confirm_unhandled"}


def acts(*, lies: bool = False, longest: float = 2.0) -> SearchStrategy[Action]:
    """What a subscriber may do with one request; `Confirm()` at its simplest.

    Args:
        lies: Whether also what no honest subscriber does: confirm what it hasn't done, refuse what it has.
        longest: Seconds that anything takes, at most.
    """
    seconds = _seconds(longest)
    when: SearchStrategy[Any] = st.sampled_from(["before", "amid", "after"])
    given: dict[str, SearchStrategy[Action]] = {
        "close_on_request": st.builds(scripted.Close, when),
        "reset_on_request": st.builds(scripted.Reset, when),
        "error": st.builds(scripted.Refuse, st.sampled_from([-32000, -32600, -32601, -32602, -32603, 1])),
        "handle_then_drop": st.builds(scripted.HandleThenDrop, st.sampled_from(["close", "reset", "silent"])),
        "late": st.builds(scripted.Late, seconds),
    }
    plain: dict[str, type[Action]] = {}
    for module in (scripted, odd_replies):
        for name in module.__all__:
            kind = getattr(module, name)
            if isinstance(kind, type) and issubclass(kind, Action) and kind not in {Action, odd_replies.Raw}:
                plain[kind.name] = kind
    others = [
        given[name] if name in given else st.builds(kind)
        for name, kind in plain.items()
        if name != Confirm.name and (lies or name not in _LIES)
    ]
    return st.one_of(st.builds(Confirm), st.builds(Confirm, delay=seconds), *others)


def scripts(*, lies: bool = False, longest: float = 2.0, most: int = 10) -> SearchStrategy[list[Action]]:
    """A subscriber's script, for `in_order`: what it does with one request after the other.

    Args:
        lies: As of `acts`.
        longest: As of `acts`.
        most: Actions, at most; at least one.
    """
    return st.lists(acts(lies=lies, longest=longest), min_size=1, max_size=most)


# -- faults over time ----------------------------------------------------------------------------------------------


def _seconds(longest: float, least: int = 0) -> SearchStrategy[float]:
    return st.integers(least, max(least, round(longest * _MS))).map(lambda number: number / _MS)


_NONE: Final[dict[str, Any]] = {}
_ARGUMENTS: Final[Mapping[str, Callable[[], SearchStrategy[Any]]]] = {
    "latency": lambda: st.fixed_dictionaries({"delay": _seconds(0.5, 1)}),
    "jitter": lambda: st.fixed_dictionaries({"most": _seconds(0.2, 1)}),
    "bandwidth": lambda: st.fixed_dictionaries({"rate": st.integers(1_000, 100_000)}),
    "corrupt": lambda: st.fixed_dictionaries({"probability": st.sampled_from([0.05, 0.01, 0.001])}),
    "limit": lambda: st.fixed_dictionaries({"size": st.integers(1, 5_000)}),
    "loss": lambda: st.fixed_dictionaries({"probability": st.sampled_from([0.5, 0.1, 0.01])}),
    "late": lambda: st.fixed_dictionaries({"after": _seconds(3.0, 1)}),
    "error": lambda: st.fixed_dictionaries({"code": st.sampled_from([-32000, -32601, -32603, -32700, 1])}),
    "tls_failure": lambda: st.fixed_dictionaries({"kind": st.sampled_from(["no_handshake", "plain_text"])}),
}
"""The arguments of faults that need some, or are more interesting with them."""


def fault_schedules(
    places: Iterable[str] | Places,
    *,
    duration: float = 10.0,
    longest: float | None = None,
    most: int = 6,
    what: Iterable[str] | None = None,
) -> SearchStrategy[list[FaultEvent]]:
    """Faults over time, for `failover.testing.timeline.play`; a schedule that fails shrinks to few and short ones.

    Args:
        places: Where faults may happen: the names of simulated hosts, or whatever has faults by name.
        duration: Seconds in which all of them begin.
        longest: Seconds that one lasts, at most; half of the duration by default.
        most: How many, at most; there may be none.
        what: Which faults; by default all that a place has, and `ON_HOSTS` for names alone.

    Raises:
        ConfigError: no place has any of the faults.
    """
    chosen = None if what is None else tuple(what)
    if isinstance(places, Mapping):
        given = cast("Places", places)
        known = {name: _of(faulty(place).names, chosen) for name, place in given.items()}
    else:
        known = dict.fromkeys(places, ON_HOSTS if chosen is None else chosen)
    pairs = [(name, fault) for name, faults in known.items() for fault in faults]
    if not pairs:
        raise ConfigError(f"no place of {', '.join(known) or 'none'} has any of the faults {chosen}")
    ends = duration / 2 if longest is None else longest

    def one(pair: tuple[str, str]) -> SearchStrategy[FaultEvent]:
        name, fault = pair
        arguments: SearchStrategy[dict[str, Any]] = _ARGUMENTS[fault]() if fault in _ARGUMENTS else st.just(_NONE)
        lasts = st.none() if fault in MOMENTARY else _seconds(ends, 1)
        return st.builds(
            FaultEvent, at=_seconds(duration), what=st.just(fault), args=arguments, on=st.just(name), lasts=lasts
        )

    return _in_order(st.lists(st.sampled_from(pairs).flatmap(one), max_size=most))


def _of(names: frozenset[str], chosen: tuple[str, ...] | None) -> tuple[str, ...]:
    if chosen is not None:
        return tuple(name for name in chosen if name in names)
    first = [name for name in ON_HOSTS if name in names]
    return (*first, *sorted(names - {*first, "restart", "accept", "confirm"}))


@st.composite
def _in_order(draw: DrawFn, faults: SearchStrategy[list[FaultEvent]]) -> list[FaultEvent]:
    return sorted(draw(faults), key=lambda fault: fault.at)


# -- whole schedules -----------------------------------------------------------------------------------------------


@st.composite
def plans(draw: DrawFn, *, subscribers: int = 4, events: int = 20, faults: int = 6, depth: int = 3) -> Plan:
    """Whole schedules, for `failover.testing.schedules.play`: a tree, faults, events and a network, all as values.

    Args:
        draw: Given by Hypothesis.
        subscribers: How many there are, at most.
        events: How many events, at most.
        faults: How many faults, at most.
        depth: Strategies one above the other, at most.
    """
    hosts = [f"app{number}" for number in range(1, draw(st.integers(1, subscribers)) + 1)]
    root = draw(trees(hosts, depth=depth, ping=PING))
    planned = st.builds(
        PlannedEvent,
        _seconds(2.0),
        st.none() | _seconds(1.0, 2),
        st.none(),
        st.just(1) | st.integers(1, 8),
    )
    disturbance = st.builds(
        Disturbance,
        _seconds(2.0),
        st.sampled_from([*NETWORK, *BEHAVIOURS, *ACTS]),
        st.sampled_from(sorted({socket.subscriber for socket in sockets(root)})),
        _seconds(2.0, 1),
        st.integers(0, 9).map(lambda tenths: tenths / 10),
    )
    return Plan(
        draw(st.integers(0, 999)),
        root,
        tuple(sorted(draw(st.lists(disturbance, max_size=faults)), key=lambda one: one.at)),
        tuple(sorted(draw(st.lists(planned, min_size=1, max_size=events)), key=lambda one: one.at)),
        latency=draw(st.sampled_from([0.0005, 0.0001, 0.005])),
        cut=draw(st.sampled_from([0.0, 0.3])),
        in_flight=draw(st.sampled_from([1024, 8, 2])),
    )
