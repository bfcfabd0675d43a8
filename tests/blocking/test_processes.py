"""The blocking face at the ends of processes: forks before and after opening, exits without closing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from tests.blocking.parts import Script

each_way = pytest.mark.parametrize("thread", [True, False])


@each_way
def test_fork_after_opening(script: Script, echo: str, thread: bool) -> None:  # noqa: FBT001
    """A facade that is open delivers in a forked child on connections of its own; the parent's are as they were."""
    printed = script(
        f"""
group = Group("billing", Failover(sockets[0]), observers=[lambda _: None]).blocking(thread={thread}, within=10)
assert group.deliver(EVENT).confirmed
def main():
    assert not group.is_open
    assert group.status().reason == "not open"
    assert group.deliver(EVENT).confirmed
    assert group.deliver_many([EVENT] * 10)[-1].confirmed
    print("child", flush=True)
    child(grandchild)
    assert group.deliver(EVENT).confirmed
def grandchild():
    with group:
        assert group.deliver(EVENT).confirmed
    print("grandchild", flush=True)
child(main)
assert group.is_open
assert group.deliver(EVENT).confirmed
assert group.status().outcomes == {{Outcome.CONFIRMED: 2}}, group.status()
child(main)
group.close()
print("parent")
""",
        echo,
    )
    assert printed.split() == ["child", "grandchild"] * 2 + ["parent"]


@each_way
def test_fork_before_opening(script: Script, echo: str, thread: bool) -> None:  # noqa: FBT001
    """A facade that was declared only, or closed, before the fork is just that in the child."""
    script(
        f"""
group = Group("billing", Failover(sockets[0])).blocking(thread={thread}, within=10)
closed = Group("closed", sockets[0]).blocking(thread={thread}, within=10)
with closed:
    assert closed.deliver(EVENT).confirmed
def main():
    with group:
        assert group.deliver(EVENT).confirmed
    try:
        closed.deliver(EVENT)
    except ClosedError:
        with closed:
            assert closed.deliver(EVENT).confirmed
child(main)
assert group.deliver(EVENT).confirmed
child(main)
""",
        echo,
    )


def test_fork_under_traffic(script: Script, echo: str) -> None:
    """Forked in the midst of the traffic of four threads, whatever these hold, each child delivers and ends."""
    script(
        """
group = Group("billing", Failover(sockets[0])).blocking(within=10)
busy = Group("busy", Failover(sockets[0])).blocking(within=10)
ended = threading.Event()
def work():
    while not ended.is_set():
        assert busy.deliver_many([EVENT] * 16)[-1].confirmed
        with Group("brief", sockets[0]).blocking(within=10) as brief:
            assert brief.deliver(EVENT).confirmed
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
def main():
    assert busy.deliver(EVENT).confirmed
    assert group.deliver(EVENT).confirmed
    assert shared("x", lambda: Group("x", sockets[0]), within=10).deliver(EVENT).confirmed
    busy.close()
for _ in range(10):
    child(main)
ended.set()
for thread in threads:
    thread.join()
busy.close()
""",
        echo,
    )


def test_fork_while_locks_are_held(script: Script, echo: str) -> None:
    """Forked while other threads hold every lock of ours, the child waits for none of them."""
    script(
        """
from failover.blocking.process import this_process
group = Group("billing", Failover(sockets[0])).blocking(within=10)
opening = Group("opening", sockets[0]).blocking(within=10)
alone = Group("alone", sockets[0]).blocking(within=10, thread=False)
assert group.deliver(EVENT).confirmed and alone.deliver(EVENT).confirmed
held, ended = threading.Event(), threading.Event()
def hold():
    with this_process().lock, group._here.lock, opening._here.lock, alone._here.lock, alone._here.way._lock:
        held.set()
        ended.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
def main():
    for one in (group, opening, alone):
        assert one.deliver(EVENT).confirmed
        one.close()
    assert shared("x", lambda: Group("x", sockets[0]), within=10).deliver(EVENT).confirmed
child(main)
ended.set()
thread.join()
assert group.deliver(EVENT).confirmed
""",
        echo,
    )


