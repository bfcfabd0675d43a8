"""Entries of a history as JSON lines: the same bytes for the same entry, on every supported Python."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import msgspec
from attrs import fields

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
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
    OddReply,
    Processed,
    Raised,
    Silent,
)

__all__ = ["entry_from_line", "entry_to_line"]

_KINDS: Final[dict[str, Any]] = {
    kind.__name__.lower(): kind
    for kind in (
        Declared,
        Raised,
        Attempted,
        Ended,
        Processed,
        Answered,
        Broken,
        Late,
        Silent,
        HealthChange,
        HealthStep,
        ConnectionChange,
        OddReply,
        FaultSet,
    )
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_FIELDS: Final = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}


def entry_to_line(entry: Entry) -> bytes:
    """An entry as one JSON object without a line's end; the same bytes for the same entry on every Python."""
    kind = type(entry)
    data: dict[str, Any] = {"entry": _NAMES[kind]}
    for name in _FIELDS[kind]:
        data[name] = getattr(entry, name)
    if isinstance(entry, Ended):
        data["receipt"] = _receipt_to_data(entry.receipt)
    return msgspec.json.encode(data)


def entry_from_line(line: bytes | str) -> Entry:
    """Read an entry back.

    Raises:
        ConfigError: the line is no entry; it says what is wrong with it.
    """
    try:
        data = msgspec.json.decode(line)
        kind = _KINDS[data.pop("entry")]
        if kind is Ended:
            data["receipt"] = _receipt_from_data(data["receipt"], data["event"])
            return Ended(**data)
        if kind is HealthChange and data.get("until", 0.0) is None:
            data["until"] = inf  # JSON has no such number
        entry: Entry = msgspec.convert(data, kind)
        return entry
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"this line is no entry of a history ({error!r}): {line[:200]!r}") from None


def _receipt_to_data(receipt: Receipt) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": receipt.event.name,
        "sink": receipt.sink,
        "outcome": receipt.outcome,
        "began": receipt.began,
        "ended": receipt.ended,
    }
    if receipt.verdict is not None:
        data["verdict"] = receipt.verdict
    if receipt.reason:
        data["reason"] = receipt.reason
    if receipt.why:
        data["why"] = receipt.why
    if receipt.side_by_side:
        data["side_by_side"] = True
    if receipt.rule:
        data["rule"] = receipt.rule
    if isinstance(receipt, Attempt):
        data["request_id"] = receipt.request_id
        data["sent"] = receipt.sent
        if receipt.error is not None:
            data["error"] = [receipt.error.code, receipt.error.text, receipt.error.data]
        if receipt.raw_result is not None:
            data["result"] = bytes(receipt.raw_result).decode("utf-8", "replace")
    if receipt.children:
        data["children"] = [_receipt_to_data(child) for child in receipt.children]
    return data


def _receipt_from_data(data: dict[str, Any], event: str) -> Receipt:
    verdict = data.get("verdict")
    common: dict[str, Any] = {
        "event": Event(data["name"], id=event),
        "sink": data["sink"],
        "outcome": Outcome(data["outcome"]),
        "began": float(data["began"]),
        "ended": float(data["ended"]),
        "children": tuple(_receipt_from_data(child, event) for child in data.get("children", ())),
        "verdict": None if verdict is None else Verdict(verdict),
        "reason": data.get("reason", ""),
        "why": data.get("why", ""),
        "side_by_side": data.get("side_by_side", False),
        "rule": data.get("rule", ""),
    }
    if "sent" not in data:
        return Receipt(**common)
    error, result = data.get("error"), data.get("result")
    return Attempt(
        **common,
        request_id=data["request_id"],
        sent=data["sent"],
        error=None if error is None else ErrorReply(*error),
        raw_result=None if result is None else msgspec.Raw(result.encode()),
    )
