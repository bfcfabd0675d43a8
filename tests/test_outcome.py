"""The table of composite outcomes, every combination of up to three children against a statement of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from failover.event import Event
from failover.outcome import Outcome, Verdict, fan_out_outcome, sequential_outcome
from failover.receipt import Attempt, Receipt
from tests.doubles import ANSWERS, expected_of_fan_out, expected_of_sequence

EVENT = Event("E_A")
LEAVES = {
    name: Attempt(EVENT, name, answer.outcome, 0.0, 1.0, verdict=answer.verdict, sent=answer.sent)
    for name, answer in ANSWERS.items()
}
COMBINATIONS = [names for count in range(4) for names in itertools.product(sorted(LEAVES), repeat=count)]


@pytest.mark.parametrize(
    ("names", "need", "outcome", "verdict"),
    [
        (("YES", "REFUSED"), 1, Outcome.CONFIRMED, None),
        (("YES", "REFUSED"), 2, Outcome.UNCONFIRMED, Verdict.STOP),
        (("SILENT", "REFUSED"), 1, Outcome.UNCONFIRMED, Verdict.STOP),
        (("DOWN", "REFUSED"), 1, Outcome.SKIPPED, Verdict.STOP),
        (("NO", "REFUSED"), 1, Outcome.SKIPPED, Verdict.STOP),
        (("REFUSED", "STOP"), 2, Outcome.REJECTED, Verdict.STOP),
        (("YES", "STOP"), 2, Outcome.REJECTED, Verdict.STOP),
    ],
)
def test_one_that_refuses_at_its_limit(
    names: Sequence[str], need: int, outcome: Outcome, verdict: Verdict | None
) -> None:
    """It settles what falls short, so that overload goes no further, but never hides that others may have the event."""
    leaves = [LEAVES[name] for name in names]
    for children in (leaves, [*reversed(leaves)]):
        assert fan_out_outcome(children, need) == (outcome, verdict)
    inner = Receipt(EVENT, "inner", outcome, 0.0, 1.0, tuple(leaves), verdict, side_by_side=True)
    if verdict is not None:
        assert inner.settled
        assert sequential_outcome([inner]) == (outcome, verdict)
    if outcome is Outcome.UNCONFIRMED:  # nested: still no fault of the event
        assert fan_out_outcome([inner, LEAVES["YES"]], 2) == (Outcome.UNCONFIRMED, Verdict.STOP)


def test_every_sequence() -> None:
    """Every combination of up to three children tried one after the other."""
    for names in COMBINATIONS:
        assert sequential_outcome([LEAVES[name] for name in names]) == expected_of_sequence(names), names


@pytest.mark.parametrize("need", [1, 2, 3])
def test_every_fan_out(need: int) -> None:
    """Every combination of up to three children side by side, with every requirement that they could meet."""
    for names in COMBINATIONS:
        if len(names) >= need:
            assert fan_out_outcome([LEAVES[name] for name in names], need) == expected_of_fan_out(names, need), names


def test_the_statement_covers_every_outcome() -> None:
    """The tables name each outcome and each verdict, so that nothing is tested by chance."""
    assert {answer.outcome for answer in ANSWERS.values()} == set(Outcome)
    assert {answer.verdict for answer in ANSWERS.values()} == {None, *Verdict}


@pytest.mark.parametrize(
    ("name", "settled", "confirmed", "maybe", "fault"),
    [
        ("YES", True, True, True, False),
        ("NOTED", True, False, True, False),
        ("NO", False, False, False, False),
        ("BUSY", False, False, False, False),
        ("STOP", True, False, False, False),
        ("DONE", True, True, True, False),
        ("DOWN", False, False, False, True),
        ("SILENT", False, False, True, True),
        ("LEFT", False, False, True, False),
        ("UNSENT", False, False, False, False),
        ("FULL", False, False, False, False),
        ("REFUSED", True, False, False, False),
    ],
)
def test_what_an_attempt_means(*, name: str, settled: bool, confirmed: bool, maybe: bool, fault: bool) -> None:
    """The table of outcomes, row by row."""
    leaf = LEAVES[name]
    assert (leaf.settled, leaf.confirmed, leaf.maybe_processed, leaf.at_fault) == (settled, confirmed, maybe, fault)
    assert leaf.cut_short is (name in {"LEFT", "UNSENT"})
    assert leaf.possible_duplicates == 0
