"""Checkers of the truth: what receipts say against what subscribers did and what came over the network."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.testing.entries import Answered, Attempted, Broken, ConnectionChange, FaultSet
from failover.testing.stories import Finding, Story, Tree

if TYPE_CHECKING:
    from failover.testing.history import History

__all__ = [
    "EPSILON",
    "answers_heard",
    "duplicates_announced",
    "no_harm_to_others",
    "nothing_confirmed_unprocessed",
    "nothing_processed_unattempted",
    "unreachable_never_processed",
]

EPSILON: Final = 1e-6
"""Seconds by which times of one instant may differ in a history that was read back or merged."""
_REMEMBERED: Final = 50.0  # seconds for which a late reply surely finds its attempt: less than a tombstone's age
_UNREADABLE: Final = frozenset({"garbage", "raw", "huge", "corrupt"})  # faults whose bytes may have no boundary


def nothing_confirmed_unprocessed(history: History) -> list[Finding]:
    """Who is said to have confirmed an event, also late, has processed it by then."""
    clause = "nothing_confirmed_unprocessed"
    tree = history.tree
    findings: list[Finding] = []
    for story in history.stories.values():
        confirmed = [(one.sink, one.at) for one in story.attempts if one.outcome is Outcome.CONFIRMED]
        confirmed += [(one.sink, one.at) for one in story.late if one.confirmed and _is_socket(tree, one.sink)]
        for sink, at in confirmed:
            who = tree.subscriber(sink)
            if not any(one.subscriber == who and one.at <= at + EPSILON for one in story.processed):
                text = f"{sink} says confirmed, and {who} had not processed it"
                findings.append(Finding(clause, text, (story.event,), at))
    return findings


def nothing_processed_unattempted(history: History) -> list[Finding]:
    """A subscriber processes an event no more often than it was attempted there, and not before."""
    clause = "nothing_processed_unattempted"
    tree = history.tree
    findings: list[Finding] = []
    for story in history.stories.values():
        if len(story.ended) < len(story.raised):  # attempts that are under way are not known yet
            continue
        tried = [one for one in story.attempts if one.outcome is not Outcome.SKIPPED]
        for who, times in _processed(story).items():
            there = [one for one in tried if tree.subscriber(one.sink) == who]
            allowed = len(there) + _left_behind(story, tree, who)
            at = times[-1]
            if len(times) > allowed:
                text = f"{who} has processed it {_often(len(times))}, of {allowed} attempts there"
                findings.append(Finding(clause, text, (story.event,), at))
            elif there and times[0] < min(one.began for one in there) - EPSILON:
                text = f"{who} processed it before any attempt there began"
                findings.append(Finding(clause, text, (story.event,), times[0]))
    return findings


def unreachable_never_processed(history: History) -> list[Finding]:
    """An attempt that says it can't have been processed (`UNREACHABLE`, `REJECTED`, nothing sent) was not."""
    clause = "unreachable_never_processed"
    tree = history.tree
    findings: list[Finding] = []
    for story in history.stories.values():
        if len(story.ended) < len(story.raised):
            continue
        tried = [one for one in story.attempts if one.outcome is not Outcome.SKIPPED]
        for who, times in _processed(story).items():
            there = [one for one in tried if tree.subscriber(one.sink) == who]
            left = _left_behind(story, tree, who)
            possible = sum(one.maybe_processed for one in there) + left
            if possible < len(times) <= len(there) + left:
                said = ", ".join(f"{one.sink} {one.outcome.value}" for one in there if not one.maybe_processed)
                text = f"{who} has processed it {_often(len(times))} although its attempts say otherwise: {said}"
                findings.append(Finding(clause, text, (story.event,), times[-1]))
    return findings


def duplicates_announced(history: History) -> list[Finding]:
    """An event is not processed more often than its receipt announced as possible."""
    clause = "duplicates_announced"
    tree = history.tree
    findings: list[Finding] = []
    for story in history.stories.values():
        if len(story.ended) != 1 or len(story.raised) > 1:  # raised twice, it may well be processed twice
            continue
        receipt = story.ended[0].receipt
        counts = Counter({who: len(times) for who, times in _processed(story).items()})
        if sum(counts.values()) < 2:  # noqa: PLR2004  # one is no duplicate
            continue
        done = _assign(receipt, counts, tree)
        actual = _duplicates(receipt, done, tree)
        if actual > receipt.possible_duplicates:
            text = f"it has {actual} duplicates, and its receipt says at most {receipt.possible_duplicates}"
            findings.append(Finding(clause, text, (story.event,), story.ended[0].at))
    return findings


def answers_heard(history: History) -> list[Finding]:
    """Every reply that came over the network is told: as the attempt's outcome, or as a late confirmation."""
    clause = "answers_heard"
    tree = history.tree
    findings: list[Finding] = []
    hung_up = _hung_up(history)
    for story in history.stories.values():
        known = set[tuple[str, int]]()
        for answer in story.answered:
            if (answer.subscriber, answer.request_id) in known:  # the second reply to one request tells nothing new
                continue
            known.add((answer.subscriber, answer.request_id))
            there = [one for one in story.attempts if tree.subscriber(one.sink) == answer.subscriber]
            exact = [one for one in there if one.request_id == answer.request_id]
            if exact and answer.at - exact[0].began > _REMEMBERED:
                continue
            if exact and any(exact[0].began <= at <= answer.at for at in hung_up.get(answer.subscriber, ())):
                continue
            if not any(_heard(answer, attempt) for attempt in exact or there) and not any(
                tree.subscriber(late.sink) == answer.subscriber
                and abs(late.at - answer.at) <= EPSILON
                and (late.confirmed or not answer.confirmed)
                for late in story.late
            ):
                word = "result" if answer.confirmed else "error"
                text = f"{answer.subscriber}'s {word} to request {answer.request_id} came, and nobody was told so"
                findings.append(Finding(clause, text, (story.event,), answer.at))
    return findings


