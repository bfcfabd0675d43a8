"""Mirror: one child is the delivery, the other one gets a copy whose outcome never counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from failover.event import Event
from failover.fan_out import FanOut
from failover.receipt import Receipt
from failover.records import Silence
from failover.sink import News, Status, deliver_many
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
        self._batches: set[asyncio.Future[list[Receipt]]] = set()

    @property
    def need(self) -> int:
        """Main alone must take the event."""
        return 1

    def decided(self, receipts: Sequence[Receipt]) -> bool:
        """As soon as main has ended."""
        return any(receipt.sink == self.children[0].name for receipt in receipts)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch to main; its copies go on by themselves if they aren't done by then."""
        began = self._now()
        main, copy = self.children
        copies = asyncio.ensure_future(deliver_many(copy.sink, events, deadline=deadline))
        try:
            receipts = await deliver_many(main.sink, events, deadline=deadline, until=until)
        except BaseException:
            copies.cancel()
            await asyncio.wait([copies])
            raise
        waiting = [_one_of(copies, place) for place in range(len(events))]
        return [
            self._receipt(event, began, (receipt, one.result() if one.done() else self._leave(event, copy, began, one)))
            for event, receipt, one in zip(events, receipts, waiting, strict=True)
        ]

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

    def _receipt(self, event: Event, began: float, receipts: tuple[Receipt, ...]) -> Receipt:
        main = receipts[0]
        return _Mirrored(event, self.name, main.outcome, began, self._now(), receipts, main.verdict, side_by_side=True)


class _Mirrored(Receipt, eq=False, frozen=True, gc=False):
    """The receipt of a mirror: whatever is asked of it is answered by main's."""

    @property
    def maybe_processed(self) -> bool:
        """Whether main may have processed the event."""
        return self.children[0].maybe_processed

    @property
    def cut_short(self) -> bool:
        """Whether we stopped waiting for main."""
        return self.children[0].cut_short

    @property
    def at_fault(self) -> bool:
        """Whether main is."""
        return self.children[0].at_fault


def _one_of(batch: asyncio.Future[list[Receipt]], place: int) -> asyncio.Future[Receipt]:
    """The future of one receipt of a batch."""
    one: asyncio.Future[Receipt] = batch.get_loop().create_future()

    def take(done: asyncio.Future[list[Receipt]]) -> None:
        if done.cancelled() or done.exception() is not None:
            one.cancel()
        else:
            one.set_result(done.result()[place])

    if batch.done():
        take(batch)
    else:
        batch.add_done_callback(take)
    return one
