"""A history as text to read: a line for each entry, times in seconds, what belongs to an event beside its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from failover.testing.entries import (
    Answered,
    Attempted,
    Broken,
    ConnectionChange,
    Declared,
    Ended,
    Entry,
    FaultSet,
    HealthChange,
    HealthStep,
    Late,
    Node,
    OddReply,
    Processed,
    Raised,
)

if TYPE_CHECKING:
    from failover.testing.stories import Finding

__all__ = ["sentence", "tell"]

_BEFORE, _AFTER = 0.5, 0.1  # seconds of what else happened that are shown around an event's own entries


def sentence(entry: Entry) -> str:
    """One entry in words, with its time."""
    return f"{entry.at:12.6f}  {_words(entry)}"


def tell(entries: Sequence[Entry], around: Finding | None = None, *, most: int = 60) -> str:
    """Entries in words, one line each; see `History.tell`."""
    chosen = list(entries) if around is None else _around(entries, around)
    lines = [sentence(entry) for entry in chosen]
    if len(lines) > most:
        half = max(1, most // 2)
        lines = [*lines[:half], f"{'…':>12}  ({len(lines) - 2 * half} more)", *lines[-half:]]
    return "\n".join(lines)


def _around(entries: Sequence[Entry], finding: Finding) -> list[Entry]:
    own = [entry for entry in entries if getattr(entry, "event", "") in finding.events]
    times = [entry.at for entry in own] or [finding.at]
    first, last = min(times) - _BEFORE, max(times) + _AFTER
    return [
        entry
        for entry in entries
        if getattr(entry, "event", "") in finding.events
        or (first <= entry.at <= last and not getattr(entry, "event", ""))
        or (isinstance(entry, Declared) and entry.at <= last)
        or (isinstance(entry, FaultSet) and entry.at <= last)
    ]


def _words(entry: Entry) -> str:
    if isinstance(entry, Declared):
        return f"group {entry.group}: {_tree(entry.root)}"
    if isinstance(entry, FaultSet):
        state = "fault" if entry.active else "repaired:"
        return " ".join(filter(None, (state, entry.fault, entry.where and f"at {entry.where}", entry.detail)))
    if isinstance(entry, HealthChange):
        standing = "is back" if entry.up else f"is out until {entry.until:.6f}"
        return f"{entry.strategy}: {entry.child} {standing} ({entry.reason})"
    if isinstance(entry, HealthStep):
        until = f" until {entry.until:.6f}" if entry.until else ""
        return f"{entry.strategy}: {entry.child} is {entry.step}{until} ({entry.reason})"
    if isinstance(entry, ConnectionChange):
        return f"connection to {entry.peer} {'made' if entry.connected else f'down: {entry.reason}'}"
    if isinstance(entry, OddReply):
        return f"odd reply from {entry.peer}: {entry.problem}"
    if isinstance(entry, Broken):
        return f"a {entry.how.upper()} came from {entry.subscriber}"
    return f"[{entry.event}] {_event_words(entry)}"


def _event_words(entry: Entry) -> str:
    if isinstance(entry, Raised):
        until = "" if entry.deadline is None else f", deadline {entry.deadline:.6f}"
        return f"raised: {entry.name}{until}"
    if isinstance(entry, Attempted):
        number = "" if entry.request_id is None else f" as {entry.request_id}"
        reason = f": {entry.reason}" if entry.reason else ""
        return f"{entry.sink}{number} {entry.outcome.value} after {(entry.at - entry.began) * 1e3:.3f} ms{reason}"
    if isinstance(entry, Ended):
        return f"{entry.group} ended: " + " | ".join(entry.receipt.explain().splitlines())
    if isinstance(entry, Processed):
        return f"processed by {entry.subscriber}" + (f" (connection {entry.connection})" if entry.connection else "")
    if isinstance(entry, Answered):
        return f"{entry.subscriber}'s {'result' if entry.confirmed else 'error'} came for {entry.request_id}"
    if isinstance(entry, Late):
        return f"{entry.sink} heard late, {'confirmed' if entry.confirmed else 'refused'}"
    return f"{getattr(entry, 'sink', '?')} heard nothing"


def _tree(node: Node) -> str:
    children = f"({', '.join(_tree(child) for child in node.children)})" if node.children else ""
    return f"{node.name}{children}"