@each_way
def test_fork_without_python(script: Script, echo: str, thread: bool) -> None:  # noqa: FBT001
    """A program that embeds Python forks without telling it: the child has its own loop and connections even so."""
    printed = script(
        f"""
import ctypes
group = Group("billing", Failover(sockets[0])).blocking(thread={thread}, within=10)
assert group.deliver(EVENT).confirmed
sys.stdout.flush()
pid = ctypes.PyDLL(None).fork()
if not pid:
    assert not group.is_open
    assert group.deliver(EVENT).confirmed
    print("child", flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0, "the child failed"
assert group.is_open and group.deliver(EVENT).confirmed
print("parent")
""",
        echo,
    )
    assert printed.split() == ["child", "parent"]


def test_fork_touches_nothing_of_the_parent(script: Script, echo: str) -> None:
    """Where a parent's loop is finalized in its child, that changes nothing: it is still woken by other threads."""
    script(
        """
import asyncio, gc
from failover.blocking import facade
group = Group("billing", Failover(sockets[0])).blocking(thread=False, within=10)
assert group.deliver(EVENT).confirmed
def main():
    assert group.deliver(EVENT).confirmed
    facade._INHERITED.clear()   # as at the end of an interpreter
    gc.collect()
child(main)
loop = group._here.way._loop
async def woken():   # what resolving a name in a thread needs; in the second turn the loop waits for nothing else
    future, began = loop.create_future(), loop.time()
    threading.Timer(0.01, loop.call_soon_threadsafe, [future.set_result, None]).start()
    await asyncio.wait_for(future, 2)
    return loop.time() - began
assert loop.run_until_complete(woken()) < 1, "the parent's loop is deaf"
assert group.deliver(EVENT).confirmed
""",
        echo,
    )


@pytest.mark.parametrize("state", ["idle", "down", "in flight", "unknown name"])
@each_way
def test_exit_without_closing(
    script: Script,
    echo: str,
    silent: Callable[[], str],
    state: str,
    thread: bool,  # noqa: FBT001
) -> None:
    """A process whose facade was never closed exits at once and without a word, whatever is going on."""
    with socket.create_server(("127.0.0.1", 0)) as refusing:
        down = f"jsonrpc:127.0.0.1:{refusing.getsockname()[1]}"
    sockets = {"idle": echo, "down": down, "in flight": silent(), "unknown name": "jsonrpc:name.invalid:9"}
    began = time.monotonic()
    printed = script(
        f"""
group = Group("billing", Failover(sockets[0])).blocking(thread={thread}, within=0.05)
group.deliver(EVENT)
if {thread}:
    group.submit(EVENT, lambda _: None, within=60)
print("end")
""",
        sockets[state],
    )
    assert printed == "end\n"
    assert time.monotonic() - began < 5


def test_installs_nothing(script: Script, echo: str) -> None:
    """Signals, exit functions and the executable's name are as they were."""
    script(
        """
import atexit, logging, concurrent.futures.thread   # these have exit functions of their own
def seen():
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    return signals, atexit._ncallbacks(), signal.set_wakeup_fd(-1)
sys.executable = None
before = seen()
for thread in (True, False):
    group = Group("billing", Failover(sockets[0])).blocking(thread=thread, within=10)
    assert group.deliver(EVENT).confirmed
    assert seen() == before
    group.close()
    assert seen() == before
""",
        echo,
    )


def test_on_uvloop(script: Script, echo: str) -> None:
    """The shared thread runs the loop that the process's policy makes, and keeps deadlines by that loop's clock."""
    pytest.importorskip("uvloop")
    script(
        """
import time, uvloop
uvloop.install()
with Group("billing", Failover(*sockets)).blocking(within=10) as group:
    assert type(group._here.way._loop).__module__ == "uvloop"
    time.sleep(0.06)   # its clock stands still meanwhile
    assert group.deliver(EVENT, within=0.05).confirmed
    assert group.deliver_many([EVENT] * 10)[-1].confirmed
    child(lambda: group.deliver(EVENT).confirmed or sys.exit(1))
    assert group.deliver(EVENT).confirmed
""",
        echo,
    )
