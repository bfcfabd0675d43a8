"""The laws of random trees can fail: each notices what is planted for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from failover import fan_out, sequential
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import DeliveryEnded
from failover.strategies import Failover
from failover.strategies.budget import Budget
from tests.strategies.laws import LAWS
from tests.strategies.random_trees import Branch, Leaf, Played, Program, Step, play

YES = Leaf("plain", (("YES", 0.0),))
NO = Leaf("fast", (("NO", 0.0),))
LATE_NO = Leaf("fast", (("NO", 0.03), ("YES", 0.0)))
SILENT = Leaf("fast", (("SILENT", 0.1),))
SLOW = Leaf("plain", (("YES", 1.0),))


def broken(played: Played) -> set[str]:
    """The laws that are broken."""
    names: set[str] = set()
    for name, law in LAWS.items():
        try:
            law(played)
        except AssertionError:
            names.add(name)
    return names


def program(kind: str, *children: Branch | Leaf, seconds: float | None = None, count: int = 1) -> Program:
    """An event, or a batch, and its end."""
    return Program(Branch(kind, children), (Step("raise", seconds, count), Step("wait", 1.5)))


def test_none_is_broken() -> None:
    """What is planted below is noticed for its own sake: as it is, everything is well."""
    for name, (made, _) in PLANTED.items():
        assert broken(play(made)) == set(), name


def _always(answer: object) -> Callable[..., Any]:
    def function(*_given: object) -> object:
        return answer

    return function


async def _patient(self: Failover, event: Any, **_deadline: object) -> Receipt:
    return await sequential.Sequential.deliver(self, event)


PLANTED: dict[str, tuple[Program, Callable[[pytest.MonkeyPatch], None]]] = {
    "duplicates_are_admitted": (
        program("failover", SILENT, YES),
        lambda patch: patch.setattr(Receipt, "possible_duplicates", 0),
    ),
    "a_confirmation_has_a_leaf": (
        program("all", NO, NO),
        lambda patch: patch.setattr(fan_out, "fan_out_outcome", _always((Outcome.CONFIRMED, None))),
    ),
    "outcomes_add_up": (
        program("failover", NO, NO),
        lambda patch: patch.setattr(sequential, "sequential_outcome", _always((Outcome.SKIPPED, None))),
    ),
    "deadlines_are_kept": (
        program("failover", SLOW, seconds=0.05),
        lambda patch: patch.setattr(Failover, "deliver", _patient),
    ),
    "budgets_are_kept": (
        Program(
            Branch("retry", (NO,)),
            tuple(step for _ in range(10) for step in (Step("raise", None, 6), Step("wait", 0.1))),
        ),
        lambda patch: patch.setattr(Budget, "withdraw", _always(True)),  # noqa: FBT003  # what it answers
    ),
    "impatience_quarantines_nobody": (
        program("failover", SLOW, seconds=0.05),
        lambda patch: patch.setattr(sequential.Sequential, "_judge", _hasty),
    ),
    "attempts_are_listed": (
        program("failover", NO, YES),
        lambda patch: patch.setattr(sequential.Sequential, "_receipt", _forgetful),
    ),
}
_honest = vars(sequential.Sequential)["_receipt"]


def _hasty(self: Failover, child: Any, receipt: Receipt) -> None:
    if receipt.outcome is Outcome.ABANDONED:
        self.take_out(child, 1.0, "too slow for us", receipt.ended)


def _forgetful(self: Failover, event: Any, tried: list[Receipt], held: Any = ()) -> Receipt:
    receipt: Receipt = _honest(self, event, tried[1:], held)
    return receipt


@pytest.mark.parametrize("law", list(PLANTED))
def test_each_is_noticed(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fault in the engine the law that is meant for it is broken."""
    made, plant = PLANTED[law]
    plant(monkeypatch)
    assert law in broken(play(made))


def test_what_is_told_twice_or_never() -> None:
    """One record too many, or too few, is noticed, and so is one of another event."""
    played = play(program("failover", YES, count=2))
    (first, *_) = [entry for entry in played.records if isinstance(entry[1], DeliveryEnded)]
    assert broken(played) == set()
    played.records.append(first)
    assert "one_receipt_each" in broken(played)
    played.records[:] = [entry for entry in played.records if entry[1] is not first[1]]
    assert "one_receipt_each" in broken(played)


def test_what_is_left_behind() -> None:
    """Whatever is still under way at the end is noticed."""
    played = play(program("failover", YES))
    played.left.append("a task")
    assert broken(played) == {"nothing_is_left"}


def test_order() -> None:
    """Where order is promised, an attempt that comes after a later event's is noticed."""
    steps = (Step("raise", None, 1), Step("wait", 0.04), Step("raise", None, 1), Step("wait", 1.5))
    for kind, names in (("failover", set[str]()), ("retry", {"order_is_kept"})):
        played = play(Program(Branch(kind, (LATE_NO,)), steps))
        played.kinds["t"] = evolve(played.kinds["t"], key=_always("one key"))
        assert broken(played) == names


def test_times() -> None:
    """A child that ends after what it is a part of is noticed."""
    played = play(program("failover", SILENT, YES))
    for place, (at, record) in enumerate(played.records):
        if isinstance(record, DeliveryEnded):
            whole = record.receipt
            early = Receipt(
                whole.event, whole.sink, whole.outcome, whole.began, whole.began, whole.children, whole.verdict
            )
            played.records[place] = at, DeliveryEnded(record.group, early)
    assert broken(played) == {"times_are_nested"}
