"""The blocking face without a thread: the caller's own drives the loop during its calls, on real sockets."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from failover import BlockingGroup, ClosedError, Event, Group, Outcome, Receipt, UsageError, jsonrpc
from failover.blocking.calls import GRACE
from failover.strategies import Failover
from tests.blocking.parts import Broken, Gate, Script, Stubborn

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})
LONG = 20.0  # seconds: a deadline that no test waits for


def opened(sink: Any, **settings: Any) -> BlockingGroup:
    """A facade without a thread."""
    return Group("billing", sink, **settings).blocking(thread=False)


def deliver_for_ever(group: BlockingGroup) -> None:
    """Deliver until something comes between."""
    while True:
        assert group.deliver(EVENT).confirmed


def test_deliver(echo: str) -> None:
    """A call delivers, without any thread before, during or after it."""
    threads = threading.enumerate()
    during: list[list[threading.Thread]] = []

    def look(_: object) -> None:
        during.append(threading.enumerate())

    with opened(Failover(echo), observers=[look]) as group:
        assert group.deliver(EVENT).confirmed
        assert [receipt.confirmed for receipt in group.deliver_many([EVENT] * 100)] == [True] * 100
        assert group.status().up
        assert threading.enumerate() == threads
    assert during
    assert all(seen == threads for seen in during)
    assert not group.is_open
    assert group.status().reason == "not open"
    with pytest.raises(ClosedError):
        group.deliver(EVENT)
    with group:
        assert group.deliver(EVENT).confirmed


def test_refused_inside_a_loop(echo: str) -> None:
    """Where a loop runs, every call says clearly that it can't drive another one."""
    group = opened(echo)
    inside = opened(echo)

    async def main() -> None:
        calls: list[Callable[[], object]] = [
            inside.open,
            lambda: group.deliver(EVENT),
            lambda: group.deliver_many([EVENT]),
            group.status,
            group.close,
        ]
        for call in calls:
            with pytest.raises(UsageError, match="'billing': this thread runs an event loop already"):
                call()

    with group:
        asyncio.run(main())
        assert group.deliver(EVENT).confirmed
    assert not inside.is_open


def test_no_submit(echo: str) -> None:
    """Nothing runs between the calls, so nothing could call back: `submit` says so."""
    with opened(echo) as group:
        with pytest.raises(UsageError, match=r"'billing': submit\(\) needs a thread"):
            group.submit(EVENT, print)
        assert group.deliver(EVENT).confirmed


@pytest.mark.parametrize("reset", [False, True])
def test_closed_meanwhile(reset: bool) -> None:  # noqa: FBT001  # pytest's parameter
    """A connection that was closed or reset between two calls costs nothing: the event is sent once, on a new one."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        port = server.getsockname()[1]
        received: list[bytes] = []

        def answer_one() -> None:
            connection, _ = server.accept()
            with connection:
                received.append(connection.recv(65536))
                number = received[-1].split(b",")[0].removeprefix(b'{"id":')
                connection.sendall(b'{"jsonrpc":"2.0","result":"OK","id":' + number + b"}")
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with opened(f"jsonrpc:127.0.0.1:{port}") as group:
            for turn in range(3):
                answering = thread.submit(answer_one)
                receipt = group.deliver(EVENT, within=LONG)
                answering.result(LONG)
                assert receipt.confirmed, receipt.explain()
                assert len(receipt.attempts) == 1
                assert len(received) == turn + 1


def test_every_other_thread_stopped(script: Script) -> None:
    """With every other thread stopped between the calls, and the subscriber restarted in between, all is confirmed."""
    printed = script(
        """
import ctypes, subprocess
from failover.subscriber import Subscriber
hold = ctypes.PyDLL(None).usleep   # keeps the interpreter's lock: no other thread of Python runs
server = '''
import sys
from failover.subscriber import Subscriber
subscriber = Subscriber(port=int(sys.argv[1]))
subscriber.default(lambda method, params: "OK")
with subscriber.blocking():
    print(subscriber.address[1], flush=True)
    sys.stdin.read()
'''
def start(port):
    process = subprocess.Popen([sys.executable, "-c", server, str(port)], stdin=-1, stdout=-1, text=True)
    return process, int(process.stdout.readline())
def stop(process):
    process.kill()
    process.communicate()
process, port = start(0)
ticks = []
ended = threading.Event()
def tick():
    while not ended.wait(0.001):
        ticks.append(1)
ticker = threading.Thread(target=tick, daemon=True)
ticker.start()
stopped = 0
with Group("billing", Failover(f"jsonrpc:127.0.0.1:{port}")).blocking(thread=False) as group:
    for turn in range(10):
        if turn == 5:
            stop(process)
            process, port = start(port)
        receipt = group.deliver(EVENT, within=10)
        assert receipt.confirmed and len(receipt.attempts) == 1, receipt.explain()
        before = len(ticks)
        hold(10_000)
        stopped += len(ticks) <= before + 1   # one may come just before or after
