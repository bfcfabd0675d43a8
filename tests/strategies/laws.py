"""What holds of every delivery through any tree, whatever happens: each law looks at what came of a whole program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from failover.event import Event
from failover.fan_out import FanOut
from failover.group import Group
from failover.outcome import Outcome, Verdict, fan_out_outcome, sequential_outcome
from failover.receipt import Attempt, Receipt
from failover.records import DeliveryEnded, Quarantined
from failover.sink import Sink
from failover.strategies import DeadLetter, Dedup, Hedge, Mirror, Retry
from tests.strategies.random_trees import Played, Tried

__all__ = ["LAWS"]

EPSILON: Final = 1e-9
LATE: Final = 0.010
"""Seconds by which a deadline may be passed."""
LOST: Final = "the other one was faster"  # a hedge's loser is abandoned, whatever is below it
GOES_ON: Final = "decided without it; it goes on"


def one_receipt_each(played: Played) -> None:
    """Observers are told of each event's end exactly once, and of no other's; who asked gets the same receipts."""
    told = Counter(id(receipt.event) for receipt in _ended(played))
    for raised in played.raised:
        if not raised.begun:
            assert not any(told[id(event)] for event in raised.events)
            continue
        assert [told[id(event)] for event in raised.events] == [1] * len(raised.events)
        assert [receipt.event for receipt in raised.receipts] == list(raised.events)[: len(raised.receipts)]
        assert raised.cancelled or len(raised.receipts) == len(raised.events)


def nothing_is_left(played: Played) -> None:
    """When all has ended nothing is under way, nothing is counted as in flight, and no task runs."""
    assert played.left == []


def a_confirmation_has_a_leaf(played: Played) -> None:
    """What says that it is confirmed has an attempt below it that was."""
    for receipt in _nodes(played):
        repeats = any(isinstance(played.sinks.get(node.sink), Dedup) and not node.children for node in receipt.walk())
        if receipt.confirmed and not repeats:  # these have the outcome of another event, whose receipt is its own
            assert any(isinstance(node, Attempt) and node.confirmed for node in receipt.walk()), receipt.explain()


def outcomes_add_up(played: Played) -> None:
    """The outcome of each strategy follows from its children's by the one table."""
    for receipt in _nodes(played):
        sink = played.sinks.get(receipt.sink)
        if isinstance(receipt, Attempt) or sink is None or not receipt.children or receipt.reason == LOST:
            continue
        assert (receipt.outcome, receipt.verdict) == _sum(sink, receipt.children), receipt.explain()


def children_are_its_own(played: Played) -> None:
    """A receipt lists children of its strategy, each at most as often as that tries one, with its own event."""
    for receipt in _nodes(played):
        kind = played.kinds.get(receipt.sink)
        if kind is None or isinstance(receipt, Attempt):
            continue
        tried = Counter(child.sink for child in receipt.children if child.outcome is not Outcome.SKIPPED)
        assert all(name.startswith(receipt.sink) and len(name) == len(receipt.sink) + 1 for name in tried)
        assert all(count <= kind.again for count in tried.values()), receipt.explain()
        assert {child.event.id for child in receipt.children} <= {receipt.event.id}, receipt.explain()


def no_more_attempts_than_stated(played: Played) -> None:
    """No double gets an event more often than the strategies above it say."""
    for (leaf, _), count in Counter((one.leaf, one.event.id) for one in played.tried() if _asked(one)).items():
        most = 1
        for end in range(1, len(leaf)):
            most *= played.kinds[leaf[:end]].again
        assert count <= most, (leaf, count)


def attempts_are_listed(played: Played) -> None:
    """What was attempted stands in the receipt of its event, under its own name or that of who goes on with it."""
    tried: dict[str, list[Tried]] = {}
    for one in played.tried():
        tried.setdefault(one.event.id, []).append(one)
    for at, receipt in _told(played):
        leaves = [node for node in receipt.walk() if isinstance(node, Attempt) and node.outcome is not Outcome.SKIPPED]
        for one in tried.get(receipt.event.id, ()):
            if one.began > at or not _asked(one):
                continue
            mine = [node for node in leaves if one.leaf == node.sink]
            over = [node for node in leaves if one.leaf.startswith(node.sink) and node.reason == GOES_ON]
            over += [node for node in leaves if node.sink == "root"]  # cancelled and closed in one instant
            assert mine or over, (one, receipt.explain())
            if one.processed:
                assert any(node.maybe_processed for node in (*mine, *over)), (one, receipt.explain())
                assert receipt.maybe_processed or _copy(played, one.leaf), (one, receipt.explain())


def duplicates_are_admitted(played: Played) -> None:
    """The possible duplicates are at least what was processed beyond what was intended."""
    for receipt in _nodes(played):
        assert receipt.possible_duplicates >= _beyond(played, receipt)[0], receipt.explain()


def times_are_nested(played: Played) -> None:
    """Everything begins and ends within what it is a part of, and nothing ends in the future."""
    for at, receipt in _told(played):
        assert receipt.ended <= at + EPSILON
        for node in receipt.walk():
            assert node.began <= node.ended, receipt.explain()
            for child in node.children:
                assert node.began - EPSILON <= child.began, receipt.explain()
                assert child.ended <= node.ended + EPSILON, receipt.explain()


