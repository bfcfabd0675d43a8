"""The base of all strategies that try one child after the other until the event is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final, TypeAlias

from attrs import Factory, define, field
from msgspec.structs import replace

from failover.event import Event
from failover.foresight import Resolve, WorstCase, in_turn, moving_on, shared
from failover.health import Health
from failover.judging import Judging
from failover.leg import Leg
from failover.outcome import Outcome, sequential_outcome
from failover.receipt import Receipt
from failover.sink import Sink, deliver_many, left_by, left_of, partial_receipt, untold
from failover.strategy import Child, Declared, skipped
from failover.taking import Taker, begin_many

__all__ = ["Sequential"]

_TIME_OVER: Final = "its quarantine is over"
_NO_OTHER: Final = "in slow start, and no other took it"
_BACK: Final = "back in service meanwhile"
_CONFIRMED: Final = Outcome.CONFIRMED
_Legs: TypeAlias = "Mapping[Child, Sequence[int]]"  # which events of a batch go to which child, by their places
_LATE: Final = "no time left before the deadline"


class Sequential(Judging):
    """One child after the other until the event is settled, in declared order unless a subclass has another.

    A child whose receipt is evidence against it (unreachable, or silent past its own timeout) is quarantined, and comes
    back as its `health` says. If that leaves an event unsettled, the quarantined ones are tried all the same,
    longest-quarantined first, one event at a time for each; what finds such a trial under way is skipped at once. A
    child that is busy and says for how long is passed over as well, but isn't judged broken.

    Args:
        children: Sinks or addresses, at least one.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well, as OpenSIPS does.
        last_resort: Whether children that are out or busy are tried rather than leaving an event undelivered; OpenSIPS
            doesn't.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no children, two of one name, or a negative quarantine.

    Source: OpenSIPS event_virtual.
    """

    def __init__(
        self,
        *children: Declared,
        name: str | None = None,
        quarantine: float | None = None,
        quarantine_rejected: bool = False,
        last_resort: bool = True,
        health: Health | None = None,
    ) -> None:
        super().__init__(
            *children, name=name, quarantine=quarantine, quarantine_rejected=quarantine_rejected, health=health
        )
        self.last_resort = last_resort
        self.as_declared = type(self).order is Sequential.order
        """Whether every event tries the children in declared order."""

    @property
    def tries(self) -> int:
        """How many of its children one event is given to at most; each of them has it once."""
        return len(self.declared)

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """All that are tried take their time; see `failover.foresight`."""
        cases = self._foresee(within, resolve)
        found = in_turn(cases, self.tries)
        if self.tries > 1:
            names = [child.name if isinstance(child, Sink) else child.called for child in self.declared]
            children = list(zip(names, cases, strict=True))
            if not self.as_declared:
                children.sort(key=lambda child: child[1].alone, reverse=True)  # as bad as it may come
            found = found.but(self.name, *moving_on(cases), *shared(children, within))
        return found.capped(within)

    def order(self, event: Event) -> Iterable[Child]:
        """The children in the order in which this event tries them; asked once per event, read as far as needed."""
        return self.children

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:  # noqa: C901  # per event: a call less
        """Try the children in order until one settles the event; a deadline is shared among those that are left."""
        tried: list[Receipt] = []
        held: list[Child] = []
        limit = deadline
        for child in self.children if self.as_declared else self.order(event):
            steady = child.steady
            if not steady and not child.admits(self._now()):
                held.append(child)
                continue
            if deadline is not None:
                limit = self._share(deadline, len(self.children) - len(tried) - len(held))
                if limit is None:
                    tried.append(skipped(event, child.name, self._now(), _LATE))
                    continue
            begun = child.start(event, deadline=limit)
            if not steady:
                self._on_trial(child, _TIME_OVER)
            try:
                receipt = await begun
            except asyncio.CancelledError as cancelled:
                self._cancelled(event, tried, child, begun, cancelled)
                raise
            finally:
                if not steady:
                    child.trial -= 1
            if receipt.outcome is _CONFIRMED and not tried and not held and child.steady:
                return Receipt(
                    event, self.name, _CONFIRMED, receipt.began, receipt.ended, (receipt,),
                    None, "", "", False, self.rule,  # noqa: FBT003  # by position, at half the cost
                )  # fmt: skip
            tried.append(receipt)
            self._judge(child, receipt)
            if receipt.settled or self._loop is None:  # closed meanwhile
                break
        else:
            if held:
                await self._last_resort(event, held, tried, deadline)
                held = []
        return self._receipt(event, tried, held)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,  # each event moves on by itself here
    ) -> list[Receipt]:
        """Deliver a batch: grouped by next child, the unsettled rest goes on to the child after it."""
        return await self._deliver_batch(*self._begin_batch(events), deadline)

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """Begin a delivery of each, those that have the same first child together; see `failover.taking`."""
        children = self.children
        limit = deadline
        if deadline is not None and children:
            limit = self._share(deadline, len(children))
        usual = type(self).deliver is Sequential.deliver and children and all(child.steady for child in children)
        if not usual or (limit is None and deadline is not None):
            for event in events:
                taker.go_on(event, self.deliver(event, deadline=deadline))
            return
        legs: dict[Child, dict[Event, Iterable[Child]]] = {}
        if self.as_declared:
            legs[children[0]] = dict.fromkeys(events, children[1:])
            events = ()
        for event in events:
            try:
                order = iter(self.order(event))
                child = next(order, None)
            except Exception as error:  # noqa: BLE001  # of an order that breaks the rules: it is this event's alone
                taker.go_on(event, _raised(error))
                continue
            if child is None:
                taker.go_on(event, self.carry_on(event, order, [], deadline))
            elif child in legs:
                legs[child][event] = order
            else:
                legs[child] = {event: order}
        for child, orders in legs.items():
            begin_many(child.sink, list(orders), Leg(self, child, orders, taker, deadline), deadline=limit)

    def conclude(self, event: Event, child: Child, receipt: Receipt) -> Receipt | None:
        """Judge the first child of an event; see `Leg`."""
        self._judge(child, receipt)
        return self._receipt(event, [receipt]) if receipt.settled or self._loop is None else None

    async def carry_on(
        self, event: Event, order: Iterable[Child], tried: list[Receipt], deadline: float | None
    ) -> Receipt:
        """Try the other children of an event; see `Leg`."""
        batch = _Batch([event], [order], {0: tried})
        try:
            (left,) = await self._deliver_batch(batch, *self._next_legs(batch, [0]), deadline)
        except asyncio.CancelledError as cancelled:
            (cancelled.receipt,) = batch.receipts  # type: ignore[attr-defined]
            raise
        return left

    async def finish(
        self, event: Event, order: Iterable[Child], child: Child, begun: Awaitable[Receipt], deadline: float | None
    ) -> Receipt:
        """Wait for the first child of an event, and try the others if need be; see `Leg`."""
        try:
            receipt = await begun
        except asyncio.CancelledError as cancelled:
            left: Receipt = getattr(cancelled, "receipt", None) or untold(event, child.sink, self._now())
            cancelled.receipt = self._receipt(event, [left])  # type: ignore[attr-defined]
            raise
        return self.conclude(event, child, receipt) or await self.carry_on(event, order, [receipt], deadline)

    async def _deliver_batch(
        self, batch: _Batch, legs: _Legs, exhausted: list[int], deadline: float | None
    ) -> list[Receipt]:
        """Go on with a batch until all of it is settled, or has nobody left to try."""
        try:
            while legs or exhausted:
                runs = await self._run_legs(batch, legs, deadline)
                unsettled: list[int] = []
                for (child, leg), results in zip(legs.items(), runs, strict=True):
                    unsettled += self._take_leg(batch, child, leg, results)
                if exhausted:
                    unsettled += await self._finish(batch, exhausted, deadline)
                if self._loop is None:  # closed meanwhile
                    for index in unsettled:
                        batch.receipts[index] = self._receipt(*batch.so_far(index))
                    break
                legs, exhausted = self._next_legs(batch, sorted(unsettled))
        except asyncio.CancelledError as cancelled:
            cancelled.receipts = self._left(batch)  # type: ignore[attr-defined]
            raise
        finally:
            batch.orders.clear()  # an order may count on being dropped, and a traceback holds on to the batch
        return batch.receipts

    def _begin_batch(self, events: Sequence[Event]) -> tuple[_Batch, _Legs, list[int]]:
        """A batch, and how it begins."""
        everything, children = range(len(events)), self.children
        if events and self.as_declared and children and children[0].steady:  # usual: there is nothing to ask per event
            return _Batch(events, [children[1:]] * len(events)), {children[0]: everything}, []
        batch = _Batch(events, [self.order(event) for event in events])
        return batch, *self._next_legs(batch, everything)

    def _next_legs(self, batch: _Batch, waiting: Sequence[int]) -> tuple[_Legs, list[int]]:
        """Group what waits by each event's next child; those without one are exhausted."""
        legs: dict[Child, list[int]] = {}
        exhausted: list[int] = []
        now = self._now()
        for index in waiting:
            order = batch.orders[index] = iter(batch.orders[index])  # what is left of it, from now on
            for child in order:
                if (
                    not child.steady
                    and not child.admits(now, len(legs.get(child, ())))
                    and not (index in batch.again and child.in_slow_start)
                ):
                    batch.held.setdefault(index, []).append(child)
                    continue
                if child in legs:
                    legs[child].append(index)
                else:
                    legs[child] = [index]
                break
            else:
                exhausted.append(index)
        return legs, exhausted

    async def _run_legs(self, batch: _Batch, legs: _Legs, deadline: float | None) -> list[list[Receipt]]:
        """Deliver to each child its part of a batch, side by side."""
        events = batch.events
        limit = deadline
        if deadline is not None and legs:
            limit = self._share(deadline, len(self.children) - batch.done(legs.values()))
            if limit is None:
                now = self._now()
                return [[skipped(events[at], child.name, now, _LATE) for at in leg] for child, leg in legs.items()]
        until = _at_fault if self.quarantine else None
        runs = [deliver_many(child.sink, batch.part(leg), deadline=limit, until=until) for child, leg in legs.items()]
        running: list[asyncio.Task[list[Receipt]]] = []
        on_trial = {child: len(leg) for child, leg in legs.items() if not child.steady}
        for child, count in on_trial.items():
            self._on_trial(child, _TIME_OVER, count)

        def over(child: Child, _leg: object = None) -> None:  # its own leg is, the others may take longer
            child.trial -= on_trial.pop(child, 0)

        try:
            if len(runs) == 1:
                return [await runs[0]]
            async with asyncio.TaskGroup() as tasks:
                for child, run in zip(legs, runs, strict=True):
                    running.append(tasks.create_task(run))
                    if child in on_trial:
                        running[-1].add_done_callback(partial(over, child))
        except asyncio.CancelledError as cancelled:
            self._keep(batch, legs, running, cancelled)
            raise
        finally:
            for child in list(on_trial):
                over(child)
        return [task.result() for task in running]

    def _keep(
        self,
        batch: _Batch,
        legs: _Legs,
        running: list[asyncio.Task[list[Receipt]]],
        cancelled: asyncio.CancelledError,
    ) -> None:
        """Keep what the children of a cancelled batch leave of their parts."""
        for position, (child, leg) in enumerate(legs.items()):
            part = batch.part(leg)
            left = left_by(running[position], part, child.name) if running else left_of(part, child.name, cancelled)
            self._judge_all(child, left)
            for index, receipt in zip(leg, left, strict=True):
                batch.tried.setdefault(index, []).append(receipt)

    def _left(self, batch: _Batch) -> list[Receipt]:
        """What there is of each event of a cancelled batch."""
        for index, receipt in enumerate(batch.receipts):
            if receipt is None:  # pyright: ignore[reportUnnecessaryComparison]  # not filled in yet
                event, tried, held = batch.so_far(index)
                left = self._receipt(event, tried, held)
                why = "" if left.settled else "cancelled" if tried else "cancelled before its turn"
                batch.receipts[index] = replace(left, reason=why) if why else left
        return batch.receipts

    def _take_leg(self, batch: _Batch, child: Child, leg: Sequence[int], results: list[Receipt]) -> list[int]:
        """Take what a child made of its part of a batch; return what goes on to the next one."""
        unsettled: list[int] = []
        simple = usual = not batch.tried and not batch.held and child.steady  # so far
        failed = False
        name, rule, events, receipts = self.name, self.rule, batch.events, batch.receipts
        for index, receipt in zip(leg, results, strict=True):
            if simple and receipt.outcome is _CONFIRMED:
                receipts[index] = Receipt(
                    events[index], name, _CONFIRMED, receipt.began, receipt.ended, (receipt,),
                    None, "", "", False, rule,  # noqa: FBT003  # by position, as above
                )  # fmt: skip
                continue
            simple = usual = False
            if failed and not receipt.settled and all(one.outcome is Outcome.SKIPPED for one in receipt.walk()):
                batch.orders[index] = chain((child,), batch.orders[index])  # spared when one failed: look again
                unsettled.append(index)
                continue
            failed = failed or bool(self.quarantine and receipt.at_fault)
            batch.tried.setdefault(index, []).append(receipt)
            if receipt.settled:
                receipts[index] = self._receipt(*batch.so_far(index))
            else:
                unsettled.append(index)
        if not usual:
            self._judge_all(child, results)
        return unsettled

    async def _finish(self, batch: _Batch, exhausted: list[int], deadline: float | None) -> list[int]:
        """Last resort for a batch: one event is the trial for all; return those for which a child is back."""
        again: list[int] = []
        trial = True
        for index in exhausted:
            event, tried, held = batch.so_far(index)
            now = self._now()
            back = [child for child in held if not child.out_until and child.admits(now, -child.trial)]  # nor busy
            if back:
                batch.orders[index] = iter(back)
                batch.held[index] = [child for child in held if child not in back]
                batch.again.add(index)
                again.append(index)
            elif held and trial:
                await self._last_resort(event, held, tried, deadline)
                receipt = batch.receipts[index] = self._receipt(event, tried)
                trial = receipt.settled  # without a child that came back: it was refused a slot, and tried nobody
            else:
                batch.receipts[index] = self._receipt(event, tried, held)
        return again

    async def _last_resort(self, event: Event, held: list[Child], tried: list[Receipt], deadline: float | None) -> None:
        """Try those passed over until one settles the event, longest-quarantined first; one event a child."""
        held.sort(key=lambda child: (not child.answering, child.out_since))
        for position, child in enumerate(held):
            if self._loop is None:  # closed meanwhile
                tried.extend(self._passed_over(event, held[position:]))
                return
            now = self._now()
            # In slow start it is in service, only not for that many.
            back = child.admits(now) or (not child.out_until and child.admits(now, -child.trial))
            if not back and (not self.last_resort or child.trial or child.by_hand):
                why = "; another event is its trial already" if self.last_resort and not child.by_hand else ""
                tried.append(skipped(event, child.name, now, child.why_not(now) + why))
                continue
            limit = deadline
            if deadline is not None:
                limit = self._share(deadline, len(held) - position)
                if limit is None:
                    tried.append(skipped(event, child.name, now, _LATE))
                    continue
            why = f"last resort: {child.why_not(now)}"
            if back:
                why = _TIME_OVER if child.out_until else _NO_OTHER if child.in_slow_start else _BACK
            begun = child.start(event, deadline=limit)
            self._on_trial(child, why)
            try:
                receipt = await begun
            except asyncio.CancelledError as cancelled:
                self._cancelled(event, tried, child, begun, cancelled, why=why)
                raise
            finally:
                child.trial -= 1
            tried.append(replace(receipt, why=why))
            self._judge(child, receipt)
            if receipt.settled:
                tried.extend(self._passed_over(event, held[position + 1 :]))
                return

    def _receipt(self, event: Event, tried: list[Receipt], held: Iterable[Child] = ()) -> Receipt:
        if held:
            tried = [*self._passed_over(event, held, tried[0].began if tried else None), *tried]
        outcome, verdict = sequential_outcome(tried)
        began, ended = (tried[0].began, tried[-1].ended) if tried else (self._now(),) * 2
        return Receipt(event, self.name, outcome, began, ended, tuple(tried), verdict, rule=self.rule)

    def _passed_over(self, event: Event, held: Iterable[Child], at: float | None = None) -> list[Receipt]:
        now = self._now() if at is None else at
        return [skipped(event, child.name, now, child.why_not(now)) for child in held]

    def _share(self, deadline: float, left: int) -> float | None:
        """The deadline of the next child, an equal share for all that are left; None when time is up."""
        now = self._now()
        if deadline <= now:
            return None
        return deadline if left <= 1 else now + (deadline - now) / left

    def _cancelled(
        self,
        event: Event,
        tried: list[Receipt],
        child: Child,
        begun: Awaitable[Receipt],
        cancelled: asyncio.CancelledError,
        *,
        why: str = "",
    ) -> None:
        """Let the receipt of what was done so far travel up with the cancellation, for the observers."""
        receipt = partial_receipt(child.sink, event, begun, cancelled)
        tried.append(replace(receipt, why=why) if why else receipt)
        cancelled.receipt = self._receipt(event, tried)  # type: ignore[attr-defined]


