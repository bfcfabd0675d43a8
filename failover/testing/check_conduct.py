"""Checkers of conduct: who is taken out of service and why, who comes back, and who gets his share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Final

from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.testing.check_truth import EPSILON
from failover.testing.entries import Ended, HealthChange, HealthStep, Node, Raised
from failover.testing.stories import Finding, Tree

if TYPE_CHECKING:
    from failover.testing.history import History

__all__ = [
    "back_when_heard",
    "fair",
    "in_order",
    "no_quarantine_for_impatience",
    "one_trial_at_a_time",
    "quarantine_kept",
]

_FAULTY: Final = (Outcome.UNREACHABLE, Outcome.UNCONFIRMED)
_ANSWERED: Final = "a probe was answered"
_TURNED_AWAY: Final = ("stale", "superseded", "no room", "no place to wait", "no time left while it waited")
_ALIVE: Final = (Outcome.CONFIRMED, Outcome.REJECTED, Outcome.SENT)


def no_quarantine_for_impatience(history: History) -> list[Finding]:
    """Nobody is taken out of service unless he was unreachable, or silent past his own timeout."""
    tree = history.tree
    evidence: dict[str, list[tuple[float, Outcome | None]]] = {}
    for story in history.stories.values():
        for one in story.attempts:
            evidence.setdefault(one.sink, []).append((one.at, one.outcome))
        for silent in story.silent:
            evidence.setdefault(silent.sink, []).append((silent.at, None))
    findings: list[Finding] = []
    for change in _changes(history):
        strategy, child = tree.node(change.strategy), tree.node(change.child)
        if change.up or strategy is None or child is None or change.at < history.since:
            continue
        window = _window(child)
        enough = (*_FAULTY, None, *((Outcome.REJECTED,) if strategy.quarantine_rejected else ()))
        behind = [
            outcome
            for sink in tree.sinks_of(child.name)
            for at, outcome in evidence.get(sink, ())
            if change.at - window - EPSILON <= at <= change.at + EPSILON
        ]
        if not any(outcome in enough for outcome in behind):
            text = f"{change.strategy} took {change.child} out ({change.reason}), and nothing speaks against it"
            findings.append(Finding("no_quarantine_for_impatience", text, (), change.at))
    return findings


def quarantine_kept(history: History) -> list[Finding]:
    """A child at fault is taken out, for as long as was declared, and not tried meanwhile but as the last resort."""
    clause = "quarantine_kept"
    tree = history.tree
    taken: dict[tuple[str, str], list[HealthChange]] = {}
    findings: list[Finding] = []
    for change in _changes(history):
        taken.setdefault((change.strategy, change.child), []).append(change)
        strategy = tree.node(change.strategy)
        if not change.up and strategy is not None and strategy.quarantine is not None:
            least, seconds = strategy.quarantine, change.until - change.at
            most = strategy.quarantine_most or least
            if change.until != inf and not least - EPSILON <= seconds <= most + EPSILON:
                text = f"{change.strategy} has {change.child} out for {seconds:.3f} s, not {least:.3f} s"
                text += f" to {most:.3f} s" if most > least else ""
                findings.append(Finding(clause, text, (), change.at))
    # A batch is dealt out as a whole: it may reach a child's window later than it was chosen.
    batched = [story for story in history.stories.values() if story.raised and story.raised[0].batched]
    chosen_by = {story.event: story.raised[0].at for story in batched}
    for ended, node, receipt in _sequences(history):
        if node.quarantine is None:
            continue
        for child in receipt.children:
            changes = taken.get((node.name, child.sink), [])
            if node.probed:
                changes = _with_probes(history, node, child.sink, changes)
            given_up = any("amid a wait" in one.reason for one in child.walk())  # then nobody was there to judge it
            if (
                node.failures == 1
                and not given_up
                and _at_fault(child)
                and not any(not change.up and abs(change.at - child.ended) <= EPSILON for change in changes)
            ):
                text = f"{node.name} did not take out {child.sink}, which was {child.outcome.value}"
                findings.append(Finding(clause, text, (ended.event,), child.ended))
            back = any(  # in this very moment, or a probe was answered in it
                (change.up or change.until <= child.began + EPSILON) and abs(change.since - child.began) <= EPSILON
                for change in changes
            )
            out = not back and _out_throughout(changes, chosen_by.get(ended.event, child.began), child.began)
            if out and child.outcome is not Outcome.SKIPPED and not child.why:
                text = f"{node.name} tried {child.sink} although it was out of service"
                findings.append(Finding(clause, text, (ended.event,), child.began))
    return findings


def back_when_heard(history: History) -> list[Finding]:
    """A late reply brings back whoever holds the child that it came from; nobody comes back unheard."""
    clause = "back_when_heard"
    changes: dict[tuple[str, str], list[HealthChange]] = {}
    for change in _changes(history):
        changes.setdefault((change.strategy, change.child), []).append(change)
    replies = _replies(history)
    findings: list[Finding] = []
    for (strategy, child), known in changes.items():
        node = history.tree.node(child)
        if node is None:
            continue
        window = _window(node)
        heard = [reply for below in _heard_below(node) for reply in replies.get(below.name, ())]
        holder = history.tree.node(strategy)
        by_itself = holder is None or holder.failback in ("cautious", "eager")
        probed = holder is not None and holder.probed
        for at, event, late in heard:
            if (
                late
                and by_itself
                and _out_at(known, at)
                and not any(one.up and one.at - EPSILON <= at <= one.since + EPSILON for one in known)
            ):
                text = f"{child} was heard late, and {strategy} did not take it back"
                findings.append(Finding(clause, text, (event,), at))
        for one in known:
            # A batch waits for room as often as it must, and is judged when all of it has ended.
            span = (-inf if one.told else one.at - window - EPSILON, one.at + EPSILON)
            asked = probed and one.reason == _ANSWERED  # by nothing that is told of
            if (
                one.up
                and not asked
                and one.at >= history.since
                and not any(span[0] <= at <= span[1] for at, _, _ in heard)
            ):
                text = f"{strategy} took {child} back, and nothing was heard of it"
                findings.append(Finding(clause, text, (), one.at))
    return findings


def one_trial_at_a_time(history: History) -> list[Finding]:
    """While everything is out of service, each child has one event on trial at a time."""
    trials: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for ended, node, receipt in _sequences(history):
        for child in receipt.children:
            if child.why.startswith("last resort") and child.outcome is not Outcome.SKIPPED:
                trials.setdefault((node.name, child.sink), []).append((child.began, child.ended, ended.event))
    findings: list[Finding] = []
    for (strategy, name), spans in trials.items():
        spans.sort()
        for (_, end, first), (begin, _, second) in pairwise(spans):
            if begin < end - EPSILON:
                text = f"{strategy} had two events on trial at {name} at once"
                findings.append(Finding("one_trial_at_a_time", text, (first, second), begin))
    return findings


def in_order(key: Callable[[Raised], Hashable] | None = None) -> Callable[[History], list[Finding]]:
    """Make a checker: events of one key are processed in the order in which they were raised, wherever that is.

    Args:
        key: What must keep its order, e.g. a Call-ID; None or empty text leaves an event out. By default the key that
            was told when it was raised.
    """

    def order(history: History) -> list[Finding]:
        findings: list[Finding] = []
        newest: dict[Hashable, tuple[float, str]] = {}
        for story in history.stories.values():  # in the order in which they were raised
            if not story.raised or not story.processed:
                continue
            known = story.raised[0].key if key is None else key(story.raised[0])
            if known is None or known == "":
                continue
            first = min(one.at for one in story.processed)
            before, event = newest.get(known, (first, ""))
            if first < before - EPSILON:
                text = f"of {known!r} it was processed {before - first:.3f} s before one that was raised earlier"
                findings.append(Finding("in_order", text, (event, story.event), first))
            else:
                newest[known] = first, story.event
        return findings

    return order


def fair(weights: Mapping[str, float] | None = None, tolerance: float = 1.0) -> Callable[[History], list[Finding]]:
    """Make a checker: while all its children are in service, each gets its share of the events that a strategy begins.

    Args:
        weights: The share of each child, by its name; by default all children of a `RoundRobin` have the same, and
            other strategies promise nothing.
        tolerance: How many events a child may be away from its share, beside those whose child is not known because
            nobody waited for it.
    """

    def shares(history: History) -> list[Finding]:
        findings: list[Finding] = []
        for node in (node for root in history.tree.roots.values() for node in root.walk()):
            names = [child.name for child in node.children]
            if node.kind != "RoundRobin" if weights is None else not weights.keys() & set(names):
                continue
            given = {name: 1.0 if weights is None else weights.get(name, 0.0) for name in names}
            for at, stretch in _stretches(history, node):
                counts = Counter(stretch)
                unknown = counts.pop("", 0)
                for name, weight in given.items():
                    share = len(stretch) * weight / sum(given.values())
                    if abs(counts[name] - share) > tolerance + unknown + EPSILON:
                        text = f"{node.name} began {counts[name]} of {len(stretch)} events with {name}, not {share:.1f}"
                        findings.append(Finding("fair", text, (), at))
        return findings

    return shares


def _window(node: Node) -> float:
    """Seconds from evidence below a child to the end of what the child was doing; 0 of a socket."""
    if not node.children:
        return 0.0
    times = 4 if any(below.kind == "Retry" for below in node.walk()) else 1  # and its waits
    return times * sum(leaf.timeout or 0.0 for leaf in node.sockets())


def _heard_below(node: Node) -> list[Node]:
    """The nodes whose late replies are told to whoever holds this one: not those of a mirror's copy."""
    children = node.children[:1] if node.kind == "Mirror" else node.children
    return [node, *(below for child in children for below in _heard_below(child))]