def deadlines_are_kept(played: Played) -> None:
    """Nobody waits longer than 10 ms past the deadline."""
    for raised in played.raised:
        if raised.deadline is not None and raised.begun:
            assert raised.ended <= max(raised.deadline, raised.at) + LATE


def budgets_are_kept(played: Played) -> None:
    """Further attempts keep to the share and the floor, and each of them was granted."""
    end = max((at for at, _ in played.records), default=0.0)
    for name, budget in played.budgets.items():
        sink = played.sinks[name]
        extra = sink.retried if isinstance(sink, Retry) else sink.hedged if isinstance(sink, Hedge) else 0
        assert extra <= budget.granted
        assert budget.granted <= budget.share * budget.events + budget.floor * (end + 10) + 1


def impatience_quarantines_nobody(played: Played) -> None:
    """Whoever is taken out has a double below it that failed: unreachable, silent, or (the letter) refusing."""
    failing = (Outcome.UNREACHABLE, Outcome.UNCONFIRMED)
    for record in (record for _, record in played.records if isinstance(record, Quarantined)):
        letter = getattr(played.sinks[record.strategy], "quarantine_rejected", False)
        assert any(
            one.leaf.startswith(record.child)
            and one.began + one.answer.delay <= record.at + EPSILON
            and (one.answer.outcome in failing or (letter and one.answer.outcome is Outcome.REJECTED))
            for one in played.tried()
        ), record


def order_is_kept(played: Played) -> None:
    """Below a root that promises order, events of one key come one after the other, as they were raised."""
    for name, kind in played.kinds.items():
        if kind.key is None or name != "t":  # further down they come as those above have tried them
            continue
        for leaf in played.leaves:
            above = (played.sinks.get(leaf.name[:size]) for size in range(1, len(leaf.name)))
            if not leaf.name.startswith(name) or any(isinstance(sink, FanOut) for sink in above):
                continue  # side by side only the whole is in order: a mirror's copy, say, goes on by itself
            keys: dict[object, list[Event]] = {}
            for event in leaf.given:
                if (key := kind.key(event)) is not None:  # a dead letter has none: it holds the event that has one
                    keys.setdefault(key, []).append(event)
            place = {event.id: at for at, event in enumerate(_raised(played))}
            for events in keys.values():
                assert all(place[one.id] <= place[other.id] for one, other in pairwise(events)), (leaf.name, events)


LAWS: Final[dict[str, Callable[[Played], None]]] = {
    law.__name__: law
    for law in (
        one_receipt_each,
        nothing_is_left,
        a_confirmation_has_a_leaf,
        outcomes_add_up,
        children_are_its_own,
        no_more_attempts_than_stated,
        attempts_are_listed,
        duplicates_are_admitted,
        times_are_nested,
        deadlines_are_kept,
        budgets_are_kept,
        impatience_quarantines_nobody,
        order_is_kept,
    )
}
"""Every law by its name."""


def _raised(played: Played) -> Iterator[Event]:
    for raised in played.raised:
        yield from raised.events


def _told(played: Played) -> Iterator[tuple[float, Receipt]]:
    """The receipts that observers were given, with when that was."""
    for at, record in played.records:
        if isinstance(record, DeliveryEnded) and record.group == "root":
            yield at, record.receipt


def _ended(played: Played) -> Iterator[Receipt]:
    for _, receipt in _told(played):
        yield receipt


def _nodes(played: Played) -> Iterator[Receipt]:
    for receipt in _ended(played):
        yield from receipt.walk()


def _asked(one: Tried) -> bool:
    """Whether it is an attempt at all; what is turned away may be looked at again."""
    return one.answer.outcome is not Outcome.SKIPPED


def _copy(played: Played, leaf: str) -> bool:
    """Whether a double is (part of) what a mirror copies to."""
    return any(isinstance(played.sinks[leaf[:end]], Mirror) and leaf[end] == "1" for end in range(1, len(leaf)))


def _sum(sink: Sink, children: Sequence[Receipt]) -> tuple[Outcome, Verdict | None]:
    """What children's receipts add up to."""
    if isinstance(sink, (Mirror, Group)):
        return children[0].outcome, children[0].verdict
    if isinstance(sink, DeadLetter) and len(children) > 1:
        first, last = children[0], children[-1]
        if last.confirmed or last.outcome is Outcome.SENT:
            return last.outcome, last.verdict
        if last.maybe_processed and not first.settled:
            return Outcome.UNCONFIRMED, None
        if last.maybe_processed and first.outcome is Outcome.SKIPPED:
            return Outcome.UNCONFIRMED, first.verdict
        return first.outcome, first.verdict
    if isinstance(sink, FanOut):
        return fan_out_outcome(children, sink.need)
    return sequential_outcome(children)


def _beyond(played: Played, receipt: Receipt) -> tuple[int, int]:
    """How often an event may have been processed beyond what was intended, and how often was intended."""
    if not receipt.children:
        return 0, int(receipt.maybe_processed)
    below = [_beyond(played, child) for child in receipt.children]
    if isinstance(played.sinks.get(receipt.sink), Mirror):
        return below[0]  # what becomes of a copy changes nothing
    beyond, intended = sum(one[0] for one in below), [one[1] for one in below]
    if receipt.side_by_side:
        return beyond, sum(intended)
    return beyond + sum(intended) - max(intended), max(intended)
