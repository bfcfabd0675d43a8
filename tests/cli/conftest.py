"""How these tests run the command line: as users do, in a process of its own; and who answers it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, Any

import pytest

from failover.subscriber import Request, RpcError, Subscriber

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]


def environment(given: dict[str, str]) -> dict[str, str]:
    """The environment of a command: no colours, and as wide as it takes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORCE_COLOR", "_FAILOVER"))}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", **given}


@pytest.fixture
def command() -> Run:
    """Runs `failover` with these words, and waits for it."""

    def run(*words: str | bytes, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "failover.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment(environ),
        )

    return run


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Runs `failover` with these words while the test goes on; it has ended when the test has."""
    with ExitStack() as stack:

        def run(
            *words: str, stdout: int | IO[str] = subprocess.PIPE, stderr: int = subprocess.PIPE, **environ: str
        ) -> subprocess.Popen[str]:
            running = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "failover.cli", *words],
                    stdout=stdout,
                    stderr=stderr,
                    text=True,
                    env=environment(environ),
                )
            )
            stack.callback(running.kill)
            return running

        yield run


class Answering:
    """A subscriber that confirms, or refuses the methods whose name is a number with that code; it knows what came."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.socket = subscriber.socket
        self.received: list[tuple[str, Any]] = []


@pytest.fixture
def subscriber() -> Iterator[Answering]:
    """A real subscriber on a thread of its own."""
    server = Subscriber()
    with server.blocking():
        answering = Answering(server)

        @server.default(whole=True)
        def received(request: Request) -> Any:  # pyright: ignore[reportUnusedFunction]
            answering.received.append((request.method, request.params))
            if request.method.lstrip("-").isdigit():
                raise RpcError(int(request.method), "as \x1b[31masked")

        yield answering


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a socket that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"jsonrpc:127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def refused() -> Iterator[str]:
    """The address of a port that is taken, and that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"jsonrpc:127.0.0.1:{bound.getsockname()[1]}"
