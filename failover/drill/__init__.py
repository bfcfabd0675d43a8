"""Drills: a group, load, a timeline of faults and checks in one file; run it, and get a verdict with its evidence."""

from __future__ import annotations

from failover.drill.plan import Drill, load_drill, parse_drill
from failover.drill.result import Result
from failover.drill.run import run_drill
from failover.drill.shipped import shipped, shipped_drill

__all__ = ["Drill", "Result", "load_drill", "parse_drill", "run_drill", "shipped", "shipped_drill"]