def _replies(history: History) -> dict[str, list[tuple[float, str, bool]]]:
    """When each sink was heard, of which event, and whether that was late."""
    heard: dict[str, list[tuple[float, str, bool]]] = {}
    for story in history.stories.values():
        for late in story.late:
            heard.setdefault(late.sink, []).append((late.at, story.event, True))
        for one in story.attempts:
            if one.outcome in _ALIVE:
                heard.setdefault(one.sink, []).append((one.at, story.event, False))
    return heard


def _firsts(history: History, node: Node) -> list[tuple[float, str]]:
    """Whenever an event came to a strategy and with which child it began; empty where that is not known."""
    above = {
        one.name
        for root in history.tree.roots.values()
        for one in root.walk()
        if any(below.name == node.name for below in one.walk())
    }
    firsts: list[tuple[float, str]] = []
    for story in history.stories.values():
        for ended in story.ended:
            found = [receipt for receipt in ended.receipt.walk() if receipt.sink == node.name and receipt.children]
            batched = any(one.batched for one in story.raised)  # then it waits for its place after its turn
            for again in found:  # an event that is repeated above takes a turn each time
                tried = [one for one in again.children if isinstance(one, Attempt) or one.children or _gated(one)]
                first = "" if batched or not tried else tried[0].sink  # who was passed over stands before them
                firsts.append((again.began, first))
            if not found:
                hidden = [one for one in ended.receipt.walk() if one.sink in above]
                if any(isinstance(one, Attempt) or one.cut_short for one in hidden):
                    firsts.append((hidden[-1].began, ""))
    return sorted(firsts)


