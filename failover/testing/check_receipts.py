"""Checkers of receipts: one for each event, the whole tree in it, and in the tree what the strategies promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from failover.outcome import Outcome, dead_letter_outcome, fan_out_outcome, sequential_outcome
from failover.receipt import Attempt, Receipt
from failover.testing.check_truth import EPSILON
from failover.testing.entries import Attempted, Node
from failover.testing.stories import Finding, Story, Tree

if TYPE_CHECKING:
    from failover.testing.history import History

__all__ = [
    "attempts_in_the_tree",
    "nobody_left_untried",
    "nothing_tried_after_settled",
    "one_receipt_each",
]

_GATES: Final = ("Limit", "Deadline", "Dedup", "Coalesce", "Ordered")  # may turn an event away, and say why
_SHORT: Final = ("Timeout", "Retry", "DeadLetter", "Deadline")  # what is below them may have less time than the event


def one_receipt_each(history: History) -> list[Finding]:
    """Every event that was raised has one receipt each time, and no other event has one."""
    findings: list[Finding] = []
    told = history.counts["raised"] > 0  # else nobody told what was raised
    for story in history.stories.values():
        raised, ended = len(story.raised), len(story.ended)
        if raised != ended and (told or ended > 1):
            text = f"it was raised {raised} times and has {ended} receipts"
            findings.append(Finding("one_receipt_each", text, (story.event,), story.last))
    return findings


def attempts_in_the_tree(history: History) -> list[Finding]:
    """A receipt lists every attempt that was made for its event and no other, and says what they add up to."""
    clause = "attempts_in_the_tree"
    tree = history.tree
    findings: list[Finding] = []
    for story in history.stories.values():
        for ended in story.ended:
            root = tree.roots.get(ended.group)
            for receipt in ended.receipt.walk():
                text = _wrong(receipt, tree, root)
                if text:
                    findings.append(Finding(clause, text, (story.event,), ended.at))
        if len(story.ended) == 1:
            at = story.ended[0].at
            findings += [Finding(clause, text, (story.event,), at) for text in _differences(story, tree, at)]
    return findings


def nothing_tried_after_settled(history: History) -> list[Finding]:
    """A sequence ends with the child that settles the event: what is confirmed is not tried again."""
    findings: list[Finding] = []
    for story in history.stories.values():
        for ended in story.ended:
            for receipt in ended.receipt.walk():
                node = history.tree.node(receipt.sink)
                if receipt.side_by_side or (node is not None and node.kind == "DeadLetter"):
                    continue
                paced = node is not None and node.paced
                settled: Receipt | None = None
                for child in receipt.children:
                    if settled is not None and child.outcome is not Outcome.SKIPPED:
                        if paced and child.began <= settled.ended + EPSILON:
                            continue  # it was under way already
                        text = f"{receipt.sink} went on to {child.sink} although {settled.sink} had settled it"
                        findings.append(Finding("nothing_tried_after_settled", text, (story.event,), child.began))
                        break
                    if child.settled:
                        settled = child
    return findings


def nobody_left_untried(history: History) -> list[Finding]:
    """An event stays unsettled only if each child had its attempt, or could have none: a trial under way, no time."""
    tree = history.tree
    findings: list[Finding] = []
    busy = _Busy(history)
    for story in history.stories.values():
        deadline = max((one.deadline for one in story.raised if one.deadline is not None), default=None)
        batched = any(one.batched for one in story.raised)
        for ended in story.ended:
            for receipt in ended.receipt.walk():
                node = tree.node(receipt.sink)
                if node is None or not node.children or isinstance(receipt, Attempt) or _given_up(receipt):
                    continue
                whole = not receipt.children and receipt.outcome is Outcome.SKIPPED
                if whole and (receipt is not ended.receipt or node.kind in _GATES):
                    continue  # skipped as a whole, which is for the strategy above it to justify, or its own right
                if receipt.side_by_side or (node.move_on and not receipt.settled):
                    late = None if deadline is None else ended.at >= deadline - EPSILON
                    above = {one.kind for one in tree.above(node.name)}
                    late = False if late is None and not above.isdisjoint(_SHORT) else late
                    text = _left_out(receipt, node, None if batched else busy, late=late, retried="Retry" in above)
                    if text:
                        findings.append(Finding("nobody_left_untried", text, (story.event,), ended.at))
    return findings


def _left_out(receipt: Receipt, node: Node, busy: _Busy | None, *, late: bool | None, retried: bool = False) -> str:
    """Which child had no attempt for no good reason; empty if none.

    `busy` is None for one of a batch, since another is the trial for all of it; `late` is None without a deadline;
    `retried`, an earlier attempt for the same event may be the trial.
    """
    by_name = {child.sink: child for child in receipt.children}
    for child in node.children:
        found = by_name.get(child.name)
        if found is None:
            return f"{node.name} is {receipt.outcome.value}, and {child.name} is not even mentioned"
        tried = found.outcome is not Outcome.SKIPPED or isinstance(found, Attempt) or bool(found.children)
        tried = tried or (child.kind in _GATES and not found.reason.startswith("quarantined"))
        if tried or not node.last_resort or late or (late is False and "no time left" in found.reason):
            continue
        waits = retried or any(below.kind == "Retry" for below in child.walk())  # a trial lasts over its waits
        if busy is not None and not waits and not busy.below(child.name, found, receipt.event.id):
            return f"{node.name} is {receipt.outcome.value}, and {child.name} was left out: {found.reason}"
    return ""


def _wrong(receipt: Receipt, tree: Tree, root: Node | None) -> str:
    """What a receipt's node says that its children don't; empty if nothing."""
    node = tree.node(receipt.sink)
    if root is not None and node is None and all(known.name != receipt.sink for known in root.walk()):
        return f"its receipt names {receipt.sink}, which is not in the tree"
    if node is None or isinstance(receipt, Attempt):
        return ""
    strangers = [one.sink for one in receipt.children if all(one.sink != child.name for child in node.children)]
    if node.children and strangers:
        return f"its receipt has {strangers[0]} below {receipt.sink}, where it is not"
    if not receipt.children or node.kind == "Group":
        return ""
    outcome = _sum(node, receipt.children)
    lost = receipt.outcome is Outcome.ABANDONED and receipt.reason  # a hedge's slower one, whatever is below it
    if outcome is not receipt.outcome and not lost and not _given_up(receipt):
        return f"{receipt.sink} is {receipt.outcome.value}, and what it tried adds up to {outcome.value}"
    return ""


def _sum(node: Node, children: Sequence[Receipt]) -> Outcome:
    """What children's receipts add up to, as their strategy has it."""
    if node.kind == "Mirror":
        return children[0].outcome
    if node.kind == "DeadLetter" and len(children) > 1:
        return dead_letter_outcome(children[0], children[1])[0]
    if node.side_by_side or node.kind == "Hedge":
        return fan_out_outcome(children, node.need)[0]
    return sequential_outcome(children)[0]


