"""The pieces that the examination is made of: evidence, choice of clauses, settings, bounds."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest

from failover.conformance import CLAUSES, Examination, Report, Result, Subject, UnreachableError, Verdict, junit
from failover.conformance.clauses import chosen, clause
from failover.conformance.exam import Exam
from failover.conformance.results import Excerpt
from failover.errors import ConfigError, EventError
from failover.sim import Simulation
from tests.conformance.model import Model


def simulated(subject: Subject, clauses: tuple[Any, ...], model: type[Model] = Model) -> Report:
    """Examine a model in virtual time."""

    async def serve() -> None:
        await asyncio.get_running_loop().create_server(type("Server", (model,), {}), "0.0.0.0", 80)  # noqa: S104
        await asyncio.get_running_loop().create_future()

    async def main() -> Report:
        await asyncio.sleep(1)
        return await Examination(subject).run(clauses)

    simulation = Simulation(seed=1)
    simulation.network.host("app", start=serve)
    return simulation.run(main())


def test_excerpts_are_bounded() -> None:
    """However much goes over a connection, the first and the last bytes are kept, with the number between."""
    excerpt = Excerpt()
    excerpt.add(b"begin " + b"x" * 300)
    for _ in range(1000):
        excerpt.add(b"y" * 1000)
    excerpt.add("né\x00\n\xff".encode("latin-1"))
    text = str(excerpt)
    assert text.startswith("begin xxx")
    assert text.endswith(r"yn\xe9\x00\n\xff")
    assert f"…({excerpt.size - 400} bytes)…" in text
    assert len(text) < 500


def test_a_short_excerpt_is_whole() -> None:
    """Nothing is said to be left out of what is shown in whole, on the bound too."""
    for size in (0, 1, 320, 321, 400):
        excerpt = Excerpt()
        excerpt.add(b"a" * size)
        assert str(excerpt).replace("", "") == "a" * size


def test_clauses_are_well_formed() -> None:
    """Ids are unique and in order; each clause has a title, a source, and says what it expects."""
    numbers = [tuple(map(int, each.id.partition("-")[0].split("."))) for each in CLAUSES]
    assert numbers == sorted(set(numbers))
    assert len(CLAUSES) >= 80
    for group in range(1, 12):  # without gaps
        assert [second for first, second in numbers if first == group] == list(
            range(1, 1 + sum(first == group for first, _ in numbers))
        )
    for each in CLAUSES:
        assert each.title
        assert each.source
        assert each.expected
        assert str(each) == each.id


def test_choice() -> None:
    """Clauses are chosen by group, number, id or pattern, and kept in order."""
    ids = [each.id for each in chosen(CLAUSES, ["5.1", "1.1-confirmed", "*-id"], ["2"])]
    assert ids == ["1.1-confirmed", "3.1-null-id", "3.2-no-id", "5.1-unknown-method"]
    assert chosen(CLAUSES) == CLAUSES
    with pytest.raises(ConfigError, match=r"'1\.99' fits no clause"):
        chosen(CLAUSES, ["1.99"])


@pytest.mark.parametrize("id", ["1.1-confirmed", "1-x", "x.1-y", "1.1 x"])
def test_a_clause_needs_an_id_of_its_own(id: str) -> None:
    """A clause whose id is taken, or is none, is refused."""
    with pytest.raises(ConfigError, match=r"expected an id that isn't taken"):
        clause(id, "", "")(CLAUSES[0].check)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"port": 0}, "port is 0"),
        ({"port": 65536}, "port is 65536"),
        ({"timeout": 0}, "timeout is 0 seconds"),
        ({"quiet": float("nan")}, "quiet is nan"),
        ({"idle": -1.0}, "idle is -1.0"),
        ({"connections": 0}, "connections is 0"),
        ({"unread": 0}, "unread is 0"),
        ({"dialect": "4.0"}, "dialect is '4.0'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], told: str) -> None:
    """What is out of its range is refused, with its name."""
    with pytest.raises(ConfigError, match=told):
        attrs.evolve(Subject(host="127.0.0.1", port=1), **settings)


def test_params_are_checked() -> None:
    """Params that JSON can't carry are refused when they are given."""
    with pytest.raises(EventError):
        Subject(host="127.0.0.1", port=1, method="m", params=[float("nan")])


