"""Mirror: one child is the delivery, the other one gets a copy whose outcome never counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from attrs import evolve

from failover.event import Event
from failover.fan_out import FanOut
from failover.foresight import Resolve, WorstCase, at_once
from failover.receipt import Receipt
from failover.records import Silence
from failover.sink import News, Status
from failover.strategy import Child, Declared

__all__ = ["Mirror"]


class Mirror(FanOut):
    """Delivers to `main`, and gives `copy` the same events at the same time; what becomes of these changes nothing.

    The receipt comes with main's. A copy that is under way then goes on by itself; closing ends it.

    Args:
        main: A sink or an address: its outcome is the outcome, its standing the standing.
        copy: A sink or an address.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: two of one name, or a child that is none.
    """

    def __init__(self, main: Declared, copy: Declared, *, name: str | None = None) -> None:
        super().__init__(main, copy, name=name)

    @property
    def need(self) -> int:
        """Main alone must take the event."""
        return 1

    def decided(self, receipts: Sequence[Receipt]) -> bool:
        """As soon as main has ended."""
        return any(receipt.sink == self.children[0].name for receipt in receipts)

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """Main's time, and the attempts of both; see `failover.foresight`."""
        main, copy = self._foresee(within, resolve)
        found = at_once([main, copy])
        return evolve(main, attempts=found.attempts, duplicates=found.duplicates, concerns=found.concerns)

    def status(self) -> Status:
        """How it stands; it is up if main is."""
        status = super().status()
        up = self._loop is not None and status.children[0].up
        return Status(
            self.name,
            up,
            "" if up else status.reason or "main is not up",
            status.in_flight,
            status.outcomes,
            status.late,
            status.children,
        )

    def silent(self, child: Child, news: Silence) -> None:
        """If main is silent, the whole is."""
        if child is self.children[0]:
            self._tell(Silence(self.name, news.attempt, news.at))

    def _hear(self, child: Child, news: News) -> None:
        """What comes late from the copy concerns nobody above; observers hear it where it comes from."""
        if child is self.children[0]:
            super()._hear(child, news)

    async def _until_decided(self, futures: list[asyncio.Future[Receipt]]) -> None:
        """Wait for main alone."""
        await futures[0]
        await super()._until_decided(futures)  # closed meanwhile, for the copy as well

    def _receipt(self, event: Event, began: float, receipts: tuple[Receipt, ...]) -> Receipt:
        main = receipts[0]
        ended = max(receipt.ended for receipt in receipts)
        return _Mirrored(event, self.name, main.outcome, began, ended, receipts, main.verdict, side_by_side=True)


class _Mirrored(Receipt, eq=False, frozen=True, gc=False):
    """The receipt of a mirror: whatever is asked of it is answered by main's."""

    @property
    def maybe_processed(self) -> bool:
        """Whether main may have processed the event."""
        return self.children[0].maybe_processed

    @property
    def copies(self) -> int:
        """How many times main's are meant to."""
        return self.children[0].copies

    @property
    def cut_short(self) -> bool:
        """Whether we stopped waiting for main."""
        return self.children[0].cut_short

    @property
    def at_fault(self) -> bool:
        """Whether main is."""
        return self.children[0].at_fault
