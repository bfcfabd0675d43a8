"""Checkers: plain functions that look at a history and say what should not have happened.

`ALL` is what is checked by default. A checker of your own takes a history and returns findings; put it beside these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from failover.testing.check_conduct import (
    back_when_heard,
    fair,
    in_order,
    no_quarantine_for_impatience,
    one_trial_at_a_time,
    quarantine_kept,
)
from failover.testing.check_receipts import (
    attempts_in_the_tree,
    nobody_left_untried,
    nothing_tried_after_settled,
    one_receipt_each,
)
from failover.testing.check_time import SLACK, deadlines_kept, moved_on_within, timeouts_kept
from failover.testing.check_truth import (
    answers_heard,
    duplicates_announced,
    no_harm_to_others,
    nothing_confirmed_unprocessed,
    nothing_processed_unattempted,
    unreachable_never_processed,
)
from failover.testing.stories import Finding

if TYPE_CHECKING:
    from failover.testing.history import History

__all__ = [
    "ALL",
    "SLACK",
    "Checker",
    "Finding",
    "answers_heard",
    "attempts_in_the_tree",
    "back_when_heard",
    "check",
    "deadlines_kept",
    "duplicates_announced",
    "fair",
    "in_order",
    "moved_on_within",
    "no_harm_to_others",
    "no_quarantine_for_impatience",
    "nobody_left_untried",
    "nothing_confirmed_unprocessed",
    "nothing_processed_unattempted",
    "nothing_tried_after_settled",
    "one_receipt_each",
    "one_trial_at_a_time",
    "quarantine_kept",
    "timeouts_kept",
    "unreachable_never_processed",
]

Checker: TypeAlias = "Callable[[History], list[Finding]]"
"""What looks at a history; what it returns is wrong, and an empty list is a clean bill."""

ALL: Final[tuple[Checker, ...]] = (
    nothing_confirmed_unprocessed,
    nothing_processed_unattempted,
    unreachable_never_processed,
    duplicates_announced,
    answers_heard,
    no_harm_to_others,
    one_receipt_each,
    attempts_in_the_tree,
    nothing_tried_after_settled,
    nobody_left_untried,
    moved_on_within(),
    timeouts_kept,
    deadlines_kept(),
    no_quarantine_for_impatience,
    quarantine_kept,
    back_when_heard,
    one_trial_at_a_time,
    fair(),
)
"""What is promised of every group, whatever its tree; `in_order` is for those that promise an order."""


def check(history: History, checkers: Sequence[Checker] = ALL) -> list[Finding]:
    """Everything that these checkers find in a history, in their order."""
    return [finding for checker in checkers for finding in checker(history)]