@pytest.mark.parametrize(("dialect", "skipped"), [("3.0", {"3.2", "4.3"}), ("3.1", {"3.1"}), ("both", set[str]())])
def test_dialects(dialect: str, skipped: set[str]) -> None:
    """With one dialect asked for, the other's clauses are skipped, and nothing of it is sent."""
    report = simulated(
        Subject(host="app", port=80, method="echo", params={"a": 1}, dialect=dialect), chosen(CLAUSES, ["3", "4"])
    )
    assert {each.id.partition("-")[0] for each in report.of(Verdict.SKIP)} == skipped
    assert report.ok
    for each in report.results:
        if dialect == "3.1":
            assert '"id":null' not in each.sent
        if dialect == "3.0" and each.id in {"3.1-null-id", "3.3-failing-notification", "3.4-many-notifications"}:
            assert '"id":null' in each.sent


def test_time_is_bounded() -> None:
    """When the time is up, what is left isn't examined, and that is a failure, not a success."""

    class Silent(Model):
        def send(self, reply: dict[str, Any]) -> None:
            pass

    report = simulated(Subject(host="app", port=80, method="echo", within=8.0), CLAUSES, Silent)
    assert report.took < 8 + 40
    assert not report.ok
    left = [each for each in report.results if each.detail == "not examined: 8 s were up"]
    assert len(left) > 70
    assert len(report.results) == len(CLAUSES)
    assert {each.verdict for each in left} == {Verdict.FAIL}


def test_a_clause_is_bounded() -> None:
    """A clause that would never end is ended, and fails."""

    async def forever(_: Exam) -> None:
        await asyncio.get_running_loop().create_future()

    endless = attrs.evolve(CLAUSES[0], check=forever)
    report = simulated(Subject(host="app", port=80, timeout=0.1, idle=1.0), (endless,))
    assert [each.detail for each in report.results] == ["it wasn't over after 4 s"]


def test_nobody_there() -> None:
    """Without a connection there is nothing to examine, which is an error and no report."""

    async def main() -> None:
        with pytest.raises(UnreachableError, match=r"jsonrpc:app:81: no connection: .*; start the subscriber there"):
            await Examination(Subject(host="app", port=81, timeout=0.5)).run(CLAUSES)

    simulation = Simulation(seed=1)
    simulation.network.host("app")
    simulation.run(main())


def test_nothing_is_left_open() -> None:
    """When the examination is over, no task and no connection of it is left."""

    async def serve() -> None:
        await asyncio.get_running_loop().create_server(type("Server", (Model,), {}), "0.0.0.0", 80)  # noqa: S104
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.sleep(1)
        await Examination(Subject(host="app", port=80, method="echo", unread=2**19)).run(CLAUSES)

    simulation = Simulation(seed=1, strict=True)
    simulation.network.host("app", start=serve)
    simulation.run(main())


def test_cancelling_leaves_nothing() -> None:
    """An examination that is cancelled amid a clause closes its connections."""

    async def serve() -> None:
        await asyncio.get_running_loop().create_server(type("Server", (Model,), {}), "0.0.0.0", 80)  # noqa: S104
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await Examination(Subject(host="app", port=80, method="echo")).run(chosen(CLAUSES, ["6.9", "9.10"]))

    simulation = Simulation(seed=1, strict=True)
    simulation.network.host("app", start=serve)
    simulation.run(main())


def test_junit_is_legal_xml() -> None:
    """Whatever bytes came, the document can be parsed; verdicts have their elements."""
    parts: dict[str, Any] = {
        "title": "t",
        "source": "s",
        "expected": "e",
        "detail": "\x00\x1b[31m\ud800 <&>",
        "came": "]]>",
    }
    results = tuple(Result(id=f"1.{each.value}", verdict=each, **parts) for each in Verdict)
    document = junit(Report(socket="jsonrpc:a:1", method="m", results=results))
    suite = ET.fromstring(document)[0]  # noqa: S314  # our own
    assert [[element.tag for element in case] for case in suite] == [[], ["failure"], ["system-out"], ["skipped"]]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "1")


def test_explanations_say_all() -> None:
    """A result reads like a paragraph: what was found, the source, what was expected, sent and came."""
    result = Result(id="1.1-x", title="t", source="s", expected="e", verdict=Verdict.FAIL, detail="d", sent="{}")
    assert result.explain() == "1.1-x fail: d\n  source:   s\n  expected: e\n  sent:     {}\n  came:     nothing"
    assert not result.ok
    assert Report(socket="jsonrpc:a:1", method="m", results=(result,)).explain() == (
        f"jsonrpc:a:1: 1 fail\n{result.explain()}"
    )
