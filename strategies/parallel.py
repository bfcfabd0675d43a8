"""PARALLEL: every child at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from failover.errors import ConfigError
from failover.fan_out import FanOut
from failover.receipt import Receipt
from failover.strategy import Declared

__all__ = ["Parallel"]


class Parallel(FanOut):
    """Gives the event to all children at once; it is delivered if as many take it as required.

    Every child gets its attempt whatever the others do. With `"all"` the receipt waits for every child, otherwise for
    as many as are required; the rest go on, and their replies are late confirmations.

    Args:
        children: Sinks or addresses.
        require: How many must take the event: `"all"` (OpenSIPS's letter), `"any"`, or a number of them.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no children, two of one name, or a `require` that can't be met.

    Source: OpenSIPS event_virtual, PARALLEL.
    """

    def __init__(
        self, *children: Declared, require: Literal["all", "any"] | int = "all", name: str | None = None
    ) -> None:
        super().__init__(*children, name=name)
        count = len(self.declared)
        named = {"all": count, "any": 1}
        need = named.get(require) if isinstance(require, str) else require
        if type(need) is not int or not 1 <= need <= count:
            raise ConfigError(f"{self.name} of {count} can require 'all', 'any' or 1 to {count}, not {require!r}")
        self.require = require
        self._need = need

    @property
    def need(self) -> int:
        """How many children must take the event."""
        return self._need

    def decided(self, receipts: Sequence[Receipt]) -> bool:
        """As soon as enough have taken it; never early for want of that: each child's own result is worth having."""
        return sum(receipt.confirmed or receipt.outcome.value == "sent" for receipt in receipts) >= self._need
