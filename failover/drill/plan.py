"""What a drill's file says, decoded and checked: every error names the key that is wrong."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from failover.errors import ConfigError, did_you_mean
from failover.testing.faulty import MOMENTARY

__all__ = ["Bounds", "Drill", "Fault", "Group", "Load", "Network", "Own", "Place", "load_drill", "parse_drill"]

MOST_EVENTS: Final = 1_000_000
MOST_FAULTS: Final = 1000

Place = Literal["simulation", "sockets"]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Positive = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: no key is ignored."""


class Group(_Table, frozen=True, kw_only=True):
    """`[group]`: what is drilled, as the text of a socket or as a tree of tables."""

    name: Text = "group"
    socket: Text | None = None
    """The address, e.g. `virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080`."""
    tree: str | dict[str, Any] | None = None
    """A subscriber's name; or `strategy = …, children = […]` and that strategy's arguments; or `socket = …` and its."""
    timeout: Positive = 1.0
    """Seconds for one attempt, where the tree says nothing else."""
    quarantine: Seconds = 30.0
    """Seconds for which a strategy given as text skips a child at fault."""
    within: Positive | None = None
    """Seconds that the whole delivery of one event may take."""


class Own(_Table, frozen=True, kw_only=True):
    """`[[subscriber]]`: a scripted one, or with `address`, `command` or `start` one of your own."""

    name: Name
    host: Text = "127.0.0.1"
    """Where a scripted one listens on sockets, or a command is told to: an address of this machine's loopback."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Where it listens on sockets; 0 takes any that is free."""
    script: str | dict[str, Any] | list[str | dict[str, Any]] = "confirm"
    """What it does with each request: an action's name, or a table of `action` and its arguments, or several: each for
    one request and the last one for all that follow."""
    poison: str | dict[str, Any] | None = None
    """What it does with the load's poison events instead."""
    address: Text | None = None
    """`host:port` of a subscriber of your own that runs already, on loopback."""
    command: Annotated[list[Text], Meta(min_length=1)] | None = None
    """The words of a command that starts a subscriber of your own; `{port}` and `{host}` in them are replaced."""
    start: Text | None = None
    """`module:function`: an async function of host and port, a subscriber of your own that a simulated host runs."""
    ready: Positive = 10.0
    """Seconds in which a command must listen."""
    processed: Text | None = None
    """The file in which a subscriber of your own notes the id of each event that it has processed, a line each."""

    @property
    def own(self) -> bool:
        """Whether it is one of the user's, not a scripted one."""
        return self.address is not None or self.command is not None or self.start is not None


class Load(_Table, frozen=True, kw_only=True):
    """`[load]`: the events that are raised."""

    rate: Annotated[float, Meta(gt=0, le=100_000)] = 20.0
    """Events a second."""
    arrivals: Literal["steady", "random"] = "steady"
    """At equal intervals, or at random ones as of independent callers."""
    count: Annotated[int, Meta(ge=1, le=MOST_EVENTS)] | None = None
    """Events at most; without it as many as the duration has room for."""
    event: Text = "E_DRILL"
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    """Params of each event, beside its id, its number and its key."""
    keys: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """How many calls the events belong to, in turn; those of one call are raised one after the other. 0: to none."""
    poison_every: Annotated[int, Meta(ge=0)] = 0
    """Each event of such a number is poison; 0: none is."""
    in_flight: Annotated[int, Meta(ge=1, le=65_536)] = 4096
    """Events that may be under way at once; what is due beyond that waits."""


