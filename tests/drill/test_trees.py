"""Trees of tables: every strategy can be drilled, also the user's own, and what is wrong is said with its key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import pytest

import failover.strategies
from failover.build import build
from failover.drill import parse_drill, run_drill
from failover.drill.plan import Drill
from failover.drill.result import Result
from failover.drill.run import prepare
from failover.drill.tree import subscribers_of, tree_of
from failover.errors import ConfigError
from failover.schemes import Defaults, parse_address
from failover.sequential import Sequential
from failover.strategies import Failover, Route, Tiers, WeightedRoundRobin
from failover.testing.entries import Ended

PAIR = 'children = [{ strategy = "Failover", children = ["app1", "app2"] }]'
TABLES = {
    "Coalesce": f'key = "id", {PAIR}',
    "Deadline": f'at = {{ object = "builtins:id" }}, {PAIR}',  # a number of any object, as a time far away
    "Dedup": f'window = 1.0, key = "id", {PAIR}',
    "DeadLetter": 'children = ["app1", "app2"], reserve = 0.2',
    "Failover": 'children = ["app1", "app2"]',
    "Hedge": 'children = ["app1", "app2"], delay = 0.05, loser = "keep"',
    "LatencyAware": 'children = ["app1", "app2"], decay = 5.0',
    "LeastInFlight": 'children = ["app1", "app2", "app3"]',
    "Limit": f"in_flight = 8, rate = 1000.0, burst = 8, {PAIR}",
    "Mirror": 'children = [{ strategy = "Failover", children = ["app2", "app3"] }, "app1"]',
    "Ordered": f'key = "call", {PAIR}',
    "Parallel": 'children = ["app1", "app2"], require = "any"',
    "Quorum": 'k = 2, children = ["app1", "app2", "app3"]',
    "Retry": 'children = ["app1"], within = 3.0, stop = { object = "tenacity:stop_never" }',
    "RoundRobin": 'children = ["app1", "app2"], move_on = true',
    "Route": 'children = [{ socket = "app1", when = "E_OTHER" }, { strategy = "Failover", when = "E_D*", '
    'children = ["app1", "app2"] }, "app3"]',
    "Sticky": 'children = ["app1", "app2", "app3"], key = "call"',
    "Tiers": 'children = [{ socket = "app1", tier = 1, weight = 3 }, { socket = "app2", tier = 1 }, '
    '{ strategy = "Failover", children = ["app3"], tier = 2 }]',
    "Timeout": 'seconds = 0.6, children = [{ strategy = "Failover", children = ["app1", "app2"] }]',
    "WeightedRandom": 'children = [{ socket = "app1", weight = 3 }, "app2"]',
    "WeightedRoundRobin": 'children = [{ socket = "app1", weight = 3 }, '
    '{ strategy = "Failover", children = ["app2"] }]',
}
HEAD = '[drill]\nname = "x"\nduration = 3.0\n[load]\nkeys = 5\nparams = { call = "a84b4c" }\n'


def drilled(tree: str, rest: str = "") -> Result:
    """The result of a drill of this tree."""
    return run_drill(parse_drill(f"{HEAD}[group]\ntimeout = 0.2\ntree = {{ {tree} }}\n{rest}"))


def made(tree: str) -> object:
    """What a tree's table makes."""
    drill: Drill = parse_drill(f"{HEAD}[group]\ntree = {{ {tree} }}\n")
    return tree_of(drill, {own.name: ("127.0.0.1", 1) for own in subscribers_of(drill)}).root


def failing(result: Result) -> list[str]:
    """What was found."""
    return [str(finding) for verdict in result.verdicts for finding in verdict.findings]


@pytest.mark.parametrize("name", failover.strategies.__all__)
@pytest.mark.parametrize("fault", ["crash", "black_hole", "handle_then_drop", "error"])
def test_every_strategy_can_be_drilled(name: str, fault: str) -> None:
    """Every strategy there is can be written as a table, and keeps its promises while a child fails in any way."""
    rest = f'[[fault]]\nwhat = "{fault}"\non = "app1"\nat = 1.0\nfor = 0.5\n'
    result = drilled(f'strategy = "{name}", {TABLES[name]}', rest)
    assert failing(result) == []
    assert type(made(f'strategy = "{name}", {TABLES[name]}')).__name__ == name
    receipts = [entry.receipt for entry in result.recorder if isinstance(entry, Ended)]
    assert sum(receipt.confirmed for receipt in receipts) >= 40
    assert any(len(receipt.attempts) > 1 for receipt in receipts) or name == "Timeout", "nothing was at stake"


def test_what_is_said_of_children_reaches_the_strategy() -> None:
    """Weights, tiers and patterns stand in the tables of children, nested strategies among them; a weight is 1 else."""
    weighted = made(f'strategy = "weighted-round-robin", {TABLES["WeightedRoundRobin"]}')
    assert isinstance(weighted, WeightedRoundRobin)
    assert weighted.weights == (3, 1)
    tiers = made(
        'strategy = "Tiers", children = [{ socket = "a", tier = 5, weight = 0 }, '
        '{ socket = "b", tier = 1, weight = 7 }]'
    )
    assert isinstance(tiers, Tiers)
    assert ([getattr(sink, "name", "") for sink in tiers.declared], tiers.weights) == (
        ["b", "a"],
        ((7,), (0,)),
    )
    route = made('strategy = "Route", children = ["rest", { socket = "a", when = "E_A*" }]')
    assert isinstance(route, Route)
    assert (route.conditions, [getattr(child, "name", "") for child in route.declared]) == (("E_A*",), ["a", "rest"])


