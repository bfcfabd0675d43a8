"""From the extended text to strategies: each policy makes its strategy, with what the text says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import failover.strategies
from failover.address import Address, SocketAddress, parse_socket
from failover.build import build
from failover.errors import ConfigError
from failover.group import Group
from failover.health import Health, Probe
from failover.options import TIME
from failover.policies import JUDGING
from failover.policy import POLICIES, SOCKETS, Policy
from failover.schemes import Defaults, Scheme, parse_address, register
from failover.sequential import Sequential
from failover.sink import Sink
from failover.sinks.jsonrpc import JsonRpcSink
from failover.strategies import (
    Coalesce,
    DeadLetter,
    Dedup,
    Failover,
    Hedge,
    LatencyAware,
    LeastInFlight,
    Limit,
    Mirror,
    Ordered,
    Parallel,
    Quorum,
    Retry,
    RoundRobin,
    Route,
    Sticky,
    Tiers,
    Timeout,
    WeightedRandom,
    WeightedRoundRobin,
)
from failover.strategies.coalesce import KEEP
from failover.strategies.dead_letter import as_it_was, enclosed
from failover.strategies.wrapper import Wrapper
from failover.strategy import Strategy
from tests.doubles import PlainSink

A, B, C = "jsonrpc:a:1", "tcp:b:2/m", "jsonrpc:c:3"


def made(text: str, defaults: Defaults | None = None) -> Strategy:
    """The strategy of a text."""
    sink = build(parse_address(f"virtual:{text}"), defaults)
    assert isinstance(sink, Strategy)
    return sink


def names(strategy: Strategy) -> list[str]:
    """How its children are called."""
    return [child.name for child in strategy.declared if isinstance(child, Sink)]


RULES = (
    "failures=3 ratio=50% window=1m quarantine=30s growth=2 longest=5m jitter=10% failback=cautious slow_start=8"
    " probe=ping probe_interval=2s probe_timeout=500ms"
)
MADE: list[tuple[str, type[Strategy], dict[str, Any]]] = [
    (
        f"FAILOVER {A} {B}",
        Failover,
        {"health": Health(quarantine=7, failback="eager"), "quarantine_rejected": False, "last_resort": True},
    ),
    (
        f"FAILOVER quarantine=1m quarantine_rejected=yes last_resort=no {A} {B}",
        Failover,
        {"quarantine": 60.0, "quarantine_rejected": True, "last_resort": False},
    ),
    (f"PARALLEL {A} {B}", Parallel, {"require": "all", "need": 2}),
    (f"PARALLEL require=any {A} {B}", Parallel, {"require": "any", "need": 1}),
    (f"PARALLEL require=2 {A} {B}", Parallel, {"require": 2, "need": 2}),
    (
        f"FAILOVER {RULES} {A} {B}",
        Failover,
        {
            "health": Health(
                failures=3,
                ratio=0.5,
                window=60,
                quarantine=30,
                growth=2,
                longest=300,
                jitter=0.1,
                slow_start=8,
                probe=Probe(method="ping", every=2, timeout=0.5),
            )
        },
    ),
    (f"STICKY probe=tcp {A} {B}", Sticky, {"health": Health(quarantine=7, probe=Probe())}),
    (f"ROUND-ROBIN {A} {B}", RoundRobin, {"health": Health(quarantine=7, failback="eager"), "move_on": True}),
    (f"ROUND-ROBIN quarantine=0 move_on=no {A} {B}", RoundRobin, {"quarantine": 0.0, "move_on": False}),
    (f"WEIGHTED-ROUND-ROBIN {A} weight=3 {B}", WeightedRoundRobin, {"weights": (3, 1), "quarantine": 7.0}),
    (f"WEIGHTED-RANDOM last_resort=no {A} {B} weight=2", WeightedRandom, {"weights": (1, 2), "last_resort": False}),
    (f"LEAST-IN-FLIGHT quarantine=5s {A} {B}", LeastInFlight, {"health": Health(quarantine=5)}),
    (f"LATENCY-AWARE {A} {B}", LatencyAware, {"decay": 10.0, "quarantine": 7.0}),
    (f"LATENCY-AWARE decay=5s {A} {B}", LatencyAware, {"decay": 5.0}),
    (f"STICKY {A} {B}", Sticky, {"key": "callid", "quarantine": 7.0}),
    (f'STICKY key="call id" {A} {B}', Sticky, {"key": "call id"}),
    (f"TIERS {A} tier=1 weight=3 {B} tier=1", Tiers, {"weights": ((3, 1),), "quarantine": 7.0}),
    (f"QUORUM k=2 {A} {B}", Quorum, {"k": 2}),
    (f"HEDGE delay=20ms {A} {B}", Hedge, {"delay": 0.02, "percentile": None, "loser": "cancel"}),
    (
        f"HEDGE delay=20ms percentile=95 loser=keep share=10% floor=30/m {A} {B}",
        Hedge,
        {"percentile": 95.0, "loser": "keep", "budget.share": 0.1, "budget.floor": 0.5},
    ),
    (f"MIRROR {A} {B}", Mirror, {}),
    (f"ROUTE {A} when=E_ACC_* {B} when=E_[A-D]*", Route, {"conditions": ("E_ACC_*", "E_[A-D]*")}),
    (f"RETRY {A}", Retry, {"within": None, "stop.max_attempt_number": 3, "wait.multiplier": 0.05, "wait.max": 1.0}),
    (
        f"RETRY attempts=5 wait=100ms growth=1 longest=2s within=5s share=20% floor=1/s {A}",
        Retry,
        {
            "within": 5.0,
            "stop.max_attempt_number": 5,
            "wait.multiplier": 0.1,
            "wait.exp_base": 1.0,
            "wait.max": 2.0,
            "budget.share": 0.2,
            "budget.floor": 1.0,
        },
    ),
    (f"RETRY wait=3s {A}", Retry, {"wait.multiplier": 3.0, "wait.exp_base": 2.0, "wait.max": 3.0}),
    (f"TIMEOUT within=2s {A}", Timeout, {"timeout": 2.0}),
    (
        f"LIMIT in_flight=5 rate=30/m burst=2 at_limit=next waiting=0 {A}",
        Limit,
        {"in_flight": 5, "rate": 0.5, "burst": 2, "at_limit": "next", "waiting": 0},
    ),
    (f"LIMIT rate=100/s {A}", Limit, {"in_flight": None, "rate": 100.0, "burst": 1, "at_limit": "wait"}),
    (f"DEDUP window=2s {A}", Dedup, {"window": 2.0, "key": "params", "most": 10_000}),
    (f"DEDUP window=2s key=id most=5 {A}", Dedup, {"key": "id", "most": 5}),
    (f"ORDERED {A}", Ordered, {"key": "callid", "waiting": 1024}),
    (f"ORDERED key=aor waiting=9 {A}", Ordered, {"key": "aor", "waiting": 9}),
    (f"COALESCE key=aor {A}", Coalesce, {"key": "aor", "keep": KEEP, "every": None, "waiting": 1024}),
    (f"COALESCE key=aor keep=E_*_END waiting=9 {A}", Coalesce, {"key": "aor", "keep": ["E_*_END"], "waiting": 9}),
    (f"COALESCE key=aor every=5s most=99 {A}", Coalesce, {"every": 5.0, "most": 99}),
    (f"DEAD-LETTER {A} {B}", DeadLetter, {"reserve": 0.1, "letter": enclosed}),
    (f"DEAD-LETTER reserve=1s letter=as-it-was {A} {B}", DeadLetter, {"reserve": 1.0, "letter": as_it_was}),
]


@pytest.mark.parametrize(("text", "kind", "settings"), MADE)
def test_each_policy_makes_its_strategy(text: str, kind: type[Strategy], settings: dict[str, Any]) -> None:
    """The strategy, its children in order and under their own names, and what the text or the defaults say of it."""
    strategy = made(text, Defaults(quarantine=7))
    assert type(strategy) is kind
    assert names(strategy) == [word for word in (A, B) if word in text]
    assert strategy.name == f"virtual:{text}"
    for path, value in settings.items():
        found: Any = strategy
        for name in path.split("."):
            found = getattr(found, name)
        assert found == value, path


def own_options(policy: Policy) -> list[str]:
    """The options of a policy, those of all that judge aside."""
    return [name for name in policy.options if "quarantine" not in policy.options or name not in JUDGING]


def test_every_policy_is_shown_above() -> None:
    """No policy and no option of a strategy is left out of the table above."""
    assert {text.split()[0] for text, _, _ in MADE} == set(POLICIES)
    for policy in POLICIES.values():
        said = " ".join(text for text, _, _ in MADE if text.split()[0] == policy.name)
        assert [name for name in (*own_options(policy), *policy.said) if f" {name}=" not in said] == []
    assert [name for name in JUDGING if not any(f" {name}=" in text for text, _, _ in MADE)] == []


def test_every_strategy_has_a_policy() -> None:
    """Each strategy of the package can be written as text; those that judge children can be told how."""
    kinds = {kind for _, kind, _ in MADE}
    in_code_only = {"Deadline"}  # its function of the event has no text
    assert {kind.__name__ for kind in kinds} == set(failover.strategies.__all__) - in_code_only
    for text, kind, _ in MADE:
        judges = issubclass(kind, Sequential) and not issubclass(kind, Wrapper)
        assert judges == (JUDGING.items() <= POLICIES[text.split()[0]].options.items()), text


def test_routes_and_tiers() -> None:
    """The child without a pattern is the default wherever it stands; tiers are in the order of their numbers."""
    route = made(f"ROUTE {A} {B} when=E_A {C} when=E_B")
    assert isinstance(route, Route)
    assert names(route) == [B, C, A]
    assert route.conditions == ("E_A", "E_B")
    tiers = made(f"TIERS {A} tier=20 {B} tier=10 weight=0 {C} tier=20 weight=5")
    assert isinstance(tiers, Tiers)
    assert names(tiers) == [B, A, C]
    assert tiers.weights == ((0,), (1, 5))


def test_what_is_said_of_a_socket() -> None:
    """Each option of a socket is the argument of its sink; what isn't said is the defaults'."""
    said = "name=x timeout=250ms confirm=no event_param=e id_param=i null_id=no at_limit=next lazy=yes dedicated=yes"
    text = f"FAILOVER {A} {said} {B}"
    first, second = made(text, Defaults(timeout=3.0, event_param="event")).declared
    assert isinstance(first, JsonRpcSink)
    assert isinstance(second, JsonRpcSink)
    assert (first.name, first.timeout, first.confirm, first.at_limit) == ("x", 0.25, False, "next")
    assert (first.dialect.event_param, first.dialect.null_id, first.lazy, first.dedicated) == ("e", False, True, True)
    assert (second.name, second.timeout, second.confirm, second.at_limit) == (B, 3.0, True, "wait")
    assert first.dialect.id_param == "i"
    assert (second.dialect.event_param, second.lazy) == ("event", False)
    assert [name for name in SOCKETS["jsonrpc"] if f" {name}=" not in text] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"FAILOVER (PARALLEL {A}) (PARALLEL {B})", ["PARALLEL", "PARALLEL 2"]),
        (f"FAILOVER (PARALLEL {A}) {B} (PARALLEL name=site {C}) (RETRY {A})", ["PARALLEL", B, "site", "RETRY"]),
        (
            f'FAILOVER (PARALLEL {A}) (PARALLEL name=PARALLEL {B}) {C} name="PARALLEL 2"',
            ["PARALLEL 3", "PARALLEL", "PARALLEL 2"],
        ),
        (f"FAILOVER {A} name=PARALLEL (PARALLEL {B})", ["PARALLEL", "PARALLEL 2"]),
    ],
)
def test_strategies_within_have_short_names(text: str, expected: list[str]) -> None:
    """In receipts a strategy within another is called as its policy, and like no sibling of it."""
    assert names(made(text)) == expected


def test_a_name_for_all() -> None:
    """The outermost strategy is called by its text, or by the name given there; so it differs among siblings."""
    assert made(f"FAILOVER name=cdr {A}").name == "cdr"
    both = Parallel(f"virtual:FAILOVER name=a {A}", f"virtual:FAILOVER name=b {A}")
    assert both.name == "Parallel"
    with pytest.raises(ConfigError, match="two children named 'a'"):
        Parallel(f"virtual:FAILOVER name=a {A}", f"virtual:FAILOVER name=a {B}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"FAILOVER (PARALLEL {A} {A} timeout=1s)", f"PARALLEL has two children named '{A}'"),
        (f"HEDGE delay=2s {A} {B}", "a delay of 2 s is never reached"),
        (f"FAILOVER (TIMEOUT name={A} within=1s {B}) {A}", f"two children named '{A}'"),
    ],
)
def test_what_can_be_written_and_not_be_meant(text: str, problem: str) -> None:
    """What shows only when sinks are made is told then, without anything being connected."""
    with pytest.raises(ConfigError, match=problem):
        made(text)


def test_options_of_other_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme of another distribution says which options its sockets have, and is given their values."""
    monkeypatch.setattr("failover.schemes._registry", {})
    monkeypatch.delitem(SOCKETS, "pigeon", raising=False)

    def make(address: Address, defaults: Defaults, *, speed: float = 1.0) -> Sink:
        return PlainSink(f"{address} {defaults.timeout} {speed}")

    register(Scheme("pigeon", parse_socket, make, {"speed": TIME}))
    try:
        assert names(made("FAILOVER pigeon:a:1 speed=2m pigeon:b:1")) == ["pigeon:a:1 1.0 120.0", "pigeon:b:1 1.0 1.0"]
    finally:
        del SOCKETS["pigeon"]


