"""A simulation of programs that use asyncio: virtual time, an in-memory network, faults by verb, all from one seed.

```python
simulation = Simulation(seed=7, latency=log_normal(0.002))
app1 = simulation.network.host("app1", start=serve)         # serve: a coroutine function; runs again at each restart

async def main():
    reader, writer = await asyncio.open_connection("app1", 8080)
    with simulation.network.black_hole("app1"):
        await asyncio.sleep(3600)                           # takes no time
    app1.crash("silent")

simulation.run(main())
```
Make groups, and all that draws random numbers, inside of `main` or a start function: what is made before the simulation
begins is made with the real world's randomness. `failover.sim.world` lists what can't be covered at all.

What the network does not model: windows that grow and shrink (one bound on what is unread stands for all buffers),
fast retransmission (what is lost comes 200 ms later, then 400 ms, as Linux's timer has it), happy eyeballs (addresses
are tried in turn), both address families of one name at once (IPv4 unless IPv6 is asked for), broadcast and multicast.
Computing takes no time: only waiting does.
"""

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
