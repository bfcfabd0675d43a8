"""Children taken out and put back by hand, by callers that don't await."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from failover import ClosedError, ConfigError, Event, Group, UsageError, jsonrpc
from failover.blocking.facade import BlockingGroup
from failover.strategies import Failover
from tests.blocking.parts import Gate

EVENT = Event("E_FAST")
LONG = 20.0  # seconds: a deadline that no test waits for


def pair(first: str, second: str, *, thread: bool = True) -> BlockingGroup:
    """A facade of a failover over two sockets."""
    tree = Failover(jsonrpc(first, name="a"), jsonrpc(second, name="b"))
    return Group("g", tree).blocking(within=LONG, thread=thread)


@pytest.mark.parametrize("thread", [True, False])
def test_taken_out_and_put_back(echo: str, gate: Gate, thread: bool) -> None:  # noqa: FBT001
    """Any thread may take a child out and put it back, as the first use of the facade too."""
    group = pair(echo, gate.subscriber.socket, thread=thread)
    group.quarantine("a", "new kernel")
    assert "taken out by hand (new kernel)" in group.deliver(EVENT).explain()
    group.reinstate("a")
    assert group.deliver(EVENT).attempts[0].sink == "a"
    assert group.drain("a", within=LONG)
    assert group.deliver(EVENT).attempts[0].sink == "b"
    group.close()


def test_drain_waits(gate: Gate, echo: str) -> None:
    """Draining says whether what another thread had under way there has ended in time."""
    with pair(gate.subscriber.socket, echo) as group, ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(group.deliver, Event("E_SLOW"))
        gate.arrived.get(timeout=LONG)
        assert not group.drain("a", within=0.01)
        gate.open()
        assert group.drain("a", within=LONG)
        assert under_way.result(LONG).attempts[0].sink == "a"


@pytest.mark.parametrize("thread", [True, False])
def test_what_can_not_be_meant(echo: str, gate: Gate, thread: bool) -> None:  # noqa: FBT001
    """An unknown name, a time that is none and a closed facade are refused in the caller's thread."""
    group = pair(echo, gate.subscriber.socket, thread=thread)
    with pytest.raises(UsageError, match="group 'g' has no child 'c'; it has 'a', 'b'"):
        group.quarantine("c")
    with pytest.raises(ConfigError, match="within must be a number of seconds"):
        group.drain("a", within=0)
    way = group._way()  # pyright: ignore[reportPrivateUsage]
    group.close()
    for refused in (lambda: group.reinstate("a"), lambda: group.drain("a", within=1)):
        with pytest.raises(ClosedError, match="group 'g' was closed; use 'with' or open"):
            refused()
    group._here.way, group._here.closed = way, False  # pyright: ignore[reportPrivateUsage]  # a thread that came too late
    with pytest.raises(ClosedError, match="group 'g' was closed"):
        group.reinstate("a")
    assert group.status().reason == "not open"


def test_from_a_callback(echo: str, gate: Gate) -> None:
    """A function that is called back on the loop may take a child out, but not wait for it to be drained."""
    with pair(echo, gate.subscriber.socket) as group:
        told: list[object] = []

        def on_receipt(_: object) -> None:
            group.quarantine("a")
            with pytest.raises(UsageError, match="this thread runs its loop"):
                group.drain("a", within=1)
            told.append(True)

        group.submit(EVENT, on_receipt)
        while not told:
            group.deliver(EVENT)
        assert group.deliver(EVENT).attempts[0].sink == "b"
