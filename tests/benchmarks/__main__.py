"""``python -m tests.benchmarks``: run the benchmarks, print their tables, write every figure as JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
import timeit
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import HERE, ROOT, BenchmarkError, build, client_core, subscriber_core
from tests.benchmarks.race import Race, Result, Settings
from tests.benchmarks.sections import SECTIONS

__all__ = ["main"]

_DISTRIBUTIONS = ("failover", "attrs", "msgspec", "tenacity", "uvloop")


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for.

    Args:
        arguments: Without the program's name; the command line's if None.

    Returns:
        The exit status: 0 all ran (a missed goal is reported, no failure), 1 something broke off, 2 nothing could run.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of 0.2 s: a look, not a measurement")
    parser.add_argument("--rounds", type=int, default=None, help="interleaved rounds of each race (default 5)")
    parser.add_argument("--seconds", type=float, default=None, help="length of one run (default 1)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a section or a contender; repeatable"
    )
    parser.add_argument("--json", type=Path, default=HERE / "results" / "latest.json", metavar="FILE")
    parser.add_argument("--list", action="store_true", help="name the sections and stop")
    options = parser.parse_args(arguments)
    if options.list:
        for section in SECTIONS:
            print(f"{section.name:16}{section.title}")
        return 0
    settings = Settings(
        rounds=options.rounds or (2 if options.quick else 5),
        seconds=options.seconds or (0.2 if options.quick else 1.0),
        only=frozenset(options.only),
        say=lambda line: print(line, file=sys.stderr),
    )
    try:
        build()
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2

    report: dict[str, Any] = {
        "machine": _machine(),
        "settings": {"rounds": settings.rounds, "seconds": settings.seconds},
    }
    report["sections"] = {}
    missed: list[str] = []
    failures: list[str] = []
    began = time.monotonic()
    for section in SECTIONS:
        if not isinstance(section, Race) and settings.only and section.name not in settings.only:
            continue
        try:
            result = section.run(settings)
        except BenchmarkError as error:
            failures.append(f"{section.name}: {error}")
            continue
        if not result.figures:  # nothing of this section was asked for
            continue
        _show(section.title, result)
        report["sections"][section.name] = {"title": section.title, "figures": result.figures, "missed": result.missed}
        missed += result.missed
        failures += result.failures
    if not report["sections"] and not failures:
        print(f"nothing is named {', '.join(options.only)}; --list names the sections", file=sys.stderr)
        return 2
    report["took_seconds"] = round(time.monotonic() - began, 1)
    report["load_at_end"] = os.getloadavg()
    report["failures"] = failures
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    for line in (*missed, *failures):
        print(line)
    print(f"\nEvery figure: {options.json}")
    return 1 if failures else 0


def _show(title: str, result: Result) -> None:
    print(f"\n{title}\n")
    print("\n".join(result.table), flush=True)


def _machine() -> dict[str, Any]:
    return {
        "when": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "client_core": client_core(),
        "subscriber_core": subscriber_core(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "plain_loop_ns": _plain_loop(),
        "compiler": _first_line("cc", "--version"),
        "commit": _first_line("git", "rev-parse", "HEAD"),
        "versions": {name: _version(name) for name in _DISTRIBUTIONS},
        "load_at_begin": os.getloadavg(),
    }


def _plain_loop() -> float:
    """Nanoseconds of one turn of a plain loop: a build without optimisations takes twice as long as one with them."""
    return round(min(timeit.repeat("sum(i * i for i in range(1000))", number=100, repeat=5)) * 1e9 / 100 / 1000, 1)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*command: str) -> str | None:
    try:
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.partition("\n")[0]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