def _differences(story: Story, tree: Tree, at: float) -> list[str]:
    """How the attempts that were told and those in the receipt differ."""
    told: Counter[tuple[str, Outcome]] = Counter(
        (one.sink, one.outcome)
        for one in story.attempts
        if one.outcome is not Outcome.SKIPPED and one.at <= at + EPSILON
    )
    left: list[Attempt] = []
    listed: Counter[tuple[str, Outcome]] = Counter()
    for leaf in story.ended[0].receipt.walk():
        if isinstance(leaf, Attempt) and leaf.outcome is not Outcome.SKIPPED:
            if leaf.outcome is Outcome.ABANDONED and not _told(leaf, story.attempts):
                left.append(leaf)  # it goes on, or nobody was there to be told
            else:
                listed[leaf.sink, leaf.outcome] += 1
    texts: list[str] = []
    below = {sink for leaf in left for sink in tree.sinks_of(leaf.sink)}
    for (sink, outcome), count in (told - listed).items():
        if sink not in below:
            texts.append(f"{count} of its attempts on {sink} ({outcome.value}) are not in its receipt")
    for (sink, outcome), count in (listed - told).items():
        texts.append(f"its receipt has {count} more attempts on {sink} ({outcome.value}) than there were")
    return texts


def _told(leaf: Attempt, attempts: list[Attempted]) -> bool:
    return any(
        one.sink == leaf.sink and one.outcome is leaf.outcome and abs(one.at - leaf.ended) <= EPSILON
        for one in attempts
    )


def _given_up(receipt: Receipt) -> bool:
    """Whether the delivery was cancelled, or its group closed: then what is missing says nothing."""
    return any(
        "cancelled" in one.reason
        or "was faster" in one.reason  # a hedge gave its slower one up
        or (
            ("closed" in one.reason or "not open" in one.reason) and one.outcome in (Outcome.ABANDONED, Outcome.SKIPPED)
        )
        for one in receipt.walk()
    )


class _Busy:
    """When each sink had something under way, and for which event; looked up only where it is asked."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._spans: dict[str, list[tuple[float, float, str]]] = {}

    def below(self, child: str, skipped: Receipt, event: str) -> bool:
        """Whether another event was under way at a child, or below it, when it was skipped."""
        if not self._spans:
            for story in self._history.stories.values():
                for one in story.attempts:
                    self._spans.setdefault(one.sink, []).append((one.began, one.at, story.event))
                for receipt in (receipt for ended in story.ended for receipt in ended.receipt.walk()):
                    if receipt.ended > receipt.began:  # it may have waited there before any attempt
                        self._spans.setdefault(receipt.sink, []).append((receipt.began, receipt.ended, story.event))
        return any(
            began <= skipped.ended + EPSILON and ended >= skipped.began - EPSILON and other != event
            for sink in {child} | self._history.tree.sinks_of(child)
            for began, ended, other in self._spans.get(sink, ())
        )
