"""A history told by hand: what the tests of checkers are about, in few words."""

from __future__ import annotations

from typing import Any

from failover.event import Event
from failover.outcome import Outcome, fan_out_outcome, sequential_outcome
from failover.receipt import Attempt, Receipt
from failover.testing.entries import Attempted, Declared, Ended, HealthChange, HealthStep, Late, Node, Processed, Raised
from failover.testing.history import History

A = Node("a", "JsonRpcSink", timeout=0.2, subscriber="A")
B = Node("b", "JsonRpcSink", timeout=0.2, subscriber="B")
FAILOVER = Node("failover", "Failover", (A, B), quarantine=30.0, need=1)
TURNS = Node("turns", "RoundRobin", (A, B), quarantine=30.0, need=1)
BOTH = Node("both", "Parallel", (A, B), side_by_side=True, need=2)


class Told:
    """A history of one group, and the words to tell it."""

    def __init__(self, root: Node = FAILOVER) -> None:
        self.root = root
        self.history = History()
        self.history.add(Declared(0.0, "group", root))

    def event(self, number: int | str, *attempts: Attempt | Receipt, at: float, **changes: Any) -> None:
        """An event with what its strategy tried, ended when the last of that was; all of it is told."""
        name = f"e{number}"
        ended = changes.pop("ended", max((attempt.ended for attempt in attempts), default=at))
        deadline = changes.pop("deadline", None)
        key = changes.pop("key", "")
        tell = changes.pop("tell", True)
        self.history.add(Raised(at, name, "E", deadline, key, changes.pop("batched", False)))
        for attempt in attempts:
            if tell and isinstance(attempt, Attempt):
                self.attempted(name, attempt)
        if self.root.side_by_side:
            outcome, verdict = fan_out_outcome(attempts, self.root.need)
        else:
            outcome, verdict = sequential_outcome(attempts)
        fields: dict[str, Any] = {"outcome": outcome, "verdict": verdict, "side_by_side": self.root.side_by_side}
        receipt = Receipt(
            event=Event("E", id=name),
            sink=self.root.name,
            began=at,
            ended=ended,
            children=attempts,
            **(fields | changes),
        )
        self.history.add(Ended(ended, name, "group", receipt))

    def attempted(self, name: str, attempt: Attempt) -> None:
        """An attempt has ended."""
        self.history.add(
            Attempted(
                attempt.ended,
                name,
                attempt.sink,
                attempt.began,
                attempt.outcome,
                attempt.verdict,
                attempt.reason,
                attempt.request_id,
                attempt.sent,
            )
        )

    def processed(self, number: int | str, who: str, at: float) -> None:
        """A subscriber did its work."""
        self.history.add(Processed(at, f"e{number}", who))

    def out(self, child: str, at: float, seconds: float = 30.0) -> None:
        """The strategy took a child out."""
        self.history.add(HealthChange(at, self.root.name, child, up=False, until=at + seconds, reason="told so"))

    def back(self, child: str, at: float) -> None:
        """The strategy took a child back."""
        self.history.add(HealthChange(at, self.root.name, child, up=True, reason="told so"))

    def step(self, child: str, step: str, at: float, until: float = 0.0) -> None:
        """Something happened on a child's way back."""
        self.history.add(HealthStep(at, self.root.name, child, step, "told so", until))

    def late(self, number: int | str, sink: str, at: float) -> None:
        """A confirmation came late."""
        self.history.add(Late(at, f"e{number}", sink, confirmed=True))


def attempt(sink: str, outcome: Outcome, began: float, ended: float, **changes: Any) -> Attempt:
    """An attempt of an event; its bytes left unless it was unreachable or skipped."""
    sent = outcome not in (Outcome.UNREACHABLE, Outcome.SKIPPED)
    fields: dict[str, Any] = {"sent": sent} | changes
    return Attempt(Event("E", id="any"), sink, outcome, began, ended, **fields)


def confirmed(sink: str, began: float, ended: float, **changes: Any) -> Attempt:
    """A confirmed attempt."""
    return attempt(sink, Outcome.CONFIRMED, began, ended, **changes)


def unreachable(sink: str, began: float, ended: float, **changes: Any) -> Attempt:
    """An attempt that found nobody."""
    return attempt(sink, Outcome.UNREACHABLE, began, ended, reason="refused", **changes)


def silent(sink: str, began: float, seconds: float = 0.2, **changes: Any) -> Attempt:
    """An attempt that ran into its timeout."""
    reason = {"reason": "no reply within the timeout"}
    return attempt(sink, Outcome.UNCONFIRMED, began, began + seconds, **(reason | changes))


def passed_over(sink: str, at: float, reason: str = "quarantined for 30.0 s more (refused)") -> Receipt:
    """A child that a strategy did not try."""
    return Receipt(Event("E", id="any"), sink, Outcome.SKIPPED, at, at, reason=reason)
