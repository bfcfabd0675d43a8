"""Strategies as tables of a drill: any one by its name, with its arguments and what is said of each of its children."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import failover.strategies
from failover.drill.named import named
from failover.errors import ConfigError, FailoverError, did_you_mean
from failover.health import Health, Probe
from failover.sink import Sink

__all__ = ["Said", "check_known", "made", "said_of", "strategy_of"]

Said: TypeAlias = "Sequence[Mapping[str, Any]]"
"""What is said of each child, as keys of the child's own table: its weight, its tier, when it is meant."""

_SAID: Final = {"weights": ("weight",), "tiers": ("tier", "weight"), "routes": ("when",)}
"""What is said of each child, by the name of the argument that a strategy takes its children by."""
_OBJECT: Final = "object"


def strategy_of(asked: str, path: str) -> Callable[..., Sink]:
    """The class of a strategy.

    Args:
        asked: Its name, in any case, with or without dashes; or `module:Class` of one of the user's own.
        path: The key that names it.

    Raises:
        ConfigError: there is none of that name.
    """
    if ":" in asked:
        own: Callable[..., Sink] = named(asked, path)
        return own
    known = {_plain(name): name for name in failover.strategies.__all__}
    name = known.get(_plain(asked))
    if name is None:
        meant = did_you_mean(asked, known.values())
        raise ConfigError(
            f"{path}: there is no strategy {asked!r}; {meant}expected one of {', '.join(known.values())}, "
            "or your own as 'module:Class'"
        )
    strategy: Callable[..., Sink] = getattr(failover.strategies, name)
    return strategy


def said_of(strategy: Callable[..., Sink]) -> tuple[str, ...]:
    """The keys that children of a strategy may have beside their own."""
    return next((_SAID[name] for name in inspect.signature(strategy).parameters if name in _SAID), ())


def made(
    strategy: Callable[..., Sink], children: Sequence[Sink], said: Said, table: Mapping[str, Any], path: str
) -> Sink:
    """Make a strategy.

    Args:
        strategy: Its class.
        children: Its children, in the order in which its arguments name them.
        said: What is said of each.
        table: All other arguments, by name.
        path: The key of its table.

    Raises:
        ConfigError: an argument that it doesn't take, doesn't have or that doesn't fit; it names the key.
    """
    signature = inspect.signature(strategy)
    label = getattr(strategy, "__name__", str(strategy))
    ours = {name for name, one in signature.parameters.items() if _of_children(one)}
    options = signature.parameters.keys() - ours
    check_known(table, options, path, label)
    for name in signature.parameters:
        if name in options and name not in table and signature.parameters[name].default is inspect.Parameter.empty:
            raise ConfigError(f"{path}.{name}: this key is missing; {label} needs it")
    arguments = {name: _value(value, f"{path}.{name}") for name, value in table.items()}
    arguments |= _children(signature, label, children, said, path)
    bound = inspect.BoundArguments(
        signature, OrderedDict((name, arguments[name]) for name in signature.parameters if name in arguments)
    )
    try:
        return strategy(*bound.args, **bound.kwargs)
    except (FailoverError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def check_known(table: Mapping[str, Any], options: Iterable[str], path: str, what: str) -> None:
    """Refuse what has no such argument.

    Raises:
        ConfigError: a key that isn't among the options; it names the key.
    """
    for key in table:
        if key not in options:
            raise ConfigError(f"{path}.{key}: {what} has no such argument; known are {', '.join(sorted(options))}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _of_children(parameter: inspect.Parameter) -> bool:
    """Whether an argument of a strategy is a child, or several."""
    return (
        parameter.kind is inspect.Parameter.VAR_POSITIONAL
        or parameter.name in _SAID
        or "Declared" in str(parameter.annotation)
    )


def _children(
    signature: inspect.Signature, label: str, children: Sequence[Sink], said: Said, path: str
) -> dict[str, Any]:
    """The arguments that children are given by."""
    if "weights" in signature.parameters:
        return {"weights": {child: one.get("weight", 1) for child, one in zip(children, said, strict=True)}}
    if "tiers" in signature.parameters:
        return {"tiers": _tiers(children, said, path)}
    if "routes" in signature.parameters:
        return _routes(children, said, path)
    arguments: dict[str, Any] = {}
    left = list(children)
    several = None
    for name, one in signature.parameters.items():
        if one.kind is inspect.Parameter.VAR_POSITIONAL:
            several = name
        elif _of_children(one) and left:
            arguments[name] = left.pop(0)
    slots = [name for name, one in signature.parameters.items() if _of_children(one) and name != several]
    if several is not None:
        arguments[several] = tuple(left)
    elif left or len(arguments) < len(slots):
        raise ConfigError(
            f"{path}.children: {label} takes {len(slots)} ({', '.join(slots)}), not {len(children)} of them"
        )
    return arguments


def _tiers(children: Sequence[Sink], said: Said, path: str) -> tuple[dict[Sink, int], ...]:
    tiers: dict[int, dict[Sink, int]] = {}
    for index, (child, one) in enumerate(zip(children, said, strict=True)):
        tier = one.get("tier")
        if type(tier) is not int:
            raise ConfigError(f"{path}.children[{index}].tier: expected a whole number, the least is tried first")
        tiers.setdefault(tier, {})[child] = one.get("weight", 1)
    return tuple(tiers[tier] for tier in sorted(tiers))


def _routes(children: Sequence[Sink], said: Said, path: str) -> dict[str, Any]:
    routes: list[tuple[Any, Sink]] = []
    rest: list[Sink] = []
    for index, (child, one) in enumerate(zip(children, said, strict=True)):
        if "when" in one:
            routes.append((_value(one["when"], f"{path}.children[{index}].when"), child))
        else:
            rest.append(child)
    if not routes:
        raise ConfigError(f'{path}.children: none of them has a `when`, a pattern of event names such as "E_ACC_*"')
    if len(rest) > 1:
        raise ConfigError(f"{path}.children: {len(rest)} have no `when`; one at most, which gets what no pattern fits")
    return {"routes": tuple(routes), "default": rest[0] if rest else None}


def _value(value: Any, path: str) -> Any:
    """What a value of a table means: a table is an object of Python's, or rules of health."""
    if not isinstance(value, dict):
        return value
    table = cast("dict[str, Any]", value)
    if table.keys() == {_OBJECT}:
        return named(str(table[_OBJECT]), path)
    kind = {"health": Health, "probe": Probe}.get(path.rpartition(".")[2])
    if kind is None:
        raise ConfigError(f'{path}: expected a value, or `{{ {_OBJECT} = "module:name" }}`, not {value!r}')
    check_known(table, inspect.signature(kind).parameters, path, kind.__name__)
    try:
        return kind(**{name: _value(one, f"{path}.{name}") for name, one in table.items()})
    except (FailoverError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
