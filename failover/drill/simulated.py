"""A drill in the simulation: every subscriber on a host of its own, virtual time, the same each time for one seed."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, TypeAlias

from failover.drill.account import accounts_of, settle
from failover.drill.faults import Layers, needs_proxy, script_of
from failover.drill.named import named
from failover.drill.plan import Drill, Own
from failover.drill.recorder import Recorder
from failover.drill.stage import Telling, run_on
from failover.errors import ConfigError
from failover.sim.hosts import Host
from failover.sim.network import Network
from failover.sim.seeds import derive
from failover.sim.simulation import Simulation
from failover.testing.calls import Call
from failover.testing.delays import as_delay
from failover.testing.faulty import Faulty, HostFaults, ProxyFaults, SubscriberFaults
from failover.testing.proxy import FaultProxy
from failover.testing.subscriber import ScriptedSubscriber
from failover.testing.wire import Wire

__all__ = ["run_simulated", "start_of"]

Start: TypeAlias = "Callable[[str, int], Coroutine[Any, Any, object]]"
"""Serves at a host and a port until it is cancelled."""

_HOME: Final = "drill"  # the host that the group is on
_PORT: Final = 8080
_BEFORE: Final = 8081  # where a proxy listens


class _There:
    """Sets faults as code of a simulated host."""

    def __init__(self, host: Host, faults: Faulty) -> None:
        self.names = faults.names
        self._host = host
        self._faults = faults

    def check(self, what: str, args: Mapping[str, Any]) -> None:
        self._faults.check(what, args)

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        coro = self._faults.begin(what, args)
        await (self._host.run(coro) if self._host.up else coro)  # while it is down, it is for when it is up again

    async def end(self, what: str) -> None:
        coro = self._faults.end(what)
        await (self._host.run(coro) if self._host.up else coro)


class _Watched(ScriptedSubscriber):
    """A scripted subscriber whose requests the watch on the network knows, and so whose replies."""

    wire: Wire

    def arrived(self, call: Call) -> None:
        self.wire.request(self.name, call)
        super().arrived(call)


class _Host(HostFaults):
    """The faults of a host, of which the watch on the network is told what it can't see."""

    wire: Wire

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        await super().begin(what, args)
        if what == "reset":
            self.wire.cut(self._host, asyncio.get_running_loop().time())


class _Simulated:
    """A subscriber on a host of its own."""

    def __init__(self, own: Own, drill: Drill, network: Network, recorder: Recorder, wire: Wire) -> None:
        name = own.name
        rng = derive(drill.drill.seed, "drill", "subscriber", name)
        port = own.port or _PORT
        start = start_of(own)
        scripted: list[_Watched] = []
        if start is None:
            first, script = script_of(own, name)
            there = _Watched(name, port, name=name, script=script, rng=rng, history=recorder)
            there.once(*first)
            there.wire = wire
            scripted.append(there)
            self._begin: Callable[[], Coroutine[Any, Any, object]] = there.serve
        else:
            wire.unscripted.add(name)
            self._begin = partial(_started, start, name, port)
        self._proxy: FaultProxy | None = None
        if needs_proxy(drill, own):
            self._proxy = FaultProxy(f"{name}:{port}", host=name, port=_BEFORE, name=name, rng=rng, history=recorder)
        self.where = name, port if self._proxy is None else _BEFORE
        host = network.host(name, start=self._serve)
        faults = _Host(network, name, history=recorder)
        faults.wire = wire
        layers: list[Faulty] = [faults, *(_There(host, SubscriberFaults(one)) for one in scripted)]
        if self._proxy is not None:
            layers.append(_There(host, ProxyFaults(self._proxy)))
        self.layers = Layers(name, layers)

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            if self._proxy is not None:
                await stack.enter_async_context(self._proxy)
            await self._begin()


async def _started(start: Start, name: str, port: int) -> None:
    """Run a function of the user's own, and have what it raises told as the end of a command is."""
    try:
        await start(name, port)
    except Exception as error:
        *_, at = traceback.extract_tb(error.__traceback__)
        raise OSError(
            f"subscriber {name!r}: start: {type(error).__name__}: {error}\n  at {at.filename}:{at.lineno}, in {at.name}"
        ) from error


def start_of(own: Own) -> Start | None:
    """The function that serves as a subscriber of the user's own in the simulation; None for a scripted one.

    Raises:
        ConfigError: there is none of that name, or it is no coroutine function.
    """
    if own.start is None:
        return None
    path = f"subscriber {own.name!r}: start"
    start: Start = named(own.start, path)
    if not inspect.iscoroutinefunction(start):
        raise ConfigError(f"{path}: {own.start!r} is no `async def` function of host and port")
    return start


def run_simulated(drill: Drill, subscribers: tuple[Own, ...], recorder: Recorder, telling: Telling) -> None:
    """Run a drill in a simulation of its own.

    Args:
        drill: What to do.
        subscribers: All of its subscribers.
        recorder: Is told everything.
        telling: Is told how it goes.

    Raises:
        ConfigError: a line of the file that a subscriber of the user's own wrote can't be read.
        OSError: the function of one raised something; the error says what, and where.
    """
    simulation = Simulation(
        drill.drill.seed,
        latency=as_delay(drill.network.latency),
        bandwidth=drill.network.bandwidth,
        cut=drill.network.cut,
        repeat=f"failover drill FILE --seed {drill.drill.seed}",
    )
    accounts = accounts_of(subscribers)
    wire = Wire(simulation.network, recorder, _HOME)
    there = [_Simulated(own, drill, simulation.network, recorder, wire) for own in subscribers]
    places = {one.layers.name: one.layers for one in there}
    where = {one.layers.name: one.where for one in there}
    simulation.run(run_on(drill, places=places, where=where, recorder=recorder, telling=telling, prefix=""), host=_HOME)
    settle(accounts, recorder)