class Fault(_Table, frozen=True, kw_only=True):
    """`[[fault]]`: something goes wrong for a while."""

    what: Text
    on: Text | list[Text] | None = None
    """The subscriber, or several; all of them by default."""
    at: Seconds
    """Seconds after the load has begun."""
    lasts: Positive | None = field(default=None, name="for")
    """Seconds until it is repaired; without it what lasts stays to the end."""
    every: Positive | None = None
    """Seconds from one beginning to the next, if it comes several times."""
    times: Annotated[int, Meta(ge=1, le=MOST_FAULTS)] = 1
    args: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The subscribers that it concerns; None for all."""
        return None if self.on is None else (self.on,) if isinstance(self.on, str) else tuple(self.on)

    @property
    def momentary(self) -> bool:
        """Whether it happens once and has no end."""
        return self.what in MOMENTARY

    @property
    def begins(self) -> tuple[float, ...]:
        """When it begins, each time."""
        return tuple(self.at + number * (self.every or 0.0) for number in range(self.times))

    @property
    def ends(self) -> float:
        """When the last of it is repaired; for what stays, infinity."""
        return math.inf if self.lasts is None else self.begins[-1] + self.lasts


class Bounds(_Table, frozen=True, kw_only=True):
    """`[steady]`: what must hold before the faults and after them; `[during]`: what must hold in between."""

    confirmed: Share | None = None
    """Least share of the events that are confirmed, 0 to 1."""
    p50: Positive | None = None
    """Seconds in which half of the confirmed events are confirmed, at most; so for the next three."""
    p90: Positive | None = None
    p99: Positive | None = None
    longest: Positive | None = None
    settle: Seconds = 0.0
    """Seconds after the last fault that belong to the faults, not to the steady state after them."""


class Network(_Table, frozen=True, kw_only=True):
    """`[network]`: the simulated network; on sockets it is the kernel's loopback."""

    latency: Seconds | dict[str, Any] = 0.0005
    """Seconds one way, or a distribution, as in `{ log_normal = [0.002, 0.5] }`."""
    bandwidth: Positive | None = None
    """Bytes a second of each link."""
    cut: Share = 0.0
    """Probability that a write arrives in several pieces."""


class _Head(_Table, frozen=True, kw_only=True):
    name: Text
    about: str = ""
    seed: Annotated[int, Meta(ge=0)] = 1
    duration: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    on: Place = "simulation"


class Drill(_Table, frozen=True, kw_only=True):
    """One drill, checked."""

    drill: _Head
    group: Group
    subscriber: tuple[Own, ...] = ()
    load: Load = Load()
    fault: tuple[Fault, ...] = ()
    checks: dict[str, Any] = field(default_factory=dict[str, Any])
    """By a checker's name: false leaves it out, true or arguments have it."""
    steady: Bounds | UnsetType = UNSET
    during: Bounds | UnsetType = UNSET
    network: Network = Network()

    @property
    def name(self) -> str:
        """Its name."""
        return self.drill.name

    @property
    def events(self) -> int:
        """How many events are raised, at most."""
        room = max(1, math.ceil(self.drill.duration * self.load.rate - 1e-9))
        return room if self.load.count is None else min(room, self.load.count)

    @property
    def trouble(self) -> tuple[float, float] | None:
        """From when to when faults act, seconds after the load has begun, what settles included; None without any."""
        if not self.fault:
            return None
        settle = 0.0 if self.steady is UNSET else self.steady.settle
        last = max(max(fault.begins[-1], fault.ends) if fault.lasts else _after(fault) for fault in self.fault)
        return min(fault.at for fault in self.fault), last + settle

    def on(self, place: Place, seed: int | None = None) -> Drill:
        """The same drill in another place, or with another seed."""
        head = msgspec.structs.replace(self.drill, on=place, seed=self.drill.seed if seed is None else seed)
        return check(msgspec.structs.replace(self, drill=head))


def _after(fault: Fault) -> float:
    return fault.begins[-1] if fault.momentary else math.inf


