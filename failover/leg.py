"""How a sequence goes on with events that were begun together, and have the same first child."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Final, Protocol

from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.strategy import Child
from failover.taking import Taker

__all__ = ["InTurn", "Leg"]

_CONFIRMED: Final = Outcome.CONFIRMED


class InTurn(Protocol):
    """What is asked of a sequence that begins events together."""

    name: str
    rule: str

    def conclude(self, event: Event, child: Child, receipt: Receipt) -> Receipt | None:
        """Judge an event's first child; return the event's receipt, or None if it goes on to the next one."""
        ...

    async def carry_on(
        self, event: Event, order: Iterable[Child], tried: list[Receipt], deadline: float | None
    ) -> Receipt:
        """Try the other children of an event that its first one did not settle."""
        ...

    async def finish(
        self, event: Event, order: Iterable[Child], child: Child, begun: Awaitable[Receipt], deadline: float | None
    ) -> Receipt:
        """Wait for an event's first child, and try the others if need be."""
        ...


class Leg:
    """Takes the receipts of a child; makes the sequence's own of them, event by event.

    Args:
        strategy: The sequence.
        child: The first child of all these events.
        orders: The events, and the children that come after that one for each.
        taker: Takes the sequence's receipts.
        deadline: Absolute loop time for each event, seconds.
    """

    __slots__ = ("_child", "_deadline", "_orders", "_strategy", "_taker")

    def __init__(
        self,
        strategy: InTurn,
        child: Child,
        orders: dict[Event, Iterable[Child]],
        taker: Taker,
        deadline: float | None,
    ) -> None:
        self._strategy = strategy
        self._child = child
        self._orders = orders
        self._taker = taker
        self._deadline = deadline

    def take(self, receipts: list[Receipt], /) -> None:
        """Pass on what is settled, and have the rest go on to the next child."""
        strategy, child, orders = self._strategy, self._child, self._orders
        name, rule = strategy.name, strategy.rule
        done: list[Receipt] = []
        for receipt in receipts:
            event = receipt.event
            order = orders.pop(event)
            if receipt.outcome is _CONFIRMED and child.steady:
                done.append(Receipt(
                    event, name, _CONFIRMED, receipt.began, receipt.ended, (receipt,),
                    None, "", "", False, rule,  # noqa: FBT003  # by position, at half the cost
                ))  # fmt: skip
            elif (concluded := strategy.conclude(event, child, receipt)) is not None:
                done.append(concluded)
            else:
                self._taker.go_on(event, strategy.carry_on(event, order, [receipt], self._deadline))
        if done:
            self._taker.take(done)

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:
        """Await the child in a task, and the next ones if need be."""
        order = self._orders.pop(event)
        self._taker.go_on(event, self._strategy.finish(event, order, self._child, rest, self._deadline))
