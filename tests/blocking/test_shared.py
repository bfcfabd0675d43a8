"""`shared`: one open group per name and process."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from failover import BlockingGroup, ConfigError, Event, Group, shared
from failover.blocking.process import this_process
from tests.blocking.parts import Script

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """What a test has shared is closed after it."""
    yield
    names = this_process().names
    for facade in names.values():
        assert isinstance(facade, BlockingGroup)
        facade.close()
    names.clear()


def test_same_group(echo: str) -> None:
    """The first call declares and opens; the others get the same facade, and declare nothing."""
    declared: list[Group] = []

    def declare() -> Group:
        declared.append(Group("billing", echo))
        return declared[-1]

    first = shared("billing", declare)
    assert first.is_open
    assert (first.within, first.thread) == (0.5, True)
    assert shared("billing", declare) is first
    assert shared("billing", declare, within=0.5, thread=True) is first
    assert shared("other", declare) is not first
    assert len(declared) == 2
    assert first.deliver(EVENT).confirmed


def test_declared_anew_when_closed(echo: str) -> None:
    """After it was closed, the next call declares and opens another one, with what that call asks for."""
    first = shared("billing", lambda: Group("billing", echo))
    first.close()
    second = shared("billing", lambda: Group("billing", echo), within=2, thread=False)
    assert second is not first
    assert (second.within, second.thread) == (2.0, False)
    assert second.deliver(EVENT).confirmed


def test_conflicts(echo: str) -> None:
    """Who asks for an open group with other settings is told, and so is who declares no group."""
    facade = shared("billing", lambda: Group("billing", echo), within=1)
    with pytest.raises(ConfigError, match=r"'billing' is shared and open with within=1.0, not 0.5; ask for the same"):
        shared("billing", lambda: Group("billing", echo), within=0.5)
    with pytest.raises(ConfigError, match="open with thread=True, not False"):
        shared("billing", lambda: Group("billing", echo), thread=False)
    assert shared("billing", lambda: Group("billing", echo)) is facade
    with pytest.raises(ConfigError, match="must return the Group to share as 'none', not None"):
        shared("none", lambda: None)  # type: ignore[arg-type,return-value]  # that is the point
    with pytest.raises(
        ConfigError, match="declare must be a function that returns the Group to share as 'none', not <G"
    ):
        shared("none", Group("billing", echo))  # type: ignore[arg-type]  # that is the point


def test_failing_declaration(echo: str) -> None:
    """A declaration that fails shares nothing: the next one can do better."""
    with pytest.raises(ConfigError):
        shared("billing", lambda: Group("", echo))
    assert shared("billing", lambda: Group("billing", echo)).deliver(EVENT).confirmed


def test_many_threads(echo: str) -> None:
    """Of threads that ask at once one declares, and all get its group."""
    declared: list[Group] = []
    barrier = threading.Barrier(8)

    def declare() -> Group:
        declared.append(Group("billing", echo))
        return declared[-1]

    def ask(_: int) -> BlockingGroup:
        barrier.wait()
        return shared("billing", declare)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) == 1
    assert len(declared) == 1


def test_reload(echo: str, tmp_path: Path) -> None:
    """A module that is executed again, as a reloaded script is, has the same open group as before."""
    script = tmp_path / "routing.py"
    script.write_text(
        f"from failover import Group, shared\ngroup = shared('billing', lambda: Group('billing', {echo!r}))\n",
        encoding="utf-8",
    )
    spec = importlib.util.spec_from_file_location("routing", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    first = module.group
    spec.loader.exec_module(module)
    assert module.group is first
    assert first.deliver(EVENT).confirmed


def test_fork(script: Script, echo: str) -> None:
    """A child shares a group of its own, fresh; the parent's stays as it is. What it inherited works as well."""
    script(
        """
def declare():
    return Group("billing", Failover(sockets[0]))
group = shared("billing", declare, within=10)
assert group.deliver(EVENT).confirmed
def main():
    fresh = shared("billing", declare, within=10)
    assert fresh is not group and fresh is shared("billing", declare)
    assert fresh.deliver(EVENT).confirmed and group.deliver(EVENT).confirmed
child(main)
assert shared("billing", declare) is group
assert group.deliver(EVENT).confirmed
""",
        echo,
    )
