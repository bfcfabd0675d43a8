"""What a log says of each record: levels, sentences and facts, nothing private, and never too much."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from failover.adapters.lines import LEVELS, Line, Lines, moved_on
from failover.errors import ConfigError
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import DeliveryEnded, Silence
from tests.adapters.records import BAD, DELIVERED, DOWN, EVENT, EVERY, MOVED, NEW, REFUSED, STRANGE, attempt, receipt

REFUSED_CONNECTION = "a unreachable after 5.0 ms: connect: Connection refused"


def said(record: object, **settings: Any) -> Line:
    """The line of one record."""
    line = Lines(**settings).of(record, lambda _: True)
    assert line is not None
    return line


def test_every_record_has_its_level_and_sentence() -> None:
    """One line each: the kind gives the level, the sentence names who, what and why."""
    assert [(said(record).facts["kind"], said(record).level, said(record).text) for record in [*EVERY, NEW]] == [
        ("attempt", logging.DEBUG, "E_ACC_CDR: a confirmed after 5.0 ms"),
        ("part", logging.DEBUG, "inner: E_ACC_CDR confirmed after 5.0 ms (a confirmed after 5.0 ms)"),
        ("delivered", logging.DEBUG, "cdr: E_ACC_CDR confirmed after 5.0 ms (a confirmed after 5.0 ms)"),
        (
            "moved on",
            logging.INFO,
            f"cdr: E_ACC_CDR confirmed after 10.0 ms ({REFUSED_CONNECTION}; b confirmed after 5.0 ms)",
        ),
        (
            "undelivered",
            logging.WARNING,
            f"cdr: E_ACC_CDR rejected after 10.0 ms ({REFUSED_CONNECTION}; b rejected after 5.0 ms: -32602 bad)",
        ),
        ("late reply", logging.INFO, "cdr: a confirmed E_ACC_CDR 1995.0 ms late"),
        ("late reply", logging.INFO, "cdr: a answered E_ACC_CDR 1995.0 ms late"),
        ("silence", logging.INFO, "cdr: a is silent"),
        ("silence", logging.INFO, "cdr: Failover is silent"),
        ("quarantined", logging.WARNING, "cdr: Failover: a is out of service for 30 s: no reply within the timeout"),
        ("reinstated", logging.INFO, "cdr: Failover: a is back in service: late confirmation"),
        ("bad reply", logging.WARNING, "10.0.0.5:8080: no JSON"),
        ("connected", logging.DEBUG, "10.0.0.5:8080: connected"),
        ("disconnected", logging.INFO, "10.0.0.5:8080: reset"),
        ("other", logging.INFO, "Recovering: strategy Failover, child a, reason a probe was answered"),
    ]
    assert {said(record).facts["kind"] for record in [*EVERY, NEW]} == set(LEVELS)


def test_facts() -> None:
    """A formatter that writes data finds names, numbers and strings, also of a kind that has no row."""
    assert said(REFUSED).facts == {
        "kind": "undelivered",
        "group": "cdr",
        "event_name": "E_ACC_CDR",
        "event_id": "call-1",
        "sink": "Failover",
        "outcome": "rejected",
        "seconds": pytest.approx(0.01),
        "verdict": "stop",
        "attempts": [
            "a unreachable after 5.0 ms: connect: Connection refused",
            "b rejected after 5.0 ms: -32602 bad",
        ],
        "possible_duplicates": 0,
    }
    assert said(EVERY[9]).facts == {
        "kind": "quarantined",
        "group": "cdr",
        "strategy": "Failover",
        "child": "a",
        "seconds": 30.0,
        "reason": "no reply within the timeout",
    }
    assert said(Silence("a", None, 0.0)).text == "a is silent", "a sink that was opened without a group"
    assert said(NEW).facts == {
        "kind": "other",
        "record": "Recovering",
        "strategy": "Failover",
        "child": "a",
        "reason": "a probe was answered",
    }
    assert said(STRANGE).facts == {"kind": "other", "record": "object"}


def test_nothing_private_unless_asked_for() -> None:
    """Params, and the bytes of a bad reply, are told only to who says so."""
    assert "secret" not in str([said(record) for record in EVERY])
    told = [said(record, params=True).facts for record in EVERY]
    params = [facts["params"] for facts in told if "params" in facts]
    assert params == ['{"password":"secret"}'] * 8
    assert [facts["excerpt"] for facts in told if "excerpt" in facts] == ['{"secret"']
    assert "params" not in said(Silence("a", None, 0.0), params=True).facts


def test_many_attempts_are_counted() -> None:
    """A delivery to a thousand sockets is still one readable line."""
    line = said(DeliveryEnded("cdr", receipt(*[DOWN] * 1000, outcome=Outcome.UNREACHABLE)))
    assert len(line.facts["attempts"]) == 9
    assert line.text.endswith("; 992 more)")


def test_nobody_tried() -> None:
    """Without an attempt the first reason is told, or that there was none."""
    skipped = Receipt(EVENT, "a", Outcome.SKIPPED, 10.0, 10.0, reason="quarantined for 3.0 s more (silent)")
    assert said(DeliveryEnded("cdr", receipt(skipped))).text.endswith(
        "(a skipped: quarantined for 3.0 s more (silent))"
    )
    bare = Receipt(EVENT, "a", Outcome.SKIPPED, 10.0, 10.0)
    assert said(DeliveryEnded("cdr", receipt(bare))).text.endswith("(nobody tried)")


def test_what_a_peer_says_stays_in_its_line() -> None:
    """Line breaks and escapes in a peer's words begin no line of their own."""
    line = said(DeliveryEnded("cdr", receipt(attempt("a", Outcome.REJECTED, reason="no\nERROR \x1b[2J"))))
    assert line.text.endswith("no?ERROR ?[2J)")


