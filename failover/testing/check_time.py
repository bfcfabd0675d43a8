"""Checkers of time: how long attempts and deliveries may take, and that none gives up early."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from failover.receipt import Attempt, Receipt
from failover.testing.check_truth import EPSILON
from failover.testing.stories import Finding

if TYPE_CHECKING:
    from failover.testing.history import History

__all__ = ["SLACK", "deadlines_kept", "moved_on_within", "timeouts_kept"]

SLACK: Final = 0.010
"""Seconds by which a timeout may be late."""


def moved_on_within(seconds: float | None = None, *, slack: float = SLACK) -> Callable[[History], list[Finding]]:
    """Make a checker: an attempt that fails is over in time, and the next child is tried at once.

    The events of a batch go on to the next child together, once all of them have ended at the one before. Strategies
    that have a pace of their own, as `Retry` and `Hedge`, aren't asked about the time between two children.

    Args:
        seconds: How long one attempt may take; each socket's own timeout by default.
        slack: Seconds by which that may be late, and between the end of one child and the beginning of the next.
    """

    def moved_on(history: History) -> list[Finding]:
        findings: list[Finding] = []
        tree = history.tree
        for story in history.stories.values():
            for attempt in story.attempts:
                node = tree.node(attempt.sink)
                most = seconds if seconds is not None else None if node is None else node.timeout
                took = attempt.at - attempt.began
                if most is not None and took > most + slack + EPSILON:
                    text = f"{attempt.sink} took {took:.3f} s to be {attempt.outcome.value}, of {most:.3f} s"
                    findings.append(Finding("moved_on_within", text, (story.event,), attempt.at))
            batched = any(one.batched for one in story.raised)
            for ended in () if batched else story.ended:
                for receipt in ended.receipt.walk():
                    strategy = tree.node(receipt.sink)
                    if strategy is None or not strategy.paced:
                        findings += _gaps(receipt, slack, story.event)
        return findings

    return moved_on


def timeouts_kept(history: History) -> list[Finding]:
    """A socket's timeout never fires early."""
    findings: list[Finding] = []
    for story in history.stories.values():
        for attempt in story.attempts:
            node = history.tree.node(attempt.sink)
            if node is None or node.timeout is None or "within the timeout" not in attempt.reason:
                continue
            took = attempt.at - attempt.began
            if took < node.timeout - EPSILON:
                text = f"{attempt.sink} gave up after {took:.3f} s of {node.timeout:.3f} s: {attempt.reason}"
                findings.append(Finding("timeouts_kept", text, (story.event,), attempt.at))
    return findings


def deadlines_kept(slack: float = SLACK) -> Callable[[History], list[Finding]]:
    """Make a checker: nobody waits for an event past its deadline.

    Args:
        slack: Seconds by which a delivery may end after it.
    """

    def deadlines(history: History) -> list[Finding]:
        findings: list[Finding] = []
        for story in history.stories.values():
            for raised, ended in zip(story.raised, story.ended, strict=False):
                if raised.deadline is not None and ended.at > raised.deadline + slack + EPSILON:
                    text = f"{ended.group} ended {ended.at - raised.deadline:.3f} s after the deadline"
                    findings.append(Finding("deadlines_kept", text, (story.event,), ended.at))
        return findings

    return deadlines


def _gaps(receipt: Receipt, slack: float, event: str) -> list[Finding]:
    """Where the next child of a sequence began long after the one before it had ended."""
    if receipt.side_by_side:
        return []
    tried = [  # not passed over; a child may have had it wait, and then turned it away
        child for child in receipt.children if isinstance(child, Attempt) or child.children or child.ended > child.began
    ]
    return [
        Finding(
            "moved_on_within",
            f"{receipt.sink} took {after.began - before.ended:.3f} s to go on from {before.sink} to {after.sink}",
            (event,),
            after.began,
        )
        for before, after in pairwise(tried)
        if after.began - before.ended > slack + EPSILON
    ]
