"""Every action by its name, as a timeline or a drill tells it."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from attrs import fields_dict

from failover.errors import ConfigError
from failover.testing import actions, connections, odd_replies
from failover.testing.actions import Action
from failover.testing.connections import Connecting
from failover.testing.delays import as_delay
from failover.testing.fields import is_delay

__all__ = ["ACTIONS", "CONNECTIONS", "action", "connecting"]


def _known(*modules: ModuleType) -> dict[str, type[Any]]:
    found = [getattr(module, name) for module in modules for name in module.__all__]
    return {value.name: value for value in found if value not in {Action, Connecting}}


ACTIONS: Final[dict[str, type[Action]]] = _known(actions, odd_replies)
"""What can be done with a request, by name."""
CONNECTIONS: Final[dict[str, type[Connecting]]] = _known(connections)
"""What can be done with those who connect, by name."""


def action(name: str, **arguments: Any) -> Action:
    """The action of this name.

    Args:
        name: One of `ACTIONS`.
        arguments: As of its class; delays also in the form of a file, see `failover.testing.delays.as_delay`.

    Raises:
        ConfigError: there is none of that name, or it has no such arguments.
    """
    made: Action = _make("action", ACTIONS, name, arguments)
    return made


def connecting(name: str, **arguments: Any) -> Connecting:
    """What can be done with those who connect, by name.

    Args:
        name: One of `CONNECTIONS`.
        arguments: As of its class.

    Raises:
        ConfigError: there is none of that name, or it has no such arguments.
    """
    made: Connecting = _make("connection behaviour", CONNECTIONS, name, arguments)
    return made


def _make(what: str, known: dict[str, type[Any]], name: str, arguments: dict[str, Any]) -> Any:
    if name not in known:
        raise ConfigError(f"there is no {what} {name!r}; expected one of {', '.join(sorted(known))}")
    fields = fields_dict(known[name])
    strange = sorted(arguments.keys() - fields.keys())
    if strange:
        raise ConfigError(f"{what} {name!r} has no argument {strange[0]!r}; it has {', '.join(fields) or 'none'}")
    given = {
        key: as_delay(value) if fields[key].validator is is_delay and isinstance(value, dict) else value
        for key, value in arguments.items()
    }
    return known[name](**given)
