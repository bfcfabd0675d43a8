"""Route: which child an event goes to depends on the event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TypeAlias

from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.receipt import Receipt
from failover.strategies.wrapper import Wrapper
from failover.strategy import Child, Declared

__all__ = ["Route", "When"]

When: TypeAlias = str | Callable[[Event], object]
"""A pattern of event names as shells have them (`E_UL_*`, `E_[A-D]*`, letters as they are), or a predicate."""

_log = logging.getLogger("failover")


class Route(Wrapper):
    """Gives each event to the child of the first route that fits it, and to no other.

    Args:
        routes: Pairs of a pattern or a predicate and a child, asked in this order. A predicate that raises is logged,
            and its route doesn't fit.
        default: The child of events that no route fits; without one these are skipped.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no routes, a pattern that is none, or two children of one name.
    """

    rule = "its route"
    move_on = False
    """An event that its child did not settle is no other child's."""

    def __init__(
        self, *routes: tuple[When, Declared], default: Declared | None = None, name: str | None = None
    ) -> None:
        if not routes:
            raise ConfigError("Route has no routes: give it at least one (pattern or predicate, child) pair")
        for route in routes:
            pair = isinstance(route, tuple) and len(route) == 2  # noqa: PLR2004  # a condition and a child
            if not pair or not (callable(route[0]) or (isinstance(route[0], str) and route[0])):
                raise ConfigError(f"a route must be a (pattern or predicate, child) pair, not {route!r}")
        children = [child for _, child in routes]
        super().__init__(*(children if default is None else [*children, default]), name=name)
        self.conditions = tuple(when for when, _ in routes)

    @property
    def tries(self) -> int:
        """The one whose route fits."""
        return 1

    def order(self, event: Event) -> Iterable[Child]:
        """The one child whose route fits."""
        for child, when in zip(self.children, self.conditions, strict=False):
            if fnmatchcase(event.name, when) if isinstance(when, str) else _fits(when, event):
                return (child,)
        return self.children[len(self.conditions) :]

    def _share(self, deadline: float, left: int) -> float | None:
        """The one child has all the time."""
        return super()._share(deadline, 1)

    def _receipt(self, event: Event, tried: list[Receipt], held: Iterable[Child] = ()) -> Receipt:
        receipt = super()._receipt(event, tried, held)
        return receipt if tried else replace(receipt, reason="no route fits it")


def _fits(predicate: Callable[[Event], object], event: Event) -> bool:
    try:
        return bool(predicate(event))
    except Exception:  # noqa: BLE001  # a fault in it must not cost the event
        _log.exception("whether %r fits %r can't be told; it is taken not to", predicate, event)
        return False
