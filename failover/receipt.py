"""Receipts: the whole tree of what was tried for one event, in what order, and how each attempt ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf
from typing import Any, Final, cast

import msgspec
from attrs import frozen

from failover.event import Event
from failover.outcome import Outcome, Verdict

__all__ = ["Attempt", "ErrorReply", "Receipt"]

# A global is half the price of an attribute of a class, and these are asked per event.
_CONFIRMED: Final = Outcome.CONFIRMED
_SENT: Final = Outcome.SENT
_UNREACHABLE: Final = Outcome.UNREACHABLE
_UNCONFIRMED: Final = Outcome.UNCONFIRMED
_ABANDONED: Final = Outcome.ABANDONED
_LETTERS: Final = re.compile("[^a-z]")
_FINAL: Final = (Verdict.STOP, Verdict.CONFIRM)


@frozen
class ErrorReply:
    """The `error` of a reply, as the peer gave it.

    Args:
        code: Its code; None if it had none or no integer.
        text: Its `message`; the whole error as JSON if it was no object.
        data: Its `data`, decoded; None without.

    Source: JSON-RPC 2.0 section 5.1.
    """

    code: int | None
    text: str
    data: Any = None

    def __str__(self) -> str:
        return self.text if self.code is None else f"{self.code} {self.text}"

    @property
    def retry_after(self) -> float | None:
        """Seconds for which the peer asks to be left alone: its `data`, or the member `retry_after` of that.

        The member may also be spelt `retryAfter` or `Retry-After`, as in HTTP. None if it doesn't say, or not in
        positive seconds.
        """
        given = self.data
        if isinstance(given, dict):
            members = cast("dict[str, Any]", given).items()
            given = next((value for key, value in members if _LETTERS.sub("", key.lower()) == "retryafter"), None)
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < inf:
            return None
        return float(given)


class Receipt(msgspec.Struct, eq=False, frozen=True, gc=False):
    """What became of one event at one sink, with a child for everything that sink tried for it.

    A frozen msgspec struct, since one is made for every node of every delivery: half the cost of the leanest
    alternative, and no work for the garbage collector: a receipt never leads back to itself.
    """

    event: Event
    sink: str
    """Name of the sink or strategy whose receipt this is."""
    outcome: Outcome
    began: float
    """Loop time, seconds."""
    ended: float
    """Loop time, seconds."""
    children: tuple[Receipt, ...] = ()
    """What a strategy tried or skipped, in order; empty for a socket."""
    verdict: Verdict | None = None
    """What the outcome means for the event, where an error reply or a full window says so."""
    reason: str = ""
    """Why it ended so, where the outcome alone doesn't say it."""
    why: str = ""
    """Why the strategy above chose this child, where its `rule` doesn't say it."""
    side_by_side: bool = False
    """Whether the children were tried all at once: copies are then intended, not duplicates."""
    rule: str = ""
    """By what a strategy chooses the child that it tries first, e.g. `its turn`; empty where it has no choice."""

    @property
    def confirmed(self) -> bool:
        """Whether a peer confirmed the event (a reply without error, or an error whose verdict is `confirm`)."""
        return self.outcome is _CONFIRMED or self.verdict is Verdict.CONFIRM

    @property
    def settled(self) -> bool:
        """Whether nothing is gained by trying another sink. Strategies ask this, never `confirmed`."""
        outcome = self.outcome
        return outcome is _CONFIRMED or outcome is _SENT or (self.verdict is not None and self.verdict in _FINAL)

    @property
    def maybe_processed(self) -> bool:
        """Whether any peer may have processed the event."""
        return any(child.maybe_processed for child in self.children)

    @property
    def cut_short(self) -> bool:
        """Whether we stopped waiting somewhere below: then silence says nothing about the peers."""
        return self.outcome is _ABANDONED or any(child.cut_short for child in self.children)

    @property
    def at_fault(self) -> bool:
        """Whether this outcome is evidence that the sink is out of order (what quarantines it)."""
        outcome = self.outcome
        if (outcome is not _UNREACHABLE and outcome is not _UNCONFIRMED) or self.verdict is not None:
            return False  # with a verdict it was a full window, which is our own bound
        children = self.children
        return not children or (not self.cut_short and any(child.at_fault for child in children))

    @property
    def retry_after(self) -> float | None:
        """Seconds for which a busy peer asks to be left alone, the least of several; None if none does."""
        if self.verdict is not Verdict.BUSY:
            return None
        return min((asked for child in self.children if (asked := child.retry_after) is not None), default=None)

    @property
    def possible_duplicates(self) -> int:
        """How many more times than intended the event may have been processed, at most."""
        inner = sum(child.possible_duplicates for child in self.children)
        if self.side_by_side:
            return inner
        copies = [child.copies for child in self.children]
        return inner + sum(copies) - max(copies, default=0)

    @property
    def copies(self) -> int:
        """How many of the times that the event may have been processed are intended: side by side, each child's."""
        if not self.children:
            return int(self.maybe_processed)
        copies = [child.copies for child in self.children]
        return sum(copies) if self.side_by_side else max(copies)

    @property
    def took(self) -> float:
        """Seconds from the first choice to the end."""
        return self.ended - self.began

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt on a socket, in order; what was skipped is not among them."""
        return tuple(node for node in self.walk() if isinstance(node, Attempt) and node.outcome is not Outcome.SKIPPED)

    def walk(self) -> Iterator[Receipt]:
        """Every receipt of the tree, this one first, parents before children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def explain(self) -> str:
        """The tree in sentences, one line each: who was tried or skipped, why, how it ended and how long it took."""
        return "\n".join(self._explain(self.began, 0))

    def _explain(self, origin: float, depth: int, rule: str = "") -> Iterator[str]:
        start = f"{(self.began - origin) * 1e3:.1f} ms: " if depth else f"event {self.event.name}: "
        why = self.why
        if self.outcome is Outcome.SKIPPED:
            ended = f"skipped: {self.reason or 'not attempted'}"
        else:
            why = why or rule
            ended = f"{self.outcome.value} after {self.took * 1e3:.1f} ms" + (f": {self.reason}" if self.reason else "")
        if self.verdict is not None:
            ended += f" [verdict {self.verdict.value}]"
        chosen = f" ({why})" if why else ""
        yield _printable(f"{'  ' * depth}{start}{self.sink}{chosen} {ended}")
        rule = "side by side" if self.side_by_side else self.rule
        for child in self.children:
            yield from child._explain(origin, depth + 1, rule)  # noqa: SLF001  # the same class
            if self.rule:
                rule = "next"
        if not depth and self.possible_duplicates:
            who = "; ".join(self._repeated())
            yield _printable(f"possible duplicates: {self.possible_duplicates} (may have processed it: {who})")

    def _repeated(self) -> Iterator[str]:
        """Who may have processed it one after the other, for each place in the tree where that is more than one."""
        for node in self.walk():
            tried = [child.sink for child in node.children if child.maybe_processed]
            if len(tried) > 1 and not node.side_by_side:
                yield ", ".join(tried)

    def to_dict(self) -> dict[str, Any]:
        """The tree as plain data for JSON; times in seconds, relative ones only."""
        return self._to_dict(self.began)

    def _to_dict(self, origin: float) -> dict[str, Any]:
        data: dict[str, Any] = {
            "sink": self.sink,
            "outcome": self.outcome.value,
            "began": round(self.began - origin, 6),
            "took": round(self.took, 6),
            "settled": self.settled,
            "possible_duplicates": self.possible_duplicates,
        }
        said = (("why", self.why), ("reason", self.reason), ("rule", self.rule))
        data |= {key: value for key, value in said if value}
        if self.verdict is not None:
            data["verdict"] = self.verdict.value
        if self.children:
            data["children"] = [child._to_dict(origin) for child in self.children]  # noqa: SLF001  # the same class
        return data


