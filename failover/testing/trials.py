"""One run of a test with one seed: its simulation or its loop on loopback, its history, and what checkers say of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from random import Random
from typing import Any, Final, Protocol

from failover.errors import UsageError
from failover.group import Group
from failover.sim.simulation import Simulation
from failover.strategy import Declared
from failover.testing.checkers import ALL, Checker, Finding
from failover.testing.places import LoopThread, SimulatedPlace, placed
from failover.testing.proxy import FaultProxy
from failover.testing.subscriber import Script, ScriptedSubscriber
from failover.testing.telling import tell
from failover.testing.watching import ON_REAL_SOCKETS, WatchedHistory, unwatch, watch

__all__ = ["Proxies", "Subscribers", "Trial", "WatchedGroups"]

PORT: Final = 8080
"""Where simulated subscribers listen, each on a host of its own."""
_RANDOM_ID: Final = re.compile(r"\b[0-9a-f]{32}\b")  # what an event has that was given no id
_SUBSCRIBER: Final = placed(ScriptedSubscriber)
_PROXY: Final = placed(FaultProxy)
_SHOWN: Final = 8  # characters of it


class Subscribers(Protocol):
    """The fixture `scripted_subscriber`."""

    def __call__(
        self, script: Script | None = None, *, host: str | None = None, port: int | None = None, **settings: Any
    ) -> ScriptedSubscriber:
        """A subscriber that listens already: on loopback, or on a simulated host of its own (`app1`, …).

        Args:
            script: What it does with each request; it confirms by default.
            host: Where it listens.
            port: Where it listens; 8080 by default in a simulation, any free port on loopback.
            settings: More, as of `ScriptedSubscriber`.
        """
        ...


class Proxies(Protocol):
    """The fixture `fault_proxy`."""

    def __call__(self, upstream: str | ScriptedSubscriber, **settings: Any) -> FaultProxy:
        """A proxy that listens already: on loopback, or on a simulated host of its own (`proxy1`, …).

        Args:
            upstream: Whose connections it harms: a socket, or a scripted subscriber.
            settings: More, as of `FaultProxy`.
        """
        ...


class WatchedGroups(Protocol):
    """The fixture `watched_group`."""

    def __call__(
        self,
        sink: Group | Declared,
        *,
        name: str = "watched",
        checkers: Sequence[Checker] | None = None,
        ids: bool = True,
        **settings: Any,
    ) -> Group:
        """A group, not open yet, of which the test's history is told everything; at the end it is judged.

        Args:
            sink: A group of yours, or what to make one of: a strategy, a sink, an address.
            name: The name of a group that is made.
            checkers: Who judges, in place of all those of `failover.testing.checkers`.
            ids: Whether each event gets its id as one more param, so that subscribers can tell which one they have.
            settings: More of a group that is made, as of `Group`.
        """
        ...


class Trial:
    """One run of a test with one seed.

    Args:
        seed: Of everything random.
        simulated: Whether subscribers and proxies live in the simulation.
        settings: Of the simulation, as of `Simulation`.
        repeat: The command that repeats it.
        passed: With how many seeds the test has passed before.
    """

    def __init__(
        self, seed: int, *, simulated: bool, settings: Mapping[str, Any], repeat: str, passed: int = 0
    ) -> None:
        self.seed = seed
        self.simulated = simulated
        self.repeat = repeat
        self.passed = passed
        self._begun: dict[str, int] = {}  # how many subscribers and proxies, by kind
        self._settings = dict(settings)
        self._watched: list[Group] = []
        self._checkers: dict[Checker, None] = {}
        self._loopback = LoopThread()
        self._closing: list[ScriptedSubscriber | FaultProxy] = []

    def __repr__(self) -> str:
        return f"<Trial with seed {self.seed}>"

    @cached_property
    def simulation(self) -> Simulation:
        """The simulation."""
        return Simulation(self.seed, repeat=self.repeat, **self._settings)

    @cached_property
    def history(self) -> WatchedHistory:
        """Everything that subscribers, proxies and watched groups of this run have told."""
        return WatchedHistory()

    def subscriber(
        self, script: Script | None = None, *, host: str | None = None, port: int | None = None, **settings: Any
    ) -> ScriptedSubscriber:
        """See `Subscribers`."""
        settings = {"script": script, "history": self.history, "event_id": self.history.id_param} | settings
        made: ScriptedSubscriber = self._place(_SUBSCRIBER, "app", host, port, settings)
        self.history.tells.add(f"{made.host}:{made.port}")
        return made

    def proxy(
        self, upstream: str | ScriptedSubscriber, *, host: str | None = None, port: int | None = None, **settings: Any
    ) -> FaultProxy:
        """See `Proxies`."""
        behind = upstream if isinstance(upstream, str) else upstream.socket
        settings = {"upstream": behind, "history": self.history} | settings
        made: FaultProxy = self._place(_PROXY, "proxy", host, port, settings)
        behind_host, behind_port = made.upstream
        self.history.proxies[f"{made.host}:{made.port}"] = f"{behind_host}:{behind_port}"
        return made

    def group(
        self,
        sink: Group | Declared,
        *,
        name: str = "watched",
        checkers: Sequence[Checker] | None = None,
        ids: bool = True,
        **settings: Any,
    ) -> Group:
        """See `WatchedGroups`."""
        if isinstance(sink, Group) and settings:
            raise UsageError(f"watched_group: {sink!r} has its settings already, as {', '.join(settings)}")
        settings.setdefault("rng", self._rng(name))
        group = sink if isinstance(sink, Group) else Group(name, sink, **settings)
        watch(group, self.history)
        self.history.ids &= ids
        self._watched.append(group)
        self._checkers |= dict.fromkeys(
            checkers if checkers is not None else ALL if self.simulated else ON_REAL_SOCKETS
        )
        return group

    def findings(self) -> list[Finding]:
        """What the checkers of all watched groups find."""
        if not self._watched:
            return []
        return self.history.check(self.history.judges(list(self._checkers)))

    def account(self, findings: Sequence[Finding], lines: int) -> str:
        """The history around what was found, or before the end if nothing was, in as many lines at most."""
        entries = self.history.entries
        if findings:
            return self.shown(tell(entries, findings[0], most=lines))
        left_out = len(entries) - lines
        before = [f"{'…':>12}  ({left_out} before)"] if left_out > 0 else []
        return self.shown("\n".join([*before, tell(entries[-lines:], most=lines)]))

    @staticmethod
    def shown(text: str) -> str:
        """A text with the random ids of events cut to what tells them apart."""
        return _RANDOM_ID.sub(lambda found: found[0][:_SHOWN], text)

    def close(self) -> None:
        """Close what it has begun on loopback, and leave the groups as they were. Idempotent."""
        for group in self._watched:
            unwatch(group, self.history)
        if self._loopback.begun:
            for living in reversed(self._closing):
                self._loopback.wait(living.aclose())
            self._loopback.close()

    def _rng(self, name: str) -> Random:
        return Random(f"{self.seed}:{name}")

    def _place(self, kind: Any, word: str, host: str | None, port: int | None, settings: dict[str, Any]) -> Any:
        """Make one, where it is to live."""
        number = self._begun[word] = self._begun.get(word, 0) + 1
        if host is None:
            host = f"{word}{number}" if self.simulated else "127.0.0.1"
        if port is None:
            port = PORT if self.simulated else 0
        settings.setdefault("rng", self._rng(f"{word}{number}"))
        made = kind(host=host, port=port, **settings)
        if self.simulated:
            made.place = place = SimulatedPlace(self.simulation.network.host(host))
            self.simulation.network.host(host, start=partial(_serve, made, place))
        else:
            made.place = self._loopback
            self._closing.append(made)
            self._loopback.wait(made.start())
        return made


async def _serve(made: ScriptedSubscriber | FaultProxy, place: SimulatedPlace) -> None:
    """What a simulated host runs: listen until it crashes or the simulation ends."""
    async with made:
        place.begin()
        await asyncio.get_running_loop().create_future()
