"""One set of names of faults, for a scripted subscriber, a fault proxy and a host of the simulated network alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Literal, Protocol, cast

from failover.errors import ConfigError
from failover.sim.faults import Fault
from failover.sim.network import Network
from failover.testing.account import HistoryOfFaults
from failover.testing.connections import Accept
from failover.testing.delays import Delay, as_delay, draw
from failover.testing.proxy import Direction, FaultProxy
from failover.testing.subscriber import Script, ScriptedSubscriber
from failover.testing.vocabulary import ACTIONS, CONNECTIONS, action, connecting

__all__ = ["MOMENTARY", "Faulty", "HostFaults", "ProxyFaults", "SubscriberFaults", "Verbs", "faulty"]

MOMENTARY: Final = frozenset({"reset", "half_open", "restart"})
"""Faults that happen once and need no end; all others last."""

Verb = Callable[..., Any]


class Faulty(Protocol):
    """Where faults can be set by name."""

    names: frozenset[str]
    """The faults that it knows."""

    def check(self, what: str, args: Mapping[str, Any]) -> None:
        """Refuse a fault that can't be set here, without setting it.

        Raises:
            ConfigError: there is none of that name here, or it has no such arguments.
        """

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        """Set a fault, or let it happen.

        Raises:
            ConfigError: as of `check`, or an argument is out of its range.
        """

    async def end(self, what: str) -> None:
        """End a fault that lasts; nothing to do if it isn't set."""


class Verbs:
    """A `Faulty` made of two tables: what begins a fault, and what ends it.

    Args:
        where: What it is, for errors.
        begins: By name, what sets a fault.
        ends: By name, what ends it; those that happen once have no end.
    """

    def __init__(self, where: str, begins: Mapping[str, Verb], ends: Mapping[str, Verb]) -> None:
        self.names = frozenset(begins)
        self._where = where
        self._begins = begins
        self._ends = ends

    def check(self, what: str, args: Mapping[str, Any]) -> None:
        """See `Faulty`."""
        if what not in self._begins:
            known = ", ".join(sorted(self.names))
            raise ConfigError(f"there is no fault {what!r} on {self._where}; expected one of {known}")
        try:
            inspect.signature(self._begins[what]).bind(**args)
        except TypeError as error:
            shown = inspect.signature(self._begins[what])
            raise ConfigError(f"fault {what!r} on {self._where}: {error}; its arguments are {shown}") from None
        if what in ACTIONS:
            action(what, **args)
        elif what in CONNECTIONS:
            connecting(what, **args)
        elif what == "latency":
            as_delay(args["delay"])

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        """See `Faulty`."""
        self.check(what, args)
        await _done(self._begins[what](**args))

    async def end(self, what: str) -> None:
        """See `Faulty`."""
        if what in self._ends:
            await _done(self._ends[what]())


