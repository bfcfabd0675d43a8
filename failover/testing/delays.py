"""How long something takes: a number of seconds, or a distribution drawn from an injected generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, cast

from failover.errors import ConfigError
from failover.sim.links import Latency, log_normal, uniform

__all__ = ["Delay", "as_delay", "check_delay", "constant", "draw", "log_normal", "rarely", "uniform"]

Delay = Latency
"""Seconds, or a function that draws seconds from the `random.Random` it is given."""


def constant(seconds: float) -> Delay:
    """The same delay each time.

    Args:
        seconds: >= 0.
    """
    check_delay("constant", seconds)
    return lambda _: seconds


def rarely(slow: Delay, usual: Delay = 0.0, *, share: float = 0.01) -> Delay:
    """Usually one delay, and once in a while another: by default 1 % of the requests are slow.

    Args:
        slow: The delay of the few.
        usual: The delay of the others.
        share: Probability of the slow one, 0 to 1.

    Raises:
        ConfigError: a probability or a delay out of its range.
    """
    check_delay("slow", slow)
    check_delay("usual", usual)
    if not 0 <= share <= 1:
        raise ConfigError(f"rarely(share={share!r}): expected a probability, 0 to 1")
    return lambda rng: draw(slow if rng.random() < share else usual, rng)


def draw(delay: Delay, rng: Random) -> float:
    """Seconds, from a number or a distribution; never less than 0."""
    return max(0.0, delay(rng)) if callable(delay) else delay


def check_delay(name: str, delay: Delay) -> Delay:
    """The delay, if it is one.

    Raises:
        ConfigError: it is neither finite seconds >= 0 nor a function.
    """
    if callable(delay):
        return delay
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise ConfigError(f"{name}={delay!r}: expected seconds >= 0, or a function that draws them from a Random")
    return delay


_DISTRIBUTIONS: Final[dict[str, Callable[..., Delay]]] = {
    "constant": constant,
    "log_normal": log_normal,
    "rarely": rarely,
    "uniform": uniform,
}


def as_delay(value: Any) -> Delay:
    """The delay that a file means: a number, or a table of one entry such as `{uniform = [0.1, 0.2]}`.

    Args:
        value: A delay already; or a mapping from a distribution's name to its arguments, in a list or a mapping.

    Raises:
        ConfigError: no such distribution, or not with these arguments.
    """
    if not isinstance(value, Mapping):
        return check_delay("delay", value)
    table = cast("Mapping[str, Any]", value)
    name, arguments = next(iter(table.items()), ("", ()))
    if len(table) != 1 or name not in _DISTRIBUTIONS:
        known = ", ".join(_DISTRIBUTIONS)
        raise ConfigError(f"delay={value!r}: expected seconds, or one distribution of {known} with its arguments")
    make = _DISTRIBUTIONS[name]
    try:
        if isinstance(arguments, Mapping):
            return make(**cast("Mapping[str, Any]", arguments))
        if isinstance(arguments, Sequence) and not isinstance(arguments, str):
            return make(*arguments)
        return make(arguments)
    except TypeError as error:
        raise ConfigError(f"delay={value!r}: {error}") from None
