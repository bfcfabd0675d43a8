"""How fast the simulation is, for the report: deliveries per second of one core, and times real time with faults."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.benchmarks.race import Result, Settings
from tests.benchmarks.simulation import delivering, with_faults
from tests.benchmarks.tables import aligned

__all__ = ["CASES", "Case", "Simulated", "main"]

ROOT: Final = Path(__file__).parents[2]


@frozen
class Case:
    """One row.

    Args:
        name: As in the table.
        rate: Events per second; 0 for as many as there can be, without faults.
        window: Deliveries at a time, without a rate.
        measure: `per_second` of one core, or `times_real`.
        goal: What the measure is to reach.
    """

    name: str
    rate: int
    window: int
    measure: str
    goal: float


CASES: Final = (
    Case("deliveries, one at a time", 0, 1, "per_second", 20_000),
    Case("deliveries, 64 at a time", 0, 64, "per_second", 20_000),
    Case("three subscribers, 10 events/s, with faults", 10, 0, "times_real", 1000),
    Case("three subscribers, 100 events/s, with faults", 100, 0, "times_real", 200),
)


@frozen
class Simulated:
    """The section; each figure is the best of its rounds, since nothing but other load can make one slower."""

    name: str = "simulation"
    title: str = "The simulation: deliveries per second of one core, and how many times faster than real time"

    def run(self, settings: Settings) -> Result:
        """Measure each case in processes of its own."""
        result = Result()
        rows: list[list[str]] = []
        for case in CASES:
            settings.say(f"{self.name}: {case.name}")
            found = [_measure(case, settings.seconds) for _ in range(min(3, settings.rounds))]
            best = {measure: max(one[measure] for one in found) for measure in ("per_second", "times_real")}
            result.figures[case.name] = {"best": best, "rounds": found, "median": _median(found, case.measure)}
            rows.append([case.name, f"{best['per_second']:,.0f}", f"{best['times_real']:,.0f}", f">= {case.goal:,.0f}"])
            if best[case.measure] < case.goal:
                result.missed.append(f"{self.name}: {case.name}: {best[case.measure]:,.0f}, not {case.goal:,.0f}")
        result.table.extend(aligned(["", "deliveries/s", "x real time", "goal"], rows))
        return result


def _median(found: list[dict[str, float]], measure: str) -> float:
    return statistics.median(one[measure] for one in found)


def _measure(case: Case, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.simulated", str(CASES.index(case)), str(seconds)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    measured: dict[str, float] = json.loads(run.stdout)
    return measured


def main() -> None:
    """Measure one case and print its figures; the processor's time counts, not the clock's."""
    case, seconds = CASES[int(sys.argv[1])], float(sys.argv[2])
    if case.rate:
        simulated_seconds = seconds * case.goal
        count = simulated_seconds * case.rate
        simulated, program = with_faults(simulated_seconds, case.rate)
    else:
        count = case.window * max(1, int(seconds * case.goal) // case.window)
        simulated, program = delivering(int(count), case.window)
    began = time.process_time()
    simulated.run(program)
    used = time.process_time() - began
    print(json.dumps({"per_second": count / used, "times_real": simulated.loop.now / used}))


if __name__ == "__main__":
    main()
