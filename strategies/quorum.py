"""Quorum: k of n must confirm."""

from __future__ import annotations

from collections.abc import Sequence

from failover.errors import ConfigError
from failover.event import Event
from failover.fan_out import FanOut
from failover.outcome import Outcome, fan_out_outcome
from failover.receipt import Receipt
from failover.strategy import Declared

__all__ = ["Quorum"]


class Quorum(FanOut):
    """Gives the event to all children at once; it is confirmed once `k` of them have confirmed it.

    The receipt comes as soon as that is known, one way or the other: with the k-th confirmation, or when so many have
    failed that k can't be had any more. Who is under way then goes on, and its reply is a late confirmation.

    Args:
        k: How many must confirm, 1 to the number of children.
        children: Sinks or addresses.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no children, two of one name, or a `k` that can't be met.
    """

    gives_up = True

    def __init__(self, k: int, *children: Declared, name: str | None = None) -> None:
        super().__init__(*children, name=name)
        count = len(self.declared)
        if type(k) is not int or not 1 <= k <= count:
            raise ConfigError(f"{self.name} of {count} can require 1 to {count} confirmations, not {k!r}")
        self.k = k

    @property
    def need(self) -> int:
        """How many children must take the event."""
        return self.k

    def decided(self, receipts: Sequence[Receipt]) -> bool:
        """As soon as `k` have confirmed, or can't any more."""
        confirmed = sum(receipt.confirmed for receipt in receipts)
        return confirmed >= self.k or confirmed + len(self.children) - len(receipts) < self.k

    def _receipt(self, event: Event, began: float, receipts: tuple[Receipt, ...]) -> Receipt:
        outcome, verdict = fan_out_outcome(receipts, self.k)
        spare = len(self.children) - self.k
        ended = max((receipt.ended for receipt in receipts), default=began)
        return _Counted(event, self.name, outcome, began, ended, receipts, verdict, side_by_side=True, spare=spare)


class _Counted(Receipt, eq=False, frozen=True, gc=False):
    """The receipt of a quorum: it is at fault if too many children are, whoever was still under way then."""

    spare: int = 0
    """How many children may be at fault while it isn't."""

    @property
    def at_fault(self) -> bool:
        """Whether more children are at fault than it can do without."""
        broken = self.outcome in (Outcome.UNREACHABLE, Outcome.UNCONFIRMED)
        return broken and sum(child.at_fault for child in self.children) > self.spare

    @property
    def cut_short(self) -> bool:
        """Whether we stopped waiting, and that is why there is no quorum."""
        return not self.at_fault and super().cut_short
