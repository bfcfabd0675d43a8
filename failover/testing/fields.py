"""Checks of the fields of actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from attrs import Attribute

from failover.errors import ConfigError
from failover.testing.delays import Delay, check_delay

__all__ = ["is_count", "is_delay", "one_of"]


def is_delay(_: object, attribute: Attribute[Any], value: Delay) -> None:
    """Refuse what is no delay."""
    check_delay(attribute.name, value)


def is_count(_: object, attribute: Attribute[Any], value: int) -> None:
    """Refuse what is no whole number >= 0."""
    if type(value) is not int or value < 0:
        raise ConfigError(f"{attribute.name}={value!r}: expected a whole number >= 0")


def one_of(literal: Any) -> Callable[[object, Attribute[Any], object], None]:
    """Refuse what is none of the values of a `Literal`."""
    choices = get_args(literal)

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(f"{attribute.name}={value!r}: expected one of {', '.join(map(repr, choices))}")

    return check
