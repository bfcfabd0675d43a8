"""Every strategy, and every group, keeps the promises of a sink, over any kind of children."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

from failover.group import Group
from failover.sink import Sink, open_sink
from failover.strategies import (
    Coalesce,
    Deadline,
    Dedup,
    Failover,
    LatencyAware,
    LeastInFlight,
    Limit,
    Ordered,
    Parallel,
    RoundRobin,
    Sticky,
    Tiers,
    WeightedRandom,
    WeightedRoundRobin,
)
from tests.contract import check_sink
from tests.doubles import DOWN, YES, FastSink, PlainSink, opening, run
from tests.test_docs import ROOT, blocks

SLOW = YES.after(0.01)


def children(kind: type[PlainSink]) -> list[PlainSink]:
    """Three that take their time."""
    return [kind(letter, SLOW) for letter in "abc"]


def nested(kind: type[PlainSink]) -> Sink:
    """Four levels of everything."""
    a, b, c = children(kind)
    d, e, f, g = (kind(letter, SLOW) for letter in "defg")
    return Failover(
        RoundRobin(Parallel(Failover(a, b, name="F4"), c, require="all", name="P3"), d, name="R2"),
        Parallel(e, f, require="any", name="P2"),
        g,
        name="F1",
    )


TREES: dict[str, Callable[[type[PlainSink]], Sink]] = {
    "sink": lambda kind: kind("alone", SLOW),
    "failover": lambda kind: Failover(*children(kind)),
    "failover past one that is down": lambda kind: Failover(kind("down", DOWN), *children(kind)),
    "round robin": lambda kind: RoundRobin(*children(kind)),
    "round robin that stays": lambda kind: RoundRobin(*children(kind), move_on=False),
    "weighted round robin": lambda kind: WeightedRoundRobin(dict(zip(children(kind), (3, 2, 1), strict=True))),
    "weighted random": lambda kind: WeightedRandom(dict(zip(children(kind), (3, 2, 1), strict=True))),
    "least in flight": lambda kind: LeastInFlight(*children(kind)),
    "sticky": lambda kind: Sticky(*children(kind)),
    "tiers": lambda kind: Tiers(*[{child: weight} for weight, child in enumerate(children(kind))]),
    "latency-aware": lambda kind: LatencyAware(*children(kind)),
    "all": lambda kind: Parallel(*children(kind)),
    "any": lambda kind: Parallel(*children(kind), require="any"),
    "two of three": lambda kind: Parallel(*children(kind), require=2),
    "ordered": lambda kind: Ordered(nested(kind), key="k"),
    "limit": lambda kind: Limit(nested(kind), in_flight=3),
    "dedup": lambda kind: Dedup(nested(kind), window=1),
    "coalesce": lambda kind: Coalesce(nested(kind), key="k"),
    "coalesce, every": lambda kind: Coalesce(nested(kind), key="k", every=0.001),
    "deadline": lambda kind: Deadline(nested(kind), lambda _: 1e9),
    "nested": nested,
    "group": lambda kind: Group("g", kind("alone", SLOW), drain=0),
    "group of a strategy": lambda kind: Group("g", nested(kind), drain=0),
    "group that drains": lambda kind: Group("g", nested(kind)),
    "strategy of groups": lambda kind: Failover(
        Group("one", kind("a", DOWN), drain=0), Group("two", nested(kind), drain=0), name="of groups"
    ),
}


def documented() -> dict[str, tuple[Any, int]]:
    """The classes that the page on strategies of one's own shows, and how many lines each has."""
    nodes: list[ast.stmt] = [
        node
        for block in blocks(ROOT / "docs" / "strategies" / "your-own.md")
        if block.language == "python"
        for node in compile(block.text, block.place, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef))
    ]
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(ast.Module(nodes, []), "your-own.md", "exec"), names)  # noqa: S102  # our own page
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in nodes if isinstance(node, ast.ClassDef)}
    return {name: (names[name], size) for name, size in sizes.items()}


OWN = documented()


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", ["Sticky", "Majority"])
def test_the_strategies_in_the_documentation(name: str, kind: type[PlainSink]) -> None:
    """What readers are shown as a strategy of their own, in about ten lines, is as good as ours."""
    strategy, lines = OWN[name]

    async def make() -> Sink:
        sink: Sink = strategy(*children(kind))
        await open_sink(sink, opening())
        return sink

    run(check_sink(make))
    assert lines <= 12


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("tree", list(TREES))
def test_contract(tree: str, kind: type[PlainSink]) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make() -> Sink:
        sink = TREES[tree](kind)
        await open_sink(sink, opening())
        return sink

    run(check_sink(make))
