"""The subscriber of this package passes every clause, on loopback and on a simulated network of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from failover.conformance import CLAUSES, Clause, Examination, Report, Subject, Verdict, examine, examine_clause
from failover.sim import Simulation, log_normal
from failover.subscriber import Subscriber

NETWORKS: list[dict[str, Any]] = [
    {},
    {"latency": 0.02},
    {"latency": log_normal(0.005), "cut": 0.7},
    {"latency": log_normal(0.005), "cut": 1.0, "bandwidth": 50_000_000.0},
]


def verdicts(report: Report) -> dict[str, str]:
    """What isn't passed, with the reason."""
    return {result.id: result.detail for result in report.results if result.verdict is not Verdict.PASS}


async def echo(params: Any) -> Any:
    """Return the params."""
    return params


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    """A subscriber on loopback, on a thread of its own, that knows one method."""
    made = Subscriber(drain=0)
    made.method("echo")(echo)
    with made.blocking():
        yield made


def each_clause() -> Iterator[Any]:
    """The clauses; those that wait for a peer that is slow, or doesn't read, take a second of real time."""
    for clause in CLAUSES:
        if clause.id != "11.3-unread-pushed-back":
            waits = clause.id.startswith("11.") or clause.id == "6.9-slow-sender"
            yield pytest.param(clause, id=str(clause), marks=[pytest.mark.slow] if waits else [])


@pytest.mark.parametrize("clause", list(each_clause()))
def test_each_clause_on_loopback(clause: Clause, subscriber: Subscriber) -> None:
    """Each clause is passed on real sockets, examined on its own, as a user's test does it."""
    host, port = subscriber.address
    timeout = 1.0 if clause.id.startswith(("6.9", "11.")) else 5.0  # those wait for as long
    settings: dict[str, Any] = {"timeout": timeout, "quiet": 0.01, "idle": 0.05}
    result = examine_clause(clause, host, port, method="echo", params={"a": 1}, **settings)
    assert result.verdict is Verdict.PASS, result.explain()


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("network", range(len(NETWORKS)))
def test_all_on_a_simulated_network(network: int, in_order: bool) -> None:  # noqa: FBT001  # pytest's
    """All clauses are passed on a network that delays, cuts writes and bounds bandwidth, whatever the order of work."""

    async def serve() -> None:
        made = Subscriber("0.0.0.0", 80, in_order=in_order)  # noqa: S104  # a simulated host
        made.method("echo")(echo)
        async with made:
            await asyncio.get_running_loop().create_future()

    async def main() -> Report:
        await asyncio.sleep(1)
        subject = Subject(host="app", port=80, method="echo", params={"a": 1}, timeout=2.0, quiet=0.5, unread=2 * 2**20)
        return await Examination(subject).run()

    simulation = Simulation(seed=network, buffer=65536, **NETWORKS[network])
    simulation.network.host("app", start=serve)
    assert verdicts(simulation.run(main())) == {}


@pytest.mark.slow
def test_the_whole_on_loopback(subscriber: Subscriber) -> None:
    """The whole examination passes, back-pressure included, within seconds, and its requests are as few as it says."""
    host, port = subscriber.address
    report = examine(host, port, method="echo", params=[("a", 1)], timeout=1.0, quiet=0.01, idle=0.05)
    assert verdicts(report) == {}
    assert report.ok
    assert report.took < 30
    status = subscriber.status()
    assert status.confirmed < 700
    assert (status.failed, status.connections) == (0, 0)


@pytest.mark.parametrize("params", [None, {"a": 1}, [("a", 1), ("a", 2)], ["x", 3], []])
def test_whatever_params_the_method_needs(params: Any, subscriber: Subscriber) -> None:
    """Named, unnamed, duplicate, empty and no params are all built upon rightly."""
    host, port = subscriber.address
    settings: dict[str, Any] = {"timeout": 5.0, "quiet": 0.01, "idle": 0.01}
    report = examine(host, port, method="echo", params=params, only=["1", "2", "3", "4", "6.7"], **settings)
    assert verdicts(report) == {}


def test_without_a_method_what_needs_a_confirmation_is_skipped(subscriber: Subscriber) -> None:
    """Nobody has said that E_CONFORMANCE is known: what needs a confirmation is skipped and says so."""
    host, port = subscriber.address
    report = examine(host, port, timeout=1.0, quiet=0.01, idle=0.01, skip=["6.9", "11"])
    assert report.ok
    skipped = "needs a method that the subscriber confirms: error -32601"
    assert verdicts(report) == {"1.1-confirmed": skipped}
    assert report.notes == ("It refuses E_CONFORMANCE (error -32601); name a method that it confirms to see more.",)