async def _done(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


class SubscriberFaults(Verbs):
    """The faults of a scripted subscriber; every action is one too, by its name: its script for as long as it lasts.

    Args:
        subscriber: Which.
    """

    def __init__(self, subscriber: ScriptedSubscriber) -> None:
        self._subscriber = subscriber
        self._usual: Script | None = None
        self._scripts: dict[str, Script] = {}
        self._delays: dict[str, Delay] = {}
        begins: dict[str, Verb] = {
            "black_hole": subscriber.black_hole,
            "hold": subscriber.hold,
            "reset": subscriber.reset,
            "half_open": subscriber.half_open,
            "crash": subscriber.crash,
            "restart": subscriber.restart,
            "latency": self._latency,
            "jitter": self._jitter,
        }
        ends: dict[str, Verb] = {
            "black_hole": subscriber.surface,
            "hold": subscriber.release,
            "crash": subscriber.restart,
            "latency": lambda: self._slow("latency", None),
            "jitter": lambda: self._slow("jitter", None),
        }
        for name in CONNECTIONS:
            begins[name] = _named(self._connecting, name)
            ends[name] = _named(self._connecting, Accept.name)
        for name in ACTIONS:
            begins[name] = _named(self._script, name)
            ends[name] = _named(self._unscript, name)
        super().__init__(repr(subscriber), begins, ends)

    async def _connecting(self, _name: str, **args: Any) -> None:
        await self._subscriber.connecting(connecting(_name, **args))

    def _script(self, _name: str, **args: Any) -> None:
        if not self._scripts:
            self._usual = self._subscriber.script
        self._scripts.pop(_name, None)
        self._subscriber.script = self._scripts[_name] = action(_name, **args)
        self._subscriber.fault("script", detail=_name)

    def _unscript(self, _name: str) -> None:
        if self._scripts.pop(_name, None) is not None and self._usual is not None:
            self._subscriber.script = next(reversed(self._scripts.values()), self._usual)
            self._subscriber.fault("script", detail=_name, active=False)

    def _latency(self, delay: Any) -> None:
        self._slow("latency", as_delay(delay))

    def _jitter(self, most: float) -> None:
        self._slow("jitter", lambda rng: rng.uniform(0.0, most))

    def _slow(self, name: str, delay: Delay | None) -> None:
        self._subscriber.fault(name, active=delay is not None)
        self._delays.pop(name, None)
        if delay is not None:
            self._delays[name] = delay
        delays = tuple(self._delays.values())

        def total(rng: Random) -> float:
            return sum(draw(each, rng) for each in delays)

        self._subscriber.latency = total if delays else 0.0


def _named(verb: Verb, name: str) -> Verb:
    def call(**args: Any) -> Any:
        return verb(name, **args)

    return call


class ProxyFaults(Verbs):
    """The faults of a proxy: its verbs.

    Args:
        proxy: Which.
    """

    def __init__(self, proxy: FaultProxy) -> None:
        lasting = (
            proxy.jitter,
            proxy.bandwidth,
            proxy.slicing,
            proxy.corrupt,
            proxy.limit,
            proxy.hold,
            proxy.partition,
            proxy.black_hole,
            proxy.refuse,
            proxy.crash,
        )

        def latency(delay: Any, way: Direction = "both") -> None:
            proxy.latency(as_delay(delay), way)

        begins: dict[str, Verb] = {verb.__name__: verb for verb in lasting}
        ends: dict[str, Verb] = {name: _repairing(proxy, name) for name in (*begins, "latency")}
        begins |= {"latency": latency, "reset": proxy.reset, "half_open": proxy.half_open}
        super().__init__(repr(proxy), begins | {"restart": ends["crash"]}, ends)


def _repairing(proxy: FaultProxy, name: str) -> Verb:
    return lambda: proxy.repair(name)


class HostFaults:
    """The faults of a host of the simulated network, and of the links to it.

    Args:
        network: The network.
        host: The host's name.
        port: What concerns a port, concerns this one; None for all.
        history: Is told of every fault.
    """

    def __init__(
        self, network: Network, host: str, port: int | None = None, *, history: HistoryOfFaults | None = None
    ) -> None:
        self._network = network
        self._host = host
        self._port = port
        self._history = history
        self._set: dict[str, Fault] = {}
        lasting: dict[str, Callable[..., Fault]] = {
            "refuse": lambda: network.refuse(host, port),
            "black_hole": lambda: network.black_hole(host, port),
            "partition": self._partition,
            "hold": self._hold,
            "latency": self._latency,
            "jitter": self._jitter,
            "bandwidth": self._bandwidth,
            "loss": self._loss,
        }
        begins: dict[str, Verb] = {name: self._lasting(name, verb) for name, verb in lasting.items()}
        ends: dict[str, Verb] = {name: self._ending(name) for name in lasting}
        begins["slicing"] = self._slicing
        ends["slicing"] = lambda: self._slicing(0.0)
        begins["reset"] = lambda: network.reset(host, port)
        begins["half_open"] = lambda: network.half_open(host, port)
        begins["crash"] = self._crash
        begins["restart"] = ends["crash"] = lambda: network.host(host).restart()
        self._verbs = Verbs(f"the simulated host {host}", begins, ends)
        self.names = self._verbs.names

    def check(self, what: str, args: Mapping[str, Any]) -> None:
        """See `Faulty`."""
        self._verbs.check(what, args)

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        """See `Faulty`."""
        await self._verbs.begin(what, args)
        self._tell("crash" if what == "restart" else what, active=what != "restart")

    async def end(self, what: str) -> None:
        """See `Faulty`."""
        await self._verbs.end(what)
        self._tell(what, active=False)

    def _tell(self, what: str, *, active: bool) -> None:
        if self._history is not None:
            self._history.fault(what, self._host, active=active, detail="", at=self._network.loop.time())

    def _lasting(self, name: str, verb: Callable[..., Fault]) -> Verb:
        signature = inspect.signature(verb)

        def begin(**args: Any) -> None:
            fault = verb(**args)
            former = self._set.pop(name, None)
            self._set[name] = fault
            if former is not None:
                former.repair()

        cast("Any", begin).__signature__ = signature  # what `Verbs.check` looks at
        return begin

    def _ending(self, name: str) -> Verb:
        def end() -> None:
            fault = self._set.pop(name, None)
            if fault is not None:
                fault.repair()

        return end

    def _partition(self, way: Direction = "both") -> Fault:
        others = [name for name in self._network.hosts if name != self._host]
        if way == "down":
            return self._network.partition(self._host, others, one_way=True)
        return self._network.partition(others, self._host, one_way=way == "up")

    def _hold(self, way: Direction = "both") -> Fault:
        if way == "down":
            return self._network.hold(self._host, None)
        return self._network.hold(None, self._host, one_way=way == "up")

    def _latency(self, delay: Any) -> Fault:
        return self._network.latency(as_delay(delay), self._host, self._port)

    def _jitter(self, most: float) -> Fault:
        return self._network.jitter(most, self._host, self._port)

    def _bandwidth(self, rate: float) -> Fault:
        return self._network.bandwidth(rate, self._host, self._port)

    def _loss(self, probability: float) -> Fault:
        return self._network.loss(probability, self._host, self._port)

    def _crash(self, sockets: Literal["reset", "silent"] = "reset") -> None:
        self._network.host(self._host).crash(sockets)

    def _slicing(self, share: float = 1.0) -> None:
        """Cut writes in random pieces, both ways, with this probability."""
        for name in tuple(self._network.hosts):
            self._network.link(name, self._host, cut=share)
            self._network.link(self._host, name, cut=share)


def faulty(place: Faulty | FaultProxy | ScriptedSubscriber) -> Faulty:
    """What sets faults by name on a subscriber, on a proxy, or on what can do so itself."""
    if isinstance(place, ScriptedSubscriber):
        return SubscriberFaults(place)
    return ProxyFaults(place) if isinstance(place, FaultProxy) else place