def _gated(receipt: Receipt) -> bool:
    """Whether a child was tried and turned the event away itself; who was passed over has another reason."""
    return receipt.reason.startswith(_TURNED_AWAY)


def _stretches(history: History, node: Node) -> Iterator[tuple[float, list[str]]]:
    """The first children of consecutive events during which all were fully in service, and since when that was so."""
    known: dict[str, list[HealthChange | HealthStep]] = {child.name: [] for child in node.children}
    for entry in (*history.standing.values(), *history.entries):
        if isinstance(entry, (HealthChange, HealthStep)) and entry.strategy == node.name:
            known.setdefault(entry.child, []).append(entry)
    pauses = sorted(at for entries in known.values() for entry in entries for at in _pauses(entry))
    stretch: list[str] = []
    since = last = 0.0
    for at, child in _firsts(history, node):
        if any(last < pause <= at + EPSILON for pause in pauses):
            yield since, stretch
            stretch, since = [], at
        last = at
        if any(abs(pause - at) <= EPSILON for pause in pauses):
            continue  # in one instant it can't be told which came first
        if not any(_reserved_at(entries, node.slow_start, at) for entries in known.values()):
            stretch.append(child)
    yield since, stretch


def _pauses(entry: HealthChange | HealthStep) -> tuple[float, ...]:
    """When it changes who is passed over."""
    if isinstance(entry, HealthChange):
        return (entry.since,)
    return () if entry.step == "on trial" else (entry.since, entry.until)


