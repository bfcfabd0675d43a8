"""How type checkers see the public faces: checked by pyright as all tests, and by mypy in `test_typing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from failover import (
    Attempt,
    BlockingGroup,
    Event,
    EventInterface,
    Group,
    Outcome,
    Receipt,
    Sink,
    Status,
    Subscription,
    deliver_many,
    jsonrpc,
    shared,
)
from failover.sim import Network, Simulation, simulate
from failover.sinks.jsonrpc import JsonRpcSink
from failover.strategies import Failover, Parallel, RoundRobin
from failover.strategy import Strategy
from failover.testing import Confirm, FaultProxy, HandleThenDrop, ScriptedSubscriber, Silent, uniform
from failover.testing.checkers import ALL, Checker, Finding
from failover.testing.history import History
from failover.testing.trials import Proxies, Subscribers, WatchedGroups


def declaring() -> Group:
    """Trees are made of sinks and addresses, in any mixture."""
    socket = jsonrpc("10.0.0.5:8080/cdr", timeout=0.2)
    assert_type(socket, JsonRpcSink)
    tree = Failover(
        socket,
        Parallel("jsonrpc:10.0.1.5:8080", "jsonrpc:10.0.1.6:8080", require="any"),
        RoundRobin("jsonrpc:10.0.2.5:8080"),
        quarantine=30,
    )
    group = Group("billing", tree)
    for sink in (socket, tree, group):  # whatever delivers is a sink
        assert_type(_named(sink), str)
    wrong: Strategy = Parallel("jsonrpc:a:1", require="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(wrong.status(), Status)
    return group


def _named(sink: Sink) -> str:
    return sink.name


async def delivering(group: Group) -> None:
    """Every delivery gives a receipt."""
    async with group as opened:
        assert_type(opened, Group)
        receipt = await opened.deliver(Event("E_ACC_CDR", {"duration": 35}), within=0.5)
        assert_type(receipt, Receipt)
        assert_type(receipt.outcome, Outcome)
        assert_type(receipt.confirmed, bool)
        assert_type(receipt.explain(), str)
        for attempt in receipt.attempts:
            assert_type(attempt, Attempt)
        assert_type(await opened.deliver_many([Event("E_X")]), list[Receipt])
        assert_type(await deliver_many(opened, [Event("E_X")]), list[Receipt])


def blocking(group: Group) -> None:
    """The same without `await`."""
    with group.blocking(within=0.5) as facade:
        assert_type(facade.drain("a", within=1.0), bool)
        assert_type(facade, BlockingGroup)
        assert_type(facade.deliver(Event("E_X")), Receipt)
        facade.submit(Event("E_X"), lambda receipt: print(receipt.outcome))  # noqa: T201
    assert_type(shared("billing", declaring), BlockingGroup)


async def raising() -> None:
    """An interface gives a receipt per subscriber."""
    async with EventInterface(sync_mode=True, timeout=1.0) as events:
        assert_type(events.subscribe("E_X", "jsonrpc:127.0.0.1:8080", expire=3600), Subscription)
        assert_type(events.subscribe("E_X", "jsonrpc:127.0.0.1:8080").group, Group)
        assert_type(await events.raise_event("E_X", ip="192.168.2.11"), list[Receipt])
        assert_type(await events.raise_event("E_X", 3, 5), list[Receipt])


def simulating() -> None:
    """A simulation returns what its main coroutine does."""

    async def main() -> int:
        return 7

    simulation = Simulation(seed=1, latency=uniform(0.001, 0.01))
    assert_type(simulation.network, Network)
    assert_type(simulation.run(main()), int)
    assert_type(simulate(main(), seed=1), int)


def nothing(history: History) -> Sequence[Finding]:
    """Not a checker: it returns no list."""
    return history.check()


def found(history: History) -> list[Finding]:
    """A checker."""
    return [Finding("ours", "it is wrong", (), 0.0)] if len(history) else []


async def testing(
    scripted_subscriber: Subscribers, fault_proxy: Proxies, watched_group: WatchedGroups, failover_history: History
) -> None:
    """Fixtures are annotated as what they are."""
    primary = scripted_subscriber(HandleThenDrop(delay=uniform(0.1, 0.2)))
    assert_type(primary, ScriptedSubscriber)
    assert_type(primary.once(Silent(), Confirm()), ScriptedSubscriber)
    proxy = fault_proxy(primary)
    assert_type(proxy, FaultProxy)
    own: tuple[Checker, ...] = (*ALL, found)
    bad: Checker = nothing  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert_type(watched_group(Failover(proxy.socket), checkers=(*own, bad)), Group)
    assert_type(failover_history.check(), list[Finding])
    event: Any = scripted_subscriber(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    del event
