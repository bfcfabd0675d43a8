"""Weights: what each child's share of the load is, declared beside the child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from failover.errors import ConfigError
from failover.health import Health
from failover.sequential import Sequential

__all__ = ["Weighted", "Weights", "check_weights"]

Weights: TypeAlias = Mapping[Any, int]
"""Children (sinks, addresses or text) and the weight of each. `Any`, since a mapping's keys are invariant to typing."""


class Weighted(Sequential):
    """The base of sequences whose children have weights. Subclasses say in which order.

    Args:
        weights: The children, sinks or addresses, each with its weight, a whole number from 1: of weights 3 and 1 the
            first child gets three events of four.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no mapping, a weight that is none, no children, two of one name, or a negative quarantine.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        name: str | None = None,
        quarantine: float | None = None,
        quarantine_rejected: bool = False,
        last_resort: bool = True,
        health: Health | None = None,
    ) -> None:
        checked = check_weights(name or type(self).__name__, weights)
        super().__init__(
            *weights,
            name=name,
            quarantine=quarantine,
            quarantine_rejected=quarantine_rejected,
            last_resort=last_resort,
            health=health,
        )
        self.weights = checked
        """The weight of each child, in declared order."""


def check_weights(owner: str, weights: Weights, least: int = 1) -> tuple[int, ...]:
    """The weights of a mapping, in its order.

    Args:
        owner: Whose they are, for the error.
        weights: Children and the weight of each.
        least: The smallest weight that is allowed.

    Raises:
        ConfigError: no mapping, or a weight that is no whole number or too small.
    """
    if not isinstance(weights, Mapping):
        raise ConfigError(
            f"{owner} takes a mapping of its children to their weights, "
            f'e.g. {{"jsonrpc:10.0.0.5:8080": 3, "jsonrpc:10.0.0.6:8080": 1}}, not {weights!r}'
        )
    for child, weight in weights.items():
        if type(weight) is not int or weight < least:
            called = child if isinstance(child, str) else getattr(child, "name", child)
            raise ConfigError(f"{owner}: the weight of {called} must be a whole number from {least}, not {weight!r}")
    return tuple(weights.values())
