"""The rows of the simulation in the benchmarks: they run, and say what was measured against their goals."""

from __future__ import annotations

import pytest

from tests.benchmarks.race import Settings
from tests.benchmarks.sections import SECTIONS
from tests.benchmarks.simulated import CASES, Simulated


@pytest.mark.slow
def test_the_section() -> None:
    """Each case is measured in a process of its own; a goal that is not kept is said so."""
    said: list[str] = []
    section = next(section for section in SECTIONS if section.name == "simulation")
    assert isinstance(section, Simulated)
    result = section.run(Settings(rounds=1, seconds=0.02, say=said.append))
    assert result.failures == []
    assert set(result.figures) == {case.name for case in CASES}
    assert len(said) == len(CASES)
    assert len(result.table) == len(CASES) + 2
    for case in CASES:
        best = result.figures[case.name]["best"][case.measure]
        assert best > 0
        assert any(case.name in line for line in result.missed) == (best < case.goal)