def _reserved_at(entries: Sequence[HealthChange | HealthStep], slow_start: int, at: float) -> bool:
    """Whether a child may be passed over at a moment: it is out or on trial, in slow start, or pushed back."""
    reserved = False
    for entry in entries:
        if entry.since >= at - EPSILON:
            break
        if isinstance(entry, HealthChange):
            reserved = not entry.up or slow_start > 1
        elif entry.until > at:
            return True
        else:
            reserved = reserved and entry.step != "recovered"
    return reserved


def _changes(history: History) -> list[HealthChange]:
    """Who was out when the kept stretch began, and all changes since."""
    carried = [change for change in history.standing.values() if not change.up]
    return carried + [entry for entry in history.entries if isinstance(entry, HealthChange)]


def _sequences(history: History) -> Iterator[tuple[Ended, Node, Receipt]]:
    """Every node of every receipt whose strategy tries one child after the other, with the strategy's declaration."""
    tree: Tree = history.tree
    for story in history.stories.values():
        for ended in story.ended:
            for receipt in ended.receipt.walk():
                if receipt.children and not receipt.side_by_side:
                    node = tree.node(receipt.sink)
                    if node is not None and node.children:
                        yield ended, node, receipt


def _at_fault(receipt: Receipt) -> bool:
    return receipt.outcome in _FAULTY if isinstance(receipt, Attempt) else receipt.at_fault


def _with_probes(history: History, node: Node, child: str, changes: list[HealthChange]) -> list[HealthChange]:
    """Changes of a child with the answers to probes among them: each ends the time for which it is out."""
    answers = [
        HealthChange(step.at, step.strategy, step.child, up=False, until=step.at, reason=step.reason)
        for step in history.entries
        if isinstance(step, HealthStep)
        and (step.strategy, step.child) == (node.name, child)
        and step.reason == _ANSWERED
    ]
    return sorted([*changes, *answers], key=lambda change: change.since)


def _out_at(changes: list[HealthChange], at: float) -> bool:
    """Whether a child was out of service at a moment, and had been before it."""
    out = False
    for change in changes:
        if change.since >= at - EPSILON:
            break
        out = not change.up and change.until > at + EPSILON
    return out


def _out_throughout(changes: list[HealthChange], since: float, until: float) -> bool:
    """Whether a child was out of service all the time from one moment to another."""
    turns = [at for change in changes for at in (change.since, change.until) if since < at < until]
    return all(_out_at(changes, at) for at in (since, until, *(at + 2 * EPSILON for at in turns)))