class Attempt(Receipt, eq=False, frozen=True, gc=False):
    """One try on one socket: a leaf of the tree."""

    request_id: int | None = None
    """The JSON-RPC id on the wire; None for a notification, and where nothing was sent."""
    sent: bool = False
    """Whether bytes of it left, or may have."""
    error: ErrorReply | None = None
    """The error reply, if that was the answer."""
    raw_result: msgspec.Raw | None = None
    """The reply's `result` as it came, undecoded."""

    @property
    def result(self) -> Any:
        """The reply's `result`, decoded; None without one.

        Raises:
            ValueError: the peer's result is no valid JSON value after all (e.g. bad UTF-8 in a string).
        """
        try:
            return None if self.raw_result is None else msgspec.json.decode(self.raw_result)
        except msgspec.MsgspecError as error:  # a ValueError by itself only from msgspec 0.22 on
            raise ValueError(str(error)) from error

    @property
    def maybe_processed(self) -> bool:
        """Whether the peer may have processed the event: it confirmed, or bytes left and it did not refuse."""
        return self.outcome is Outcome.CONFIRMED or (
            self.sent and (self.outcome is not Outcome.REJECTED or self.verdict is Verdict.CONFIRM)
        )

    @property
    def retry_after(self) -> float | None:
        """Seconds for which the peer asks to be left alone, since it is busy; None if it doesn't."""
        return None if self.error is None or self.verdict is not Verdict.BUSY else self.error.retry_after

    def _to_dict(self, origin: float) -> dict[str, Any]:
        data = super()._to_dict(origin)
        if self.request_id is not None:
            data["request_id"] = self.request_id
        if self.error is not None:
            data["error"] = {"code": self.error.code, "message": self.error.text, "data": self.error.data}
        if self.raw_result is not None:
            try:
                data["result"] = self.result
            except ValueError:  # what the peer gave is no valid JSON, and still to be told
                data["result"] = bytes(self.raw_result).decode("utf-8", "replace")
        return data


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(char if char.isprintable() else "?" for char in line)
