"""Every clause can fail: subscribers broken in one place each make exactly the expected clauses fail."""

from __future__ import annotations

import asyncio

import pytest

from failover.conformance import CLAUSES, Examination, Report, Subject, Verdict
from failover.conformance.clauses import chosen
from failover.sim import Simulation
from tests.conformance import faults_requests, faults_streams
from tests.conformance.broken import FAULTS, Broken
from tests.conformance.model import Model

pytestmark = pytest.mark.slow  # half a minute in all; `.ci/run` runs it

TABLES = (faults_requests, faults_streams)  # which put their faults into FAULTS
MARKS = {Verdict.FAIL: "", Verdict.WARN: "?", Verdict.SKIP: "-"}


def examine_model(model: type[Model], only: tuple[str, ...] = ()) -> Report:
    """Examine a model on a simulated network, in virtual time."""

    async def serve() -> None:
        class Server(model):
            """A start of its own: what the class holds is this server's."""

        await asyncio.get_running_loop().create_server(Server, "0.0.0.0", 80)  # noqa: S104  # a simulated host
        await asyncio.get_running_loop().create_future()

    async def main() -> Report:
        await asyncio.sleep(1)
        subject = Subject(host="app", port=80, method="echo", params={"a": 1}, unread=2**18)
        return await Examination(subject).run(chosen(CLAUSES, only))

    simulation = Simulation(seed=1, buffer=32 * 1024)
    simulation.network.host("app", start=serve)
    return simulation.run(main())


def examine_for_real(model: type[Model], only: set[str]) -> Report:
    """Examine a model on loopback."""

    async def main() -> Report:
        server = await asyncio.get_running_loop().create_server(type("Server", (model,), {}), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            subject = Subject(host="127.0.0.1", port=port, method="echo", params={"a": 1}, timeout=0.5, quiet=0.02)
            return await Examination(subject).run(chosen(CLAUSES, sorted(only)))

    return asyncio.run(main())


def seen(report: Report) -> set[str]:
    """The clauses that weren't passed, as the table writes them."""
    return {
        result.id.partition("-")[0] + MARKS[result.verdict]
        for result in report.results
        if result.verdict is not Verdict.PASS
    }


def test_the_model_is_right() -> None:
    """Without a fault the tests' own subscriber passes every clause, so what fails below fails by the fault."""
    report = examine_model(Model)
    assert seen(report) == set(), report.explain()
    assert len(report.results) == len(CLAUSES)


@pytest.mark.parametrize("broken", FAULTS, ids=lambda broken: broken.name)
def test_a_fault_is_seen(broken: Broken) -> None:
    """A subscriber that is broken in one place fails the clauses of that place, and no others."""
    report = examine_model(broken.model, broken.only)
    assert seen(report) == broken.seen_by, report.explain()


@pytest.mark.parametrize("clause", ["1.2", "3.1", "5.11", "6.5", "6.7", "9.6", "9.7", "9.8", "10.5", "11.1", "11.3?"])
def test_a_fault_is_seen_on_loopback(clause: str) -> None:
    """The kernel's network shows the same: resets, segments and buffers are real there."""
    broken = min((each for each in FAULTS if clause in each.seen_by), key=lambda each: len(each.seen_by))
    report = examine_for_real(broken.model, {each.rstrip("?") for each in broken.seen_by})
    assert clause in seen(report), report.explain()


def test_every_clause_sees_a_fault() -> None:
    """There is no clause that no fault makes fail, or warn if it's only recommended."""
    by_faults = {each.rstrip("?") for broken in FAULTS for each in broken.seen_by if not each.endswith("-")}
    assert {clause.id.partition("-")[0] for clause in CLAUSES} - by_faults == set()
