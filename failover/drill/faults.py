"""What can go wrong in a drill, by the names that all of the kit shares, and who does it to a subscriber."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from failover.drill.plan import Drill, Own
from failover.errors import ConfigError, FailoverError
from failover.sim.network import Network
from failover.testing import action
from failover.testing.actions import Action
from failover.testing.calls import Call
from failover.testing.faulty import Faulty, HostFaults, ProxyFaults, SubscriberFaults, Verbs
from failover.testing.proxy import FaultProxy
from failover.testing.subscriber import Script, ScriptedSubscriber
from failover.testing.timeline import FaultEvent

__all__ = ["Layers", "Tell", "check_faults", "events_of", "needs_proxy", "script_of"]

Tell = Callable[[str, str, bool], object]
"""Told `(fault, subscriber's name, whether it begins)`."""

_OF_HOSTS: Final = HostFaults(Network(0), "any").names
_OF_SCRIPTS: Final = SubscriberFaults(ScriptedSubscriber()).names
_OF_PROXIES: Final = ProxyFaults(FaultProxy("127.0.0.1:1")).names
_OF_PROCESSES: Final = frozenset({"crash", "restart"})


class Layers:
    """Everything that can be done to one subscriber: the first layer that knows a fault does it.

    Args:
        name: The subscriber's name.
        layers: What sets faults on its host, its script, its proxy or its process.
    """

    def __init__(self, name: str, layers: Sequence[Faulty]) -> None:
        self.name = name
        self.names = frozenset(fault for layer in layers for fault in layer.names)
        self.tell: Tell | None = None
        self._layers = tuple(layers)

    def check(self, what: str, args: Mapping[str, Any]) -> None:
        """See `Faulty`."""
        self._layer(what).check(what, args)

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        """See `Faulty`."""
        await self._layer(what).begin(what, args)
        if self.tell is not None:
            self.tell(what, self.name, True)  # noqa: FBT003  # a callback's arguments go by place

    async def end(self, what: str) -> None:
        """See `Faulty`."""
        await self._layer(what).end(what)
        if self.tell is not None:
            self.tell(what, self.name, False)  # noqa: FBT003

    def _layer(self, what: str) -> Faulty:
        for layer in self._layers:
            if what in layer.names:
                return layer
        raise ConfigError(
            f"there is no fault {what!r} for {self.name}; expected one of {', '.join(sorted(self.names))}"
        )


def events_of(drill: Drill) -> list[FaultEvent]:
    """A drill's faults, each time that they come, as a timeline."""
    return [
        FaultEvent(at, fault.what, fault.args, name, None if fault.momentary else fault.lasts)
        for fault in drill.fault
        for at in fault.begins
        for name in fault.targets or ("",)
    ]


def needs_proxy(drill: Drill, own: Own) -> bool:
    """Whether a fault concerns a subscriber that only a proxy before it can do."""
    simulated = drill.drill.on == "simulation"
    done = _OF_HOSTS if simulated else _OF_PROCESSES if own.command is not None else frozenset[str]()
    if not own.own:
        done |= _OF_SCRIPTS
    return any(
        fault.what in _OF_PROXIES - done and (fault.targets is None or own.name in fault.targets)
        for fault in drill.fault
    )


def check_faults(drill: Drill, subscribers: tuple[Own, ...]) -> None:
    """See that every fault can be done to whom it is for.

    Raises:
        ConfigError: one can't; it names the key.
    """
    known = {own.name: _examples(drill, own) for own in subscribers}
    for index, fault in enumerate(drill.fault):
        for name in fault.targets or tuple(known):
            try:
                known[name].check(fault.what, fault.args)
            except ConfigError as error:
                raise ConfigError(f"fault[{index}]: {error}") from None
    for index, own in enumerate(drill.subscriber):
        script_of(own, f"subscriber[{index}]")


def _examples(drill: Drill, own: Own) -> Layers:
    """What could be done to a subscriber, without one."""
    proxy = ProxyFaults(FaultProxy("127.0.0.1:1", name=own.name))
    if drill.drill.on == "simulation":
        scripted = [] if own.own else [SubscriberFaults(ScriptedSubscriber(name=own.name))]
        return Layers(own.name, [HostFaults(Network(0), own.name), *scripted, proxy])
    if own.command is not None:
        life: dict[str, Callable[..., Any]] = {"crash": lambda: None, "restart": lambda: None}
        return Layers(own.name, [Verbs(f"the command of {own.name}", life, {}), proxy])
    if own.own:
        return Layers(own.name, [proxy])
    return Layers(own.name, [SubscriberFaults(ScriptedSubscriber(name=own.name)), proxy])


def script_of(own: Own, path: str) -> tuple[list[Action], Script]:
    """What a scripted subscriber does: with the first requests one each, and with all others.

    Raises:
        ConfigError: an action that doesn't exist; it names the key.
    """
    given = own.script if isinstance(own.script, list) else [own.script]
    if not given:
        raise ConfigError(f"{path}.script: expected one action or more")
    actions = [_action(one, f"{path}.script") for one in given]
    if own.poison is None:
        return actions[:-1], actions[-1]
    poison = _action(own.poison, f"{path}.poison")
    usual = iter(actions[:-1])

    def choose(call: Call) -> Action:
        params: Any = call.params
        if isinstance(params, dict) and cast("dict[str, Any]", params).get("poison") is True:
            return poison
        return next(usual, actions[-1])

    return [], choose


def _action(given: str | dict[str, Any], path: str) -> Action:
    table: dict[str, Any] = {"action": given} if isinstance(given, str) else dict(given)
    name = table.pop("action", None)
    if not isinstance(name, str):
        raise ConfigError(f"{path}: expected an action's name, or a table with `action` and its arguments")
    try:
        return action(name, **table)
    except (FailoverError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