@define
class _Batch:
    """How far each event of a batch has come, by its place in it."""

    events: Sequence[Event]
    orders: list[Iterable[Child]]
    tried: dict[int, list[Receipt]] = Factory(dict[int, list[Receipt]])
    receipts: list[Receipt] = field(init=False)
    held: dict[int, list[Child]] = Factory(dict[int, list[Child]])
    again: set[int] = Factory(set[int])
    """Events that nobody else took: now a child in slow start has to."""

    def __attrs_post_init__(self) -> None:
        self.receipts = [None] * len(self.events)  # type: ignore[list-item]  # each is filled in before it is read

    def part(self, leg: Sequence[int]) -> Sequence[Event]:
        """The events at some places, in order."""
        return self.events if len(leg) == len(self.events) else [self.events[index] for index in leg]

    def so_far(self, index: int) -> tuple[Event, list[Receipt], list[Child]]:
        """An event, what was tried for it, and which children were passed over."""
        return self.events[index], self.tried.setdefault(index, []), self.held.get(index, [])

    def done(self, legs: Iterable[Sequence[int]]) -> int:
        """How many children are behind each of some events at least."""
        if not self.tried and not self.held:
            return 0
        return min(len(self.tried.get(index, ())) + len(self.held.get(index, ())) for index in chain(*legs))


async def _raised(error: Exception) -> Receipt:
    raise error


def _at_fault(receipt: Receipt) -> bool:
    return receipt.at_fault