def test_other_makers_of_sockets() -> None:
    """Who builds a tree of its own sinks is given each socket's address and the values of its options."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def socket(address: Address, options: Any) -> Sink:
        seen.append((str(address), dict(options)))
        return PlainSink(str(address))

    tree = parse_address(f"virtual:TIERS {A} tier=1 timeout=1s (RETRY {B} lazy=yes) tier=2")
    sink = build(tree, socket=socket, called=lambda name: name.lower())
    assert isinstance(sink, Tiers)
    assert seen == [(A, {"timeout": 1.0}), (B, {"lazy": True})]
    assert names(sink) == [A, "retry"]
    assert build(SocketAddress("tcp", "x", 1), socket=socket).name == "tcp:x:1"


def test_a_group_takes_it() -> None:
    """The extended text stands wherever an address does."""
    group = Group("cdr", f"virtual:FAILOVER (PARALLEL require=any {A} {B}) {C} timeout=1s")
    assert isinstance(group.declared, Address)


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
def test_meanings_are_half_a_sentence(policy: Any) -> None:
    """Each policy says what it does, to be read after its name and a colon."""
    assert policy.meaning
    assert not policy.meaning.endswith(".")
    assert policy.meaning[0].islower()


def documented() -> dict[str, list[list[str]]]:
    """The rows of the table of options in the documentation: by their first word, the words in each other cell."""
    text = (Path(__file__).parents[1] / "docs" / "addresses.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    cells = {row[0].strip(): [re.findall(r"`(\w+)`", cell) for cell in row[1:]] for row in rows if len(row) == 4}
    return {re.sub(r"[`*]", "", name): found for name, found in cells.items()}


def test_the_table_in_the_documentation() -> None:
    """It names every policy with its options, those of its children, and what sockets and judging have."""
    rows = documented()
    judging = rows["judging"][0]
    assert judging == list(JUDGING)
    sockets = {"a jsonrpc: or tcp: socket": "jsonrpc", "a udp: or unix: socket": "udp"}
    assert {*rows} - {"judging", "policy", *sockets} == set(POLICIES)
    for policy in POLICIES.values():
        own, said, _ = rows[policy.name]
        assert (own, said) == (own_options(policy), list(policy.said)), policy.name
    for row, scheme in sockets.items():
        assert rows[row][0] == [name for name in SOCKETS[scheme] if name != "name"]


@pytest.mark.parametrize("policy", list(POLICIES))
def test_each_page_shows_the_text(policy: str) -> None:
    """The page of each strategy shows its text, with letters for the sockets, and that text makes the strategy."""
    page = Path(__file__).parents[1] / "docs" / "strategies" / f"{policy.lower()}.md"
    shown = re.search(rf"As text it is `virtual:({policy} [^`]*)`", page.read_text(encoding="utf-8"))
    assert shown is not None
    strategy = made(re.sub(r"(?<= )([a-c])\b(?!=)", r"jsonrpc:\1:1", shown[1]))
    assert type(strategy) is next(kind for text, kind, _ in MADE if text.split()[0] == policy)
