"""The table of composite outcomes, every combination of up to three children against a statement of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from failover.event import Event
from failover.outcome import Outcome, Verdict, fan_out_outcome, sequential_outcome
from failover.receipt import Attempt
from tests.doubles import ANSWERS, REFUSALS, UNSETTLED, expected_of_sequence

EVENT = Event("E_A")
LEAVES = {
    name: Attempt(EVENT, name, answer.outcome, 0.0, 1.0, verdict=answer.verdict, sent=answer.sent)
    for name, answer in ANSWERS.items()
}
COMBINATIONS = [names for count in range(4) for names in itertools.product(sorted(LEAVES), repeat=count)]

CONFIRMING = {"YES", "DONE"}
NOTING = {"NOTED"}
STOPPING = {"STOP": Outcome.REJECTED, "REFUSED": Outcome.SKIPPED}
PROCESSED = {"YES", "DONE", "NOTED", "SILENT", "LEFT"}
"""What may have been processed; of a fan-out that fell short it makes UNCONFIRMED."""


def expected_of_fan_out(names: Sequence[str], need: int) -> tuple[Outcome, Verdict | None]:
    """The rows of a fan-out, from the first."""
    confirmed = sum(name in CONFIRMING for name in names)
    noted = sum(name in NOTING for name in names)
    rows = [
        (confirmed >= need, (Outcome.CONFIRMED, None)),
        (confirmed + noted >= need, (Outcome.SENT, None)),
        *((name in STOPPING, (STOPPING.get(name), Verdict.STOP)) for name in names),
        (bool(PROCESSED & set(names)), (Outcome.UNCONFIRMED, None)),
        *((name in REFUSALS, dict(UNSETTLED).get(name)) for name in names),
        ("DOWN" in names, (Outcome.UNREACHABLE, None)),
        ("UNSENT" in names, (Outcome.ABANDONED, None)),
        (True, (Outcome.SKIPPED, None)),
    ]
    return next(row for holds, row in rows if holds)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


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
