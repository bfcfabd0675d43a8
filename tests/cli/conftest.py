"""How these tests run the command line: as users do, in a process, and inside this one where that shows the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment() -> dict[str, str]:
    """The environment of a command: as wide as a terminal, without colours, no terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORCE_COLOR", "_FAILOVER"))}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}


@pytest.fixture
def command() -> Run:
    """Runs `failover` with these words in a process of its own, and waits for it."""

    def run(*words: str | bytes, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "failover.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**environment(), **environ},
        )

    return run