def load_drill(path: Path) -> Drill:
    """Read a drill's file.

    Raises:
        OSError: it can't be read.
        ConfigError: what it says is wrong; the error names the file and the key.
    """
    data = path.read_bytes()
    try:
        return parse_drill(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_drill(text: str) -> Drill:
    """Make a drill of the text of its file.

    Raises:
        ConfigError: it isn't TOML, or a key or a value is wrong; the error names the key by its path.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from None
    if isinstance(data.get("group"), str):
        data["group"] = {"socket": data["group"]}
    try:
        drill = msgspec.convert(data, Drill)
    except msgspec.ValidationError as error:
        raise ConfigError(_friendly(error)) from None
    return check(drill)


_PLACE: Final = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`$")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`$")
_TABLES: Final[dict[str, type[Struct]]] = {
    "": Drill,
    "drill": _Head,
    "group": Group,
    "subscriber": Own,
    "load": Load,
    "fault": Fault,
    "steady": Bounds,
    "during": Bounds,
    "network": Network,
}


def _friendly(error: msgspec.ValidationError) -> str:
    """What msgspec says, the key first."""
    found = _PLACE.fullmatch(str(error))
    assert found is not None  # noqa: S101  # it matches anything
    path, problem = found["path"] or "", found["problem"]
    if unknown := _UNKNOWN.fullmatch(problem):
        table = _TABLES.get(re.sub(r"\[.*", "", path), Drill)
        known = [one.encode_name for one in msgspec.structs.fields(table)]
        meant = did_you_mean(unknown[1], known)
        return f"{_join(path, unknown[1])}: there is no such key; {meant}known are {', '.join(known)}"
    if missing := _MISSING.fullmatch(problem):
        return f"{_join(path, missing[1])}: this key is missing"
    if "matching regex" in problem:
        problem = "expected a name of lower-case letters, digits and '-', 63 at most"
    return f"{path or 'the file'}: {problem[:1].lower()}{problem[1:]}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def check(drill: Drill) -> Drill:
    """The drill, if its parts fit together.

    Raises:
        ConfigError: they don't; the error names the key.
    """
    _check_subscribers(drill)
    if (drill.group.socket is None) == (drill.group.tree is None):
        raise ConfigError("group: give a socket or a tree, one of the two")
    _check_faults(drill)
    if sum(fault.times for fault in drill.fault) > MOST_FAULTS:
        raise ConfigError(f"fault: there are more than {MOST_FAULTS} of them")
    if drill.drill.duration * drill.load.rate > MOST_EVENTS and drill.load.count is None:
        raise ConfigError(f"load.rate: that makes more than {MOST_EVENTS:,} events; lower it, or give load.count")
    return drill


def _check_subscribers(drill: Drill) -> None:
    names = [subscriber.name for subscriber in drill.subscriber]
    for index, own in enumerate(drill.subscriber):
        where = f"subscriber[{index}]"
        if own.name in names[:index]:
            raise ConfigError(f"{where}.name: there is another subscriber named {own.name!r}")
        if own.address is not None and own.command is not None:
            raise ConfigError(f"{where}.command: it has an address, so it runs already; give one of the two")
        if own.own and (own.script != "confirm" or own.poison is not None):
            raise ConfigError(
                f"{where}.script: a subscriber of your own does what it does; only scripted ones have one"
            )
        if own.processed is not None and not own.own:
            raise ConfigError(f"{where}.processed: a scripted subscriber tells by itself what it processed")


def _check_faults(drill: Drill) -> None:
    for index, fault in enumerate(drill.fault):
        where = f"fault[{index}]"
        if fault.times > 1 and fault.every is None:
            raise ConfigError(f"{where}.every: it comes {fault.times} times; say how many seconds apart")
        if fault.every is not None and fault.lasts is not None and fault.lasts >= fault.every:
            raise ConfigError(
                f"{where}.for: it would still last ({fault.lasts} s) when it comes again ({fault.every} s)"
            )
        if fault.begins[-1] > drill.drill.duration:
            raise ConfigError(
                f"{where}.at: it begins at {fault.begins[-1]:g} s, after the load has ended (drill.duration)"
            )
