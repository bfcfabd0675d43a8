"""A simulation of programs that use asyncio: virtual time, an in-memory network, faults by verb, all from one seed."""

from __future__ import annotations

from failover.sim.errors import DeadlockError, SimulationError
from failover.sim.faults import Fault
from failover.sim.hosts import Host
from failover.sim.links import Latency, Link, log_normal, uniform
from failover.sim.loop import SimulatedLoop
from failover.sim.network import Network
from failover.sim.records import Observer, Record
from failover.sim.rules import DROP, HOLD, PASS, RESET, Deliver, Fate, Kind, Packet, Rule, Verdict
from failover.sim.simulation import SEED_VARIABLE, Simulation, current, simulate

__all__ = [
    "DROP",
    "HOLD",
    "PASS",
    "RESET",
    "SEED_VARIABLE",
    "DeadlockError",
    "Deliver",
    "Fate",
    "Fault",
    "Host",
    "Kind",
    "Latency",
    "Link",
    "Network",
    "Observer",
    "Packet",
    "Record",
    "Rule",
    "SimulatedLoop",
    "Simulation",
    "SimulationError",
    "Verdict",
    "current",
    "log_normal",
    "simulate",
    "uniform",
]
