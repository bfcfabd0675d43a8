"""What came of an examination: a verdict for each clause, with the evidence."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Any

import attrs

__all__ = ["Excerpt", "Report", "Result", "Verdict"]

_HEAD = 320  # bytes of an excerpt's beginning
_TAIL = 80  # bytes of its end


class Verdict(Enum):
    """How a clause ended."""

    PASS = "pass"  # noqa: S105  # a verdict
    FAIL = "fail"
    WARN = "warn"
    """What is only recommended isn't so, or what came can be meant and should be looked at."""
    SKIP = "skip"


class Excerpt:
    """Bytes as they went over the connections of one clause: the first, the last, and how many they were."""

    __slots__ = ("_head", "_tail", "size")

    def __init__(self) -> None:
        self.size = 0
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        room = _HEAD - len(self._head)
        self._head += data[:room]
        if len(data) > room:
            self._tail = (self._tail + data[room:][-_TAIL:])[-_TAIL:]

    def __str__(self) -> str:
        left_out = self.size - len(self._head) - len(self._tail)
        between = f" …({left_out} bytes)… " if left_out else ""
        return _shown(self._head) + between + _shown(self._tail)


def _shown(data: bytes | bytearray) -> str:
    """Bytes as text; what isn't UTF-8 or would break a line is escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@attrs.frozen(kw_only=True)
class Result:
    """What came of one clause.

    Args:
        id: The clause's id, e.g. `4.1-unknown-method`.
        title: What it examines, in a sentence.
        source: The section that asks for it.
        expected: What was expected.
        verdict: How it ended.
        detail: What was found, or why it was skipped; empty if all was as expected.
        sent: The bytes that were sent, an excerpt.
        came: The bytes that came, an excerpt.
        took: Seconds.
    """

    id: str
    title: str
    source: str
    expected: str
    verdict: Verdict
    detail: str = ""
    sent: str = ""
    came: str = ""
    took: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it didn't fail."""
        return self.verdict is not Verdict.FAIL

    def explain(self) -> str:
        """Say it in full: verdict, source, what was sent, expected, and came."""
        lines = [f"{self.id} {self.verdict.value}: {self.detail or self.title}"]
        lines += [f"  source:   {self.source}", f"  expected: {self.expected}"]
        if self.sent:
            lines.append(f"  sent:     {self.sent}")
        if self.came or self.sent:
            lines.append(f"  came:     {self.came or 'nothing'}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**attrs.asdict(self), "verdict": self.verdict.value, "took": round(self.took, 6)}


@attrs.frozen(kw_only=True)
class Report:
    """What came of an examination.

    Args:
        socket: Who was examined, `jsonrpc:host:port`.
        method: The method that was used.
        results: One for each clause, in their order.
        notes: What was learned about the subscriber before the clauses, a sentence each.
        took: Seconds in all.
    """

    socket: str
    method: str
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()
    took: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings and what was skipped are allowed."""
        return all(result.ok for result in self.results)

    def of(self, verdict: Verdict) -> tuple[Result, ...]:
        """The results with one verdict."""
        return tuple(result for result in self.results if result.verdict is verdict)

    def explain(self) -> str:
        """Say in a line how many there are of each verdict; then the evidence of failures and warnings."""
        counts = Counter(result.verdict for result in self.results)
        told = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
        lines = [f"{self.socket}: {', '.join(told) or 'nothing examined'}", *self.notes]
        lines += [result.explain() for result in self.of(Verdict.FAIL) + self.of(Verdict.WARN)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "socket": self.socket,
            "method": self.method,
            "ok": self.ok,
            "took": round(self.took, 6),
            "counts": {verdict.value: len(self.of(verdict)) for verdict in Verdict},
            "notes": list(self.notes),
            "results": [result.to_dict() for result in self.results],
        }
