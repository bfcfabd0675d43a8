"""Subscribers on real sockets, and Python processes of their own, for the tests of the blocking face."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from failover.subscriber import Subscriber
from tests.blocking.parts import Gate, Script

LIMIT = 30.0  # seconds, for what would otherwise hang; nothing takes a tenth of it

_OPENING = """
import os, signal, sys, threading
from failover import *
from failover.strategies import *
sockets = sys.argv[1:]
EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})
def child(main):
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0, "the child failed"
        return
    main()
    sys.exit(0)
"""


@pytest.fixture
def echo() -> Iterator[str]:
    """The socket of a subscriber that confirms everything with its params."""
    subscriber = Subscriber()

    @subscriber.default
    def answer(_: str, params: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        return params

    with subscriber.blocking():
        yield subscriber.socket


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A subscriber that answers when it is told to."""
    gate = Gate()
    with gate.subscriber.blocking():
        yield gate


@pytest.fixture
def silent() -> Iterator[Callable[[], str]]:
    """Makes sockets that take everything and answer nothing."""
    servers: list[socket.socket] = []

    def make() -> str:
        servers.append(socket.create_server(("127.0.0.1", 0), backlog=128))
        return f"jsonrpc:127.0.0.1:{servers[-1].getsockname()[1]}"

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script in a Python of its own, to its orderly exit; returns what it printed, and refuses any complaint."""

    def run(text: str, *sockets: str) -> str:
        file = tmp_path / "script.py"
        file.write_text(_OPENING + text, encoding="utf-8")
        command = [sys.executable, "-W", "ignore", file, *sockets]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread not in before and thread.name == "failover"] == []
