"""The C programs compiled, and every process on the core it belongs to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "BUILD",
    "CLIENT",
    "HERE",
    "ROOT",
    "SUBSCRIBER",
    "BenchmarkError",
    "Subscriber",
    "build",
    "client_core",
    "measure",
    "pinned",
    "subscriber_core",
    "why_not",
]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = HERE / "_build"
CLIENT = BUILD / "client"
SUBSCRIBER = BUILD / "subscriber"

_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


class BenchmarkError(Exception):
    """A benchmark could not be run, or its contender broke off."""


def why_not() -> str | None:
    """The reason why no benchmark can run here, None if one can."""
    if not sys.platform.startswith("linux"):
        return f"the benchmarks need Linux (epoll, timerfd), this is {sys.platform}"
    if shutil.which("cc") is None:
        return "the benchmarks need a C compiler named cc, and there is none on PATH"
    return None


def build() -> None:
    """Compile the C programs where they are missing or older than their source.

    Raises:
        BenchmarkError: there is no compiler, or it refused; its words are in the error.
    """
    if reason := why_not():
        raise BenchmarkError(reason)
    BUILD.mkdir(exist_ok=True)
    shared = HERE / "frames.h"
    for program in (CLIENT, SUBSCRIBER):
        source = HERE / f"{program.name}.c"
        newest = max(source.stat().st_mtime, shared.stat().st_mtime)
        if program.exists() and program.stat().st_mtime > newest:
            continue
        fresh = program.with_suffix(f".{os.getpid()}")
        compiled = subprocess.run(
            ["cc", *_FLAGS, "-o", fresh, source],  # noqa: S607 - the compiler of this machine is what is asked for
            capture_output=True,
            text=True,
            check=False,
        )
        if compiled.returncode:
            raise BenchmarkError(f"cc refused {source.name}:\n{compiled.stderr}")
        fresh.replace(program)  # so that two runs at once never start half a program


def client_core() -> int:
    """The core of whoever is measured."""
    return min(os.sched_getaffinity(0))


def subscriber_core() -> int:
    """The core of the subscribers: another one if there is another."""
    return max(os.sched_getaffinity(0))


@contextmanager
def pinned(core: int) -> Generator[None]:
    """Pin this thread, and so what it starts meanwhile, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Subscriber:
    """A running C subscriber; it ends with the ``with`` block, and with this process whatever happens to it.

    Args:
        options: What the program is told, see ``_build/subscriber --help``.
    """

    def __init__(self, *options: str) -> None:
        with pinned(subscriber_core()):
            self._process = subprocess.Popen(
                [SUBSCRIBER, "0", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        if self._process.stdout is None:
            raise AssertionError
        self._output = self._process.stdout
        self.pid = self._process.pid
        port = self._output.readline()
        if not port:
            self.__exit__(None, None, None)
            raise BenchmarkError(f"no subscriber: it ended with status {self._process.returncode}")
        self.port = int(port)

    def wait_reset(self) -> int:
        """Wait for the next reset of all connections.

        Returns:
            When it began, in nanoseconds of CLOCK_MONOTONIC (``time.perf_counter_ns`` on Linux).

        Raises:
            BenchmarkError: the subscriber ended without one.
        """
        line = self._output.readline()
        if not line.startswith("reset "):
            raise BenchmarkError(f"the subscriber was to reset its connections, it said {line!r}")
        return int(line.removeprefix("reset "))

    def finish(self) -> dict[str, int]:
        """End the subscriber.

        Returns:
            Its counters: connections, requests, notifications, replied, resets.

        Raises:
            BenchmarkError: it had ended by itself.
        """
        output, _ = self._process.communicate(timeout=10)
        if self._process.returncode:
            raise BenchmarkError(f"the subscriber ended with status {self._process.returncode}")
        counters: dict[str, int] = json.loads(output.splitlines()[-1])
        return counters

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()


def measure(command: Sequence[str], *, timeout: float, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run one contender on the client's core and read the JSON it prints last.

    Args:
        command: Program and arguments, run at the top of the repository.
        timeout: Seconds until it is killed.
        environment: Added to this process's.

    Returns:
        The contender's own figures.

    Raises:
        BenchmarkError: it failed, took too long or printed no JSON.
    """
    with pinned(client_core()):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{' '.join(command)}: still running after {timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()
    try:
        figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        figures = {}
    if process.returncode or not figures:
        said = (errors or output).strip()[-2000:]
        raise BenchmarkError(f"{' '.join(command)}: status {process.returncode}: {said}")
    return figures