def no_harm_to_others(history: History) -> list[Finding]:
    """An attempt ends unconfirmed before its timeout only when its connection ends, or can't be read any further."""
    ends, unreadable, watched = _ends(history)
    if not watched:  # nobody has looked at the network: nothing can be said
        return []
    findings: list[Finding] = []
    for story in history.stories.values():
        for attempt in story.attempts:
            node = history.tree.node(attempt.sink)
            if attempt.outcome is not Outcome.UNCONFIRMED or node is None or node.timeout is None:
                continue
            if attempt.at - attempt.began >= node.timeout - EPSILON:
                continue
            if "malformed reply" in attempt.reason or "doesn't end" in attempt.reason:
                continue
            who = node.subscriber
            if any(abs(at - attempt.at) <= EPSILON for at in ends.get(who, ())):
                continue
            if any(at <= attempt.at + EPSILON for at in unreadable.get(who, ())):
                continue
            text = f"{attempt.sink} gave up unconfirmed ({attempt.reason}) on a connection that nobody had broken"
            findings.append(Finding("no_harm_to_others", text, (story.event,), attempt.at))
    return findings


def _ends(history: History) -> tuple[dict[str, list[float]], dict[str, list[float]], bool]:
    """When connections of each subscriber ended, when it sent what can't be read, and whether anybody would know."""
    ends: dict[str, list[float]] = {}
    unreadable: dict[str, list[float]] = {}
    watched = False
    for entry in history.entries:
        watched = watched or isinstance(entry, (Answered, Broken))
        if isinstance(entry, Broken):
            ends.setdefault(entry.subscriber, []).append(entry.at)
        elif isinstance(entry, FaultSet) and entry.fault in _UNREADABLE:
            unreadable.setdefault(entry.where, []).append(entry.at)
    return ends, unreadable, watched


def _hung_up(history: History) -> dict[str, list[float]]:
    """When each subscriber's connection was broken at our end, as a reply on it didn't end: later ones were unheard."""
    times: dict[str, list[float]] = {}
    for entry in history.entries:
        if isinstance(entry, ConnectionChange) and "doesn't end" in entry.reason:
            for name in (entry.peer, f"jsonrpc:{entry.peer}", entry.peer.rpartition(":")[0]):
                times.setdefault(name, []).append(entry.at)
    return times


def _is_socket(tree: Tree, sink: str) -> bool:
    node = tree.node(sink)
    return node is None or not node.children


def _processed(story: Story) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    for one in story.processed:
        times.setdefault(one.subscriber, []).append(one.at)
    return times


def _left_behind(story: Story, tree: Tree, who: str) -> int:
    """How many attempts on a subscriber go on without anybody waiting, and have not told how they ended."""
    count = 0
    for ended in story.ended:
        for leaf in ended.receipt.walk():
            if isinstance(leaf, Attempt) and leaf.outcome is Outcome.ABANDONED:
                sinks = tree.sinks_of(leaf.sink)
                told = sum(one.sink in sinks and one.began >= leaf.began - EPSILON for one in story.attempts)
                sockets = sum(tree.subscriber(sink) == who for sink in sinks)
                count += max(0, sockets - told)
    return count


def _heard(answer: Answered, attempt: Attempted) -> bool:
    if abs(attempt.at - answer.at) > EPSILON:
        return False
    if answer.confirmed:
        return attempt.outcome is Outcome.CONFIRMED
    return attempt.outcome is Outcome.REJECTED


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _assign(receipt: Receipt, counts: Counter[str], tree: Tree) -> set[int]:
    """Which leaves of a receipt were processed, by their identity: of several the one that says so the most."""
    leaves = [leaf for leaf in receipt.walk() if isinstance(leaf, Attempt) and leaf.outcome is not Outcome.SKIPPED]
    done: set[int] = set()
    for leaf in sorted(leaves, key=lambda leaf: (leaf.outcome is not Outcome.CONFIRMED, not leaf.maybe_processed)):
        for sink in sorted(tree.sinks_of(leaf.sink)):
            who = tree.subscriber(sink)
            if counts[who] > 0:
                counts[who] -= 1
                done.add(id(leaf))
    return done


def _duplicates(receipt: Receipt, done: set[int], tree: Tree) -> int:
    """How often more than intended an event was processed below a receipt."""
    inner = sum(_duplicates(child, done, tree) for child in receipt.children)
    if receipt.side_by_side:
        return inner
    copies = [_copies(child, done, tree) for child in receipt.children]
    return inner + sum(copies) - max(copies, default=0)


def _copies(receipt: Receipt, done: set[int], tree: Tree) -> int:
    """How many of the times that an event was processed below a receipt were intended; a mirror's copy never counts."""
    if id(receipt) in done:
        return 1
    node = tree.node(receipt.sink)
    children = receipt.children[:1] if node is not None and node.kind == "Mirror" else receipt.children
    copies = [_copies(child, done, tree) for child in children]
    return sum(copies) if receipt.side_by_side else max(copies, default=0)
