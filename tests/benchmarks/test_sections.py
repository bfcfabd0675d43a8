"""What is no race measures what it says: small runs of each section's work, and of the table that shows it."""

from __future__ import annotations

import pytest

import failover.strategies
from tests.benchmarks import bystanders, cost, memory, moving_on, observers, strategies
from tests.benchmarks.processes import BenchmarkError, Subscriber, build, why_not
from tests.benchmarks.race import Settings
from tests.benchmarks.sections import SECTIONS
from tests.benchmarks.sheet import Bound, Sheet, work

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

QUIET = Settings(seconds=0.05, say=list[str]().append)


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    """The C programs."""
    build()


def test_names_differ() -> None:
    """Each section can be asked for by a name of its own."""
    names = [section.name for section in SECTIONS]
    assert len(set(names)) == len(names)
    assert all(section.title for section in SECTIONS)


def test_sheet() -> None:
    """A row shows its figures and whether they keep to their bounds; what doesn't is a sentence."""
    sheet = Sheet("s", ("ms", "worst ms"), digits=1)
    sheet.add("good", {"ms": 1.0, "worst ms": 2.0}, Bound("ms", 1.0), raw=[1, 2])
    sheet.add("bad", {"ms": -0.5}, Bound("ms", 1.0, 0.0))
    assert sheet.result.table[2:] == [
        "good   1.0       2.0          ms <= 1 met",
        "bad   -0.5            0 <= ms <= 1 MISSED",
    ]
    assert sheet.result.missed == ["s: bad: ms is -0.5, the goal is 0 <= ms <= 1"]
    assert sheet.result.figures == {"good": {"ms": 1.0, "worst ms": 2.0, "raw": [1, 2]}, "bad": {"ms": -0.5}}


def test_work_that_fails() -> None:
    """Work that breaks off is an error with its last words, not a figure."""
    with pytest.raises(BenchmarkError, match="KeyError: 'nothing'"):
        work("memory", "nothing", [1, 1])


@pytest.mark.parametrize("mode", ["await", "many"])
def test_reset(mode: str) -> None:
    """After each reset all 64 events are confirmed by the other socket, later than the reset."""
    with Subscriber("--silent-after", "0", "--reset-held", "64") as first, Subscriber() as second:
        ended = work("moving_on", "reset", [first.port, second.port], mode, "asyncio", [2])["ended"]
        assert len(ended) == 2
        assert all(at > first.wait_reset() for at in ended)
        assert first.finish()["requests"] == 2 * 64
        assert second.finish()["replied"] == 1 + 2 * 64


def test_silence() -> None:
    """Each event has its own overshoot, and none is early."""
    with Subscriber("--silent-after", "0") as subscriber:
        late = work("moving_on", "silence", [subscriber.port], [0.02, 0.03], [4, 2], [0.01])["late_ms"]
        assert [len(turn) for turn in late] == [8, 8]
        assert min(map(min, late)) >= 0
        assert subscriber.finish()["requests"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("case", ["beside", "first"])
def test_black_hole(case: str) -> None:
    """Each pair of slices gives a cost, whether the black hole is a neighbour or in the group."""
    with Subscriber() as healthy, Subscriber("--black-hole") as hole:
        found = work("bystanders", "black-hole", [healthy.port, hole.port, case, 2])
        assert len(found["throughput"]) == len(found["cpu"]) == 2
        assert max(found["throughput"]) < 100


def test_idle() -> None:
    """So many connections are opened, used once and left alone."""
    with Subscriber() as subscriber, Subscriber() as busy:
        found = work("bystanders", "idle", [subscriber.port, busy.port, 50, 0.1])
        assert 0 <= found["idle"] < found["busy_alone"]
        assert subscriber.finish() == {
            "connections": 50, "requests": 50, "notifications": 0, "replied": 50, "resets": 0
        }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", ["payload", "many", "start", "await", "task", "leases", "bare", "sinks"])
def test_memory(case: str) -> None:
    """Each case allocates something, and less than a page and a half for each."""
    options = () if case in {"sinks", "leases", "bare"} else ("--silent-after", "0")
    with Subscriber(*options) as subscriber:
        found = work("memory", case, [subscriber.port, 200])
    assert found["count"] == 200
    assert 100 < found["bytes"] < 12_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "kind"),
    [(table, kind) for table in cost.COSTS for kind in table.kinds],
    ids=lambda one: one if isinstance(one, str) else one.name,
)
def test_cost(table: cost.Cost, kind: str) -> None:
    """Every event of every kind of group is confirmed, and costs something."""
    with Subscriber() as first, Subscriber() as second:
        found = work("cost", kind, [first.port, second.port], [table.steps[1]], [1])
    assert found[str(table.steps[1])][0] > 0


def test_every_strategy_has_its_row() -> None:
    """A strategy that is new is measured too: it needs a row in `tests/benchmarks/strategies.py`."""
    assert set(failover.strategies.__all__) <= set(strategies.MAKERS)


@pytest.mark.slow
def test_strategies() -> None:
    """A short look gives a figure for each, a ratio to the bare sink, and one to many children where there can be."""
    result = strategies.Strategies().run(Settings(seconds=0.001, say=list[str]().append))
    assert set(result.figures) == set(strategies.MAKERS)
    assert all(figures["us"] > 0 for figures in result.figures.values())
    assert result.figures[strategies.BARE]["x bare"] == 1
    assert {name for name, figures in result.figures.items() if "x 3" in figures} == set(strategies.SPREAD)
    assert len(result.table) == 2 + len(strategies.MAKERS)


@pytest.mark.slow
def test_observers() -> None:
    """A short look gives a figure for nobody, for each adapter and for all."""
    result = observers.Observers().run(QUIET)
    assert set(result.figures) == set(observers.CASES)
    assert all(figures["us"] > 0 for figures in result.figures.values())
    assert result.figures[observers.NONE]["us more"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "section",
    [moving_on.Reset(), moving_on.Silence(), bystanders.BlackHole(), bystanders.Idle(), memory.Memory(), *cost.COSTS],
    ids=lambda section: section.name,
)
def test_section(section: moving_on.Reset) -> None:
    """A quick look at each section fills its table and its figures."""
    result = section.run(QUIET)
    assert not result.failures
    assert len(result.table) == 2 + len(result.figures)