assert stopped > 5, stopped
ended.set()
ticker.join()
stop(process)
print("done")
"""
    )
    assert printed == "done\n"


def test_total_deadline(silent: Callable[[], str]) -> None:
    """A call waits no longer than its deadline; threads that find the loop in use wait no longer than theirs."""

    def timed(within: float) -> tuple[Receipt, float]:
        began = time.monotonic()
        return group.deliver(EVENT, within=within), time.monotonic() - began

    with opened(Failover(silent(), silent())) as group, ThreadPoolExecutor(8) as threads:
        ends = list(threads.map(timed, [0.2] * 4 + [0.02] * 4))
    assert all(seconds < 0.2 + GRACE for _, seconds in ends[:4])
    assert all(seconds < 0.02 + GRACE for _, seconds in ends[4:])
    assert not any(receipt.confirmed for receipt, _ in ends)
    assert "another thread used the loop until the deadline" in {receipt.reason for receipt, _ in ends[4:]}


def test_many_threads(echo: str) -> None:
    """Threads take turns, and each gets the receipts of its own events."""

    def work(number: int) -> None:
        for turn in range(10):
            event = Event("E", {"thread": number, "turn": turn})
            assert group.deliver(event, within=LONG).attempts[0].result == event.params
            assert group.status().up

    with opened(echo) as group, ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))


def test_status_in_use(gate: Gate) -> None:
    """While another thread is in a call for all of the deadline, `status` says that it can't tell."""
    group = Group("billing", gate.subscriber.socket).blocking(thread=False, within=0.02)
    with group, ThreadPoolExecutor(1) as thread:
        call = thread.submit(group.deliver, EVENT, within=LONG)
        gate.arrived.get(timeout=LONG)
        with pytest.raises(TimeoutError, match="another thread used the loop"):
            group.status()
        gate.open()
        assert call.result(LONG).confirmed


def test_close_while_calls_wait(gate: Gate) -> None:
    """Closing waits for the call that is under way; one that waits behind it is skipped, and says why."""
    with opened(gate.subscriber.socket) as group, ThreadPoolExecutor(3) as threads:
        way = group._way()
        first = threads.submit(group.deliver, EVENT, within=LONG)
        gate.arrived.get(timeout=LONG)
        closing = threads.submit(group.close)
        gate.open()
        closing.result(LONG)
        assert first.result(LONG).confirmed
        assert not group.is_open
        group._here.way, group._here.closed = way, False  # as a thread sees it that waited for its turn
        receipt = group.deliver(EVENT)
        assert (receipt.outcome, receipt.reason) == (Outcome.SKIPPED, "the group was closed")
        assert group.status().reason == "not open"


def test_interrupted_caller(gate: Gate) -> None:
    """After a KeyboardInterrupt in a call the next one begins on a new loop, with new connections."""
    main = threading.get_ident()

    def interrupt() -> None:
        gate.arrived.get(timeout=LONG)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    with Group("billing", Failover(gate.subscriber.socket)).blocking(thread=False, within=LONG) as group:
        assert group.deliver(Event("E_FAST")).confirmed
        gate.arrived.get(timeout=LONG)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            group.deliver(EVENT)
        interrupter.join()
        assert group.deliver(Event("E_FAST")).confirmed
        assert gate.subscriber.status().accepted == 2


def test_interrupted_anywhere(echo: str) -> None:
    """An interrupt that comes in the midst of whatever the loop does leaves a facade that delivers."""
    rng = Random(0)

    def interrupt(_: object) -> None:
        if rng.random() < 0.3:
            signal.raise_signal(signal.SIGINT)

    with opened(Failover(echo), observers=[interrupt]) as group:
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                deliver_for_ever(group)


def test_interrupted_opening(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt while the group opens leaves it closed; the next call opens it."""
    declared = Group("billing", echo)
    opening = declared.open

    async def interrupted() -> None:
        await opening()
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(declared, "open", interrupted)
    group = declared.blocking(thread=False, within=LONG)
    with pytest.raises(KeyboardInterrupt):
        group.open()
    assert not group.is_open
    monkeypatch.undo()
    with group:
        assert group.deliver(EVENT).confirmed


def test_sinks_against_the_rules() -> None:
    """What a sink raises reaches the caller; one that keeps no deadline is cut off."""
    with opened(Broken()) as group:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="E_ACC_CDR"):
                group.deliver(EVENT)
    with opened(Stubborn()) as group:
        receipt = group.deliver(EVENT, within=0.01)
    assert (receipt.outcome, receipt.reason) == (Outcome.ABANDONED, "a sink did not keep the deadline")
    assert receipt.maybe_processed


def test_open_elsewhere(echo: str) -> None:
    """A group that is open on the shared thread isn't opened a second time, and not closed by the attempt."""
    declared = Group("billing", jsonrpc(echo))
    with declared.blocking() as group:
        with pytest.raises(UsageError, match="open already"):
            declared.blocking(thread=False).open()
        assert group.deliver(EVENT).confirmed


def test_finalized_after_the_modules(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A facade that the interpreter finalizes at its very end, when modules are gone already, says nothing."""
    facade = Group("billing", Failover(echo)).blocking(thread=False, within=10)
    assert facade.deliver(EVENT).confirmed
    facade.close()
    monkeypatch.setattr("failover.blocking.own_loop.os", None)
    del facade
    gc.collect()  # what goes wrong in a finalizer is a warning, and those are errors here
