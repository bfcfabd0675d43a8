"""What a record says to whoever reads a log: of what kind it is, one sentence, and its facts by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import define, fields, frozen, has

from failover.errors import ConfigError
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import (
    AttemptEnded,
    BadReply,
    ConnectionChanged,
    DeliveryEnded,
    LateConfirmation,
    Quarantined,
    Reinstated,
    Silence,
)

__all__ = ["LEVELS", "Line", "Lines", "moved_on"]

LEVELS: Final[Mapping[str, int]] = {
    "attempt": logging.DEBUG,
    "part": logging.DEBUG,
    "delivered": logging.DEBUG,
    "moved on": logging.INFO,
    "undelivered": logging.WARNING,
    "late reply": logging.INFO,
    "silence": logging.INFO,
    "quarantined": logging.WARNING,
    "reinstated": logging.INFO,
    "bad reply": logging.WARNING,
    "connected": logging.DEBUG,
    "disconnected": logging.INFO,
    "other": logging.INFO,
}
"""The level of each kind of record, in logging's numbers: `part` is a delivery of a group nested in another one, which
is told as well; `moved on` a delivery for which more than one was tried in turn; `other` any record without a row."""

_SECOND: Final = 1.0
_LISTED: Final = 8
"""So many attempts of a delivery stand in its sentence, the first ones; the others are counted."""
_PLAIN: Final = (str, int, float, bool, type(None))


@frozen
class Line:
    """One record, for a log.

    Args:
        level: In logging's numbers.
        text: A sentence, without a line break.
        facts: What it says, by name; strings, numbers and lists of strings.
    """

    level: int
    text: str
    facts: dict[str, Any]


@define
class _Second:
    """How many lines of one kind there were within the second that began then."""

    began: float
    told: int = 0
    left_out: int = 0


class Lines:
    """Makes a line of each record that is worth one.

    Args:
        levels: Instead of `LEVELS`, by kind; what isn't named keeps its own.
        params: Whether lines tell an event's params and the bytes of a bad reply. They can hold what no log should:
            names, numbers, passwords.
        per_second: So many lines of one kind within a second of loop time, 1 or more; the others are counted, and the
            kind's next line says how many they were.

    Raises:
        ConfigError: a level for a kind that there isn't, one that is no integer, or a bound below 1.
    """

    def __init__(self, *, levels: Mapping[str, int] | None = None, params: bool = False, per_second: int = 10) -> None:
        given = {} if levels is None else dict(levels)
        for kind, level in given.items():
            if kind not in LEVELS:
                raise ConfigError(f"there is no level for {kind!r}; it is one of {', '.join(map(repr, LEVELS))}")
            if type(level) is not int:
                raise ConfigError(f"the level of {kind!r} must be an integer as logging.INFO is one, not {level!r}")
        if type(per_second) is not int or per_second < 1:
            raise ConfigError(f"per_second must be an integer, 1 or more, not {per_second!r}")
        self._levels = {**LEVELS, **given}
        self._params = params
        self._per_second = per_second
        self._seconds: dict[str, _Second] = {}

    def of(self, record: object, wanted: Callable[[int], bool]) -> Line | None:
        """The line of a record; None if its level isn't wanted, or there were too many of its kind in this second."""
        kind_of, tell = _TABLE.get(type(record), _OTHER)
        kind = kind_of(record)
        level = self._levels[kind]
        if not wanted(level):
            return None
        text, facts, at = tell(record)
        second = self._seconds.get(kind)
        if second is None or not second.began <= at < second.began + _SECOND:
            left_out = 0 if second is None else second.left_out
            second = self._seconds[kind] = _Second(at)
            if left_out:
                text = f"{text} (and {left_out} more like it, left out)"
                facts["left_out"] = left_out
        second.told += 1
        if second.told > self._per_second:
            second.left_out += 1
            return None
        if self._params:
            facts |= _private(record)
        return Line(level, text if text.isprintable() else "".join(_printable(text)), {"kind": kind, **facts})


def moved_on(receipt: Receipt) -> bool:
    """Whether for this delivery more than one sink was tried in turn, anywhere in its tree."""
    children = receipt.children
    if len(children) > 1 and not receipt.side_by_side:
        tried = sum(child.outcome is not Outcome.SKIPPED for child in children)
        if tried > 1:
            return True
    return any(child.children and moved_on(child) for child in children)


# A record tells its kind first; only for who wants that, its sentence, its facts and its time follow.
_Told = tuple[str, dict[str, Any], float]


def _kind_of_delivery(record: DeliveryEnded) -> str:
    receipt = record.receipt
    if record.part:
        return "part"
    if not receipt.confirmed and receipt.outcome is not Outcome.SENT:
        return "undelivered"
    return "moved on" if moved_on(receipt) else "delivered"


def _attempt_ended(record: AttemptEnded) -> _Told:
    attempt = record.attempt
    return f"{attempt.event.name}: {_ending(attempt)}", _of_receipt(attempt), attempt.ended


