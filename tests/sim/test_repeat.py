"""One seed, one history: in this process, in others, with other hash seeds, and on the other Pythons that are there."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("history.py")
PYTHONS_VARIABLE = "FAILOVER_PYTHONS"
"""More interpreters to try, with the dependencies installed; paths, separated as in PATH."""


@pytest.fixture(scope="module")
def history() -> Callable[[int], list[str]]:
    """The script's function."""
    spec = importlib.util.spec_from_file_location("simulated_history", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[int], list[str]] = module.history
    return function


def digest(lines: list[str]) -> str:
    """A history in short."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def elsewhere(seed: int, python: str = sys.executable, hash_seed: str = "random") -> str:
    """The digest of the history as another process prints it."""
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SCRIPT.parents[2])}
    run = subprocess.run([python, str(SCRIPT), str(seed)], env=environment, capture_output=True, text=True, check=True)
    return digest(run.stdout.rstrip("\n").split("\n"))


def test_the_history_is_worth_comparing(history: Callable[[int], list[str]]) -> None:
    """The program that is compared meets every kind of fault and outcome, and another seed gives another history."""
    histories = [history(seed) for seed in range(1, 5)]
    text = "\n".join(line for lines in histories for line in lines)
    for fault in (
        "refuse",
        "black-hole",
        "partition-one-way",
        "hold",
        "loss",
        "latency",
        "bandwidth",
        "reset",
        "half-open",
    ):
        assert f"network fault {fault}" in text
    for fate in ("dropped", "held", "reset", "arrived", "crash silent", "crash reset", "restart"):
        assert f" {fate} " in text
    for outcome in ("confirmed", "rejected", "unreachable", "unconfirmed", "skipped"):
        assert f" {outcome}" in text
    assert len(set(map(digest, histories))) == len(histories)


def test_the_same_in_one_process(history: Callable[[int], list[str]]) -> None:
    """Two runs in one process, with other objects at other addresses, give the same bytes."""
    first = history(7)
    ballast = [object() for _ in range(10_000)]
    assert history(7) == first
    del ballast


@pytest.mark.slow
def test_the_same_with_every_hash_seed(history: Callable[[int], list[str]]) -> None:
    """Other processes with other hash seeds give the same bytes as this one."""
    here = digest(history(7))
    assert {elsewhere(7, hash_seed=seed) for seed in ("0", "1", "random")} == {here}


def others() -> list[str]:
    """The other Pythons that have what the package needs."""
    names = [f"python3.{minor}" for minor in range(11, 16)]
    found = [shutil.which(name) for name in names] + os.environ.get(PYTHONS_VARIABLE, "").split(os.pathsep)
    usable: dict[str, None] = {}
    for python in found:
        if not python or Path(python).resolve() == Path(sys.executable).resolve():
            continue
        probe = "import sys, attrs, msgspec, tenacity; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0:
            usable[python] = None
    return list(usable)


def test_the_same_on_every_python(history: Callable[[int], list[str]]) -> None:
    """Every other supported Python that is installed gives the same bytes."""
    pythons = others()
    if not pythons:
        pytest.skip(f"no other Python with the dependencies; name some in {PYTHONS_VARIABLE}")
    here = digest(history(7))
    assert {python: elsewhere(7, python) for python in pythons} == dict.fromkeys(pythons, here)