def test_bounded_per_second() -> None:
    """Of one kind so many in a second of loop time; the next line says how many were left out."""
    lines = Lines(per_second=2)

    def at(time: float) -> Line | None:
        return lines.of(DeliveryEnded("cdr", attempt("a", Outcome.UNCONFIRMED, time)), lambda _: True)

    assert [at(time) is not None for time in (1.0, 1.1, 1.2, 1.3, 1.4)] == [True, True, False, False, False]
    assert lines.of(DELIVERED, lambda _: True) is not None, "another kind has its own bound"
    after = at(2.5)
    assert after is not None
    assert after.text.endswith("(and 3 more like it, left out)")
    assert after.facts["left_out"] == 3
    again = at(4.0)
    assert again is not None
    assert "left_out" not in again.facts
    assert at(0.0) is not None, "another loop's time is a new second"


def test_levels() -> None:
    """A level can be given by kind; what is not wanted has no line."""
    assert said(DELIVERED, levels={"delivered": 5}).level == 5
    asked: list[int] = []
    assert Lines(levels={"moved on": 7}).of(MOVED, lambda level: bool(asked.append(level))) is None
    assert asked == [7]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"levels": {"delivred": 10}}, "no level for 'delivred'; it is one of 'attempt', 'part', 'delivered'"),
        ({"levels": {"delivered": "INFO"}}, "the level of 'delivered' must be an integer as logging.INFO"),
        ({"per_second": 0}, "per_second must be an integer, 1 or more, not 0"),
        ({"per_second": True}, "per_second must be"),
    ],
)
def test_misuse(settings: dict[str, Any], text: str) -> None:
    """A wrong setting is told where it is given, with what was expected."""
    with pytest.raises(ConfigError, match=text):
        Lines(**settings)


def test_moved_on() -> None:
    """More than one tried in turn, at any depth; what was passed over, or tried side by side, doesn't count."""
    passed = Receipt(EVENT, "x", Outcome.SKIPPED, 10.0, 10.0)
    side = Receipt(EVENT, "Parallel", Outcome.CONFIRMED, 10.0, 10.0, (attempt(), attempt("b")), side_by_side=True)
    assert not moved_on(attempt())
    assert not moved_on(receipt(attempt()))
    assert not moved_on(receipt(passed, attempt()))
    assert not moved_on(receipt(passed, side))
    assert moved_on(receipt(DOWN, attempt()))
    assert moved_on(receipt(passed, receipt(DOWN, BAD)))