def _delivery_ended(record: DeliveryEnded) -> _Told:
    receipt = record.receipt
    attempts = receipt.attempts
    tried = [_ending(attempt) for attempt in attempts[:_LISTED]]
    if len(attempts) > _LISTED:
        tried.append(f"{len(attempts) - _LISTED} more")
    said = "; ".join(tried) or next(
        (f"{node.sink} {node.outcome.value}: {node.reason}" for node in receipt.walk() if node.reason), "nobody tried"
    )
    took = f"{receipt.event.name} {receipt.outcome.value} after {receipt.took * 1e3:.1f} ms"
    facts = {"group": record.group, **_of_receipt(receipt), "attempts": tried}
    facts["possible_duplicates"] = receipt.possible_duplicates
    return f"{record.group}: {took} ({said})", facts, receipt.ended


def _late_reply(record: LateConfirmation) -> _Told:
    late = record.at - record.attempt.ended
    what = "confirmed" if record.confirmed else "answered"
    facts = {"sink": record.sink, "confirmed": record.confirmed, "late_seconds": late, **_of_event(record.attempt)}
    text = f"{record.sink} {what} {record.attempt.event.name} {late * 1e3:.1f} ms late"
    return _in_group(record.group, text, facts, record.at)


def _silence(record: Silence) -> _Told:
    event = {} if record.attempt is None else _of_event(record.attempt)
    return _in_group(record.group, f"{record.sink} is silent", {"sink": record.sink, **event}, record.at)


def _quarantined(record: Quarantined) -> _Told:
    seconds = record.until - record.at
    text = f"{record.strategy}: {record.child} is out of service for {seconds:g} s: {record.reason}"
    facts = {"strategy": record.strategy, "child": record.child, "seconds": seconds, "reason": record.reason}
    return _in_group(record.group, text, facts, record.at)


def _reinstated(record: Reinstated) -> _Told:
    text = f"{record.strategy}: {record.child} is back in service: {record.reason}"
    facts = {"strategy": record.strategy, "child": record.child, "reason": record.reason}
    return _in_group(record.group, text, facts, record.at)


def _bad_reply(record: BadReply) -> _Told:
    return f"{record.peer}: {record.problem}", {"peer": record.peer, "problem": record.problem}, record.at


def _connection_changed(record: ConnectionChanged) -> _Told:
    text = f"{record.peer}: {'connected' if record.connected else record.reason}"
    return text, {"peer": record.peer, "connected": record.connected, "reason": record.reason}, record.at


def _other(record: object) -> _Told:
    """A record of a kind without a row here: its plain fields, under their own names."""
    shape: type = type(record)
    names = [field.name for field in fields(shape)] if has(shape) else []
    plain = {name: value for name in names if isinstance(value := getattr(record, name), _PLAIN)}
    at = plain.pop("at", None)
    kind = shape.__name__
    said = ", ".join(f"{name} {value}" for name, value in plain.items())
    return f"{kind}: {said}", {"record": kind, **plain}, at if isinstance(at, float) else 0.0


def _in_group(group: str, text: str, facts: dict[str, Any], at: float) -> _Told:
    """What names of sinks and strategies alone don't tell: in which group they are."""
    return (f"{group}: {text}", {"group": group, **facts}, at) if group else (text, facts, at)


def _always(kind: str) -> Callable[[Any], str]:
    return lambda _: kind


_OTHER: Final[tuple[Callable[[Any], str], Callable[[Any], _Told]]] = (_always("other"), _other)
_TABLE: Final[Mapping[type, tuple[Callable[[Any], str], Callable[[Any], _Told]]]] = {
    AttemptEnded: (_always("attempt"), _attempt_ended),
    DeliveryEnded: (_kind_of_delivery, _delivery_ended),
    LateConfirmation: (_always("late reply"), _late_reply),
    Silence: (_always("silence"), _silence),
    Quarantined: (_always("quarantined"), _quarantined),
    Reinstated: (_always("reinstated"), _reinstated),
    BadReply: (_always("bad reply"), _bad_reply),
    ConnectionChanged: (
        lambda record: "connected" if record.connected else "disconnected",
        _connection_changed,
    ),
}


def _ending(attempt: Attempt) -> str:
    reason = f": {attempt.reason}" if attempt.reason else ""
    return f"{attempt.sink} {attempt.outcome.value} after {attempt.took * 1e3:.1f} ms{reason}"


def _of_event(receipt: Receipt) -> dict[str, Any]:
    return {"event_name": receipt.event.name, "event_id": receipt.event.id}


def _of_receipt(receipt: Receipt) -> dict[str, Any]:
    facts = _of_event(receipt) | {"sink": receipt.sink, "outcome": receipt.outcome.value, "seconds": receipt.took}
    if receipt.reason:
        facts["reason"] = receipt.reason
    if receipt.verdict is not None:
        facts["verdict"] = receipt.verdict.value
    return facts


def _private(record: object) -> dict[str, Any]:
    """What is told only when asked for."""
    if isinstance(record, BadReply):
        return {"excerpt": record.excerpt.decode("utf-8", "replace")}
    receipt = getattr(record, "receipt", None) or getattr(record, "attempt", None)
    if not isinstance(receipt, Receipt) or receipt.event.body is None:
        return {}
    return {"params": receipt.event.body.decode("utf-8", "replace")}


def _printable(text: str) -> Iterator[str]:
    """A peer's words are in it: they must not begin lines of their own, nor steer a terminal."""
    return (char if char.isprintable() else "?" for char in text)