def test_rules_of_health_are_a_table() -> None:
    """`health` is a table of the arguments of `Health`, and its `probe` one of those of `Probe`."""
    tree = made(
        'strategy = "Failover", children = ["a"], health = { quarantine = 2, failures = 3, probe = { every = 0.5 } }'
    )
    assert isinstance(tree, Failover)
    assert (tree.health.quarantine, tree.health.failures) == (2, 3)
    assert tree.health.probe is not None
    assert tree.health.probe.every == 0.5


def test_a_strategy_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:Class` is a strategy of the user's own, from beside the drill; its arguments are keys as well."""
    (tmp_path / "backwards_for_this_test.py").write_text(
        "from failover.sequential import Sequential\n"
        "class Backwards(Sequential):\n"
        "    def __init__(self, *children, steps=1, name=None):\n"
        "        super().__init__(*children, name=name)\n"
        "        self.steps = steps\n"
        "    def order(self, event):\n"
        "        return self.children[::-self.steps]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    tree = 'strategy = "backwards_for_this_test:Backwards", children = ["app1", "app2"]'
    result = drilled(tree + ", steps = 1")
    assert failing(result) == []
    assert result.recorder.totals.done == {"app2": 60}
    with pytest.raises(ConfigError, match=r"group\.tree\.stops: Backwards has no such argument; known are name, steps"):
        drilled(tree + ", stops = 1")


def test_a_group_is_a_line_of_text() -> None:
    """What stands in an OpenSIPS script can be the group, and judges its children as a group made of that text does."""
    text = "virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080"
    drill = parse_drill(f'group = "{text}"\n{HEAD}')
    assert failing(run_drill(drill)) == []
    root = cast("Failover", tree_of(drill, {"app1": ("127.0.0.1", 1), "app2": ("127.0.0.1", 1)}).root)
    theirs = cast("Sequential", build(parse_address(text), Defaults()))
    assert root.health == theirs.health


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            'strategy = "Quorom", children = ["a"]',
            "group.tree.strategy: there is no strategy 'Quorom'; did you mean 'Quorum'?",
        ),
        ('strategy = "no_such_module:X", children = ["a"]', "group.tree.strategy: No module named"),
        (
            'strategy = "failover.strategies:X", children = ["a"]',
            "group.tree.strategy: module 'failover.strategies' has no",
        ),
        ('strategy = "Quorum", children = ["a"]', "group.tree.k: this key is missing; Quorum needs it"),
        ('strategy = "Quorum", children = ["a"], k = 2', "group.tree: "),
        ('strategy = "Timeout", children = ["a"]', "group.tree.seconds: this key is missing; Timeout needs it"),
        (
            'strategy = "Timeout", children = ["a", "b"], seconds = 1',
            "group.tree.children: Timeout takes 1 (child), not 2",
        ),
        (
            'strategy = "Hedge", children = ["a"], delay = 1',
            "group.tree.children: Hedge takes 2 (first, second), not 1",
        ),
        ('strategy = "Hedge", children = ["a", "b"], first = "a"', "group.tree.first: Hedge has no such argument"),
        (
            'strategy = "WeightedRandom", children = [{ socket = "a", weight = 0 }]',
            "group.tree: WeightedRandom: the weight",
        ),
        (
            'strategy = "Failover", children = [{ socket = "a", weight = 2 }]',
            "group.tree.children[0].weight: a socket has no",
        ),
        ('strategy = "Tiers", children = ["a"]', "group.tree.children[0].tier: expected a whole number"),
        ('strategy = "Route", children = ["a", "b"]', "group.tree.children: none of them has a `when`"),
        (
            'strategy = "Route", children = ["a", "b", { socket = "c", when = "*" }]',
            "group.tree.children: 2 have no `when`",
        ),
        ('strategy = "Failover", children = ["a"], health = { failures = 0 }', "group.tree.health: failures must be"),
        (
            'strategy = "Failover", children = ["a"], health = { faliures = 1 }',
            "group.tree.health.faliures: Health has no",
        ),
        (
            'strategy = "Failover", children = ["a"], quarantine = { s = 1 }',
            "group.tree.quarantine: expected a value, or",
        ),
        (
            'strategy = "Retry", children = ["a"], stop = { object = "tenacity:x" }',
            "group.tree.stop: module 'tenacity' has no",
        ),
    ],
)
def test_what_is_wrong_with_a_tree_is_said_with_its_key(tree: str, expected: str) -> None:
    """Whatever doesn't fit is refused before anything is done, by the path of the key, and says what was expected."""
    with pytest.raises(ConfigError) as raised:
        prepare(parse_drill(f"{HEAD}[group]\ntree = {{ {tree} }}\n"))
    assert str(raised.value).startswith(expected)
