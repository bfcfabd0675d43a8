"""What a report draws, as plain data of bounded size: lanes of subscribers, faults, attempts and curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from failover.drill.copies import Copies
from failover.drill.recorder import SLOTS
from failover.drill.result import Result
from failover.outcome import Outcome
from failover.testing.entries import Attempted, HealthChange, Processed

__all__ = ["OUTCOMES", "picture"]

OUTCOMES: Final = tuple(outcome.value for outcome in Outcome)
MOST_MARKS: Final = 6000
"""Attempts and processings that are drawn one by one; of more, those that are least of interest are drawn as a mass."""
MOST_EVENTS: Final = 4000
"""Events whose receipt can be shown."""
_MASSES: Final = 400  # stretches of time in which marks are drawn together
_LONGEST: Final = 4000  # characters of a receipt
_TOGETHER: Final = tuple(one for one in range(1, 21) if SLOTS % one == 0)  # slots that may be drawn as one


def picture(result: Result) -> dict[str, Any]:
    """Everything that is drawn; times are seconds after the load began."""
    return {
        "duration": result.drill.drill.duration,
        "outcomes": OUTCOMES,
        "parts": [min(bound, result.drill.drill.duration) for bound in result.recorder.bounds],
        "slots": _slots(result),
        "bands": _bands(result),
        **_marks(result),
    }


def _slots(result: Result) -> dict[str, Any]:
    """The curves: of so many events at a time that a stretch says something."""
    slots, width = result.recorder.slots, result.recorder.width
    wanted = SLOTS / max(12, min(SLOTS, result.recorder.totals.raised / 15))
    together = max(one for one in _TOGETHER if one <= wanted)
    rows: list[list[Any]] = []
    for first in range(0, SLOTS, together):
        group = slots[first : first + together]
        latencies = type(group[0].latencies)()
        for slot in group:
            latencies.merge(slot.latencies)
        rows.append(
            [
                sum(slot.raised for slot in group),
                sum(slot.confirmed for slot in group),
                sum(slot.lost for slot in group),
                _rounded(latencies.quantile(0.5)),
                _rounded(latencies.quantile(0.99)),
            ]
        )
    return {"width": width * together, "rows": rows}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _bands(result: Result) -> list[dict[str, Any]]:
    """Faults, each from its beginning to its end; one of a moment has none."""
    bands: list[dict[str, Any]] = []
    lasting = {fault.what for fault in result.drill.fault if fault.momentary is False}
    for at, what, name, begins in result.recorder.bands:
        if begins:
            bands.append({"what": what, "on": name, "from": at, "to": None if what in lasting else at})
        else:
            for band in reversed(bands):
                if band["what"] == what and band["on"] == name and band["to"] is None:
                    band["to"] = at
                    break
    return bands


def _marks(result: Result) -> dict[str, Any]:
    recorder = result.recorder
    began = recorder.began
    rows = {own.name: number for number, own in enumerate(result.subscribers)}
    lanes: list[dict[str, Any]] = [
        {"name": own.name, "attempts": [], "processed": [], "mass": [], "out": []} for own in result.subscribers
    ]
    shown = _Shown(result)
    masses: Counter[tuple[int, int, int]] = Counter()
    width = result.drill.drill.duration / _MASSES
    copies = Copies(next(iter(recorder.roots.values()), None), recorder.limit)
    for entry in recorder:
        if isinstance(entry, Attempted):
            row = rows.get(recorder.behind.get(entry.sink, ""))
            if row is None:
                continue
            kind = OUTCOMES.index(entry.outcome.value)
            event = shown.event(entry.event, entry.outcome is Outcome.CONFIRMED)
            if event is None:
                masses[row, int((entry.began - began) / width), kind] += 1
            else:
                times = [round(entry.began - began, 6), round(entry.at - began, 6)]
                lanes[row]["attempts"].append([*times, kind, event, entry.reason[:200]])
        elif isinstance(entry, Processed) and entry.subscriber in rows:
            row = rows[entry.subscriber]
            again = copies.again(entry.event, entry.subscriber)
            event = shown.event(entry.event, not again)
            if event is None:
                masses[row, int((entry.at - began) / width), -1] += 1
            else:
                lanes[row]["processed"].append([round(entry.at - began, 6), int(again), event])
    for (row, place, kind), number in sorted(masses.items()):
        lanes[row]["mass"].append([round(place * width, 6), kind, number])
    _out_of_service(result, rows, lanes)
    kept = len(recorder.entries)
    everything = sum(number for name, number in recorder.counts.items() if name in _KINDS)
    return {"lanes": lanes, "events": shown.events, "mass": round(width, 6), "kept": kept, "entries": everything}


_KINDS: Final = frozenset({"raised", "attempted", "ended", "processed", "healthchange"})


class _Shown:
    """Chooses the events that are drawn one by one: those behind findings, those that had trouble, then any."""

    def __init__(self, result: Result) -> None:
        self.events: list[list[Any]] = []
        self._result = result
        self._numbers: dict[str, int] = {}
        self._behind = set(_behind(result))
        totals = result.recorder.totals
        self._all = totals.attempts + totals.processed <= MOST_MARKS and totals.raised <= MOST_EVENTS
        self._left = MOST_EVENTS
        self._marks = MOST_MARKS

    def event(self, event: str, ordinary: bool) -> int | None:  # noqa: FBT001  # a private predicate of one mark
        """The number of an event that is drawn; None if it belongs to the mass."""
        wanted = self._all or event in self._behind or (not ordinary and self._marks > 0)
        if not wanted:
            return None
        number = self._numbers.get(event)
        if number is None:
            if self._left <= 0 and event not in self._behind:
                return None
            self._left -= 1
            number = self._numbers[event] = len(self.events)
            self.events.append(self._told(event))
        self._marks -= 1
        return number

    def _told(self, event: str) -> list[Any]:
        recorder = self._result.recorder
        story = recorder.stories.get(event)
        if story is None or not story.ended:
            return [event, None, None, f"event {event}: no receipt"]
        receipt = story.ended[0].receipt
        raised = story.raised[0].at if story.raised else receipt.began
        times = [round(raised - recorder.began, 6), round(story.ended[0].at - recorder.began, 6)]
        return [event, *times, receipt.explain()[:_LONGEST]]


def _behind(result: Result) -> Iterable[str]:
    found = (event for verdict in result.verdicts for finding in verdict.findings for event in finding.events)
    for number, event in enumerate(dict.fromkeys(found)):
        if number >= MOST_EVENTS // 4:
            return
        yield event


def _out_of_service(result: Result, rows: dict[str, int], lanes: list[dict[str, Any]]) -> None:
    """When each subscriber was in quarantine, by which strategy."""
    recorder = result.recorder
    open_: dict[tuple[str, str], HealthChange] = {}

    def end(change: HealthChange, at: float) -> None:
        for sink in recorder.tree.sinks_of(change.child):
            row = rows.get(recorder.behind.get(sink, ""))
            if row is not None and len(lanes[row]["out"]) < MOST_MARKS:
                span = [round(change.at - recorder.began, 6), round(min(at, change.until) - recorder.began, 6)]
                lanes[row]["out"].append([*span, f"{change.strategy}: {change.reason}"])

    last = recorder.began + result.drill.drill.duration
    for entry in recorder:
        if isinstance(entry, HealthChange):
            before = open_.pop((entry.strategy, entry.child), None)
            if before is not None:
                end(before, entry.at)
            if not entry.up:
                open_[entry.strategy, entry.child] = entry
    for change in open_.values():
        end(change, max(last, change.at))
