"""Receipts: laws that hold for any tree, what they say in words, and as plain data."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import failover.strategies
from failover.event import Event
from failover.outcome import Outcome, Verdict, fan_out_outcome, sequential_outcome
from failover.receipt import Attempt, ErrorReply, Receipt
from tests.doubles import ANSWERS

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


def attempt(name: str) -> Attempt:
    """The receipt of one answer."""
    answer = ANSWERS[name]
    return Attempt(EVENT, name, answer.outcome, 0.0, 1.0, verdict=answer.verdict, sent=answer.sent)


def composite(children: list[Receipt], need: int | None) -> Receipt:
    """Made as strategies make theirs."""
    if need is None:
        settled = next((place for place, child in enumerate(children) if child.settled), len(children))
        children = children[: settled + 1]
        outcome, verdict = sequential_outcome(children)
    else:
        need = min(need, len(children))
        outcome, verdict = fan_out_outcome(children, need)
    return Receipt(EVENT, "s", outcome, 0.0, 1.0, tuple(children), verdict, side_by_side=need is not None)


LEAVES = st.sampled_from(sorted(ANSWERS)).map(attempt)
TREES: st.SearchStrategy[Receipt] = st.recursive(
    LEAVES,
    lambda inner: st.builds(composite, st.lists(inner, min_size=1, max_size=4), st.none() | st.integers(1, 4)),
    max_leaves=12,
)


@given(TREES)
def test_laws(receipt: Receipt) -> None:
    """What holds for every tree that strategies can make."""
    leaves = [node for node in receipt.walk() if isinstance(node, Attempt)]
    assert receipt.maybe_processed == any(leaf.maybe_processed for leaf in leaves)
    assert receipt.cut_short == any(leaf.outcome is Outcome.ABANDONED for leaf in leaves)
    assert receipt.settled >= receipt.confirmed
    assert not (receipt.confirmed and not receipt.maybe_processed)
    if receipt.at_fault:
        assert receipt.outcome in (Outcome.UNREACHABLE, Outcome.UNCONFIRMED)
        assert not receipt.settled
        assert not receipt.cut_short
        assert any(leaf.at_fault for leaf in leaves)
    if receipt.outcome in (Outcome.ABANDONED, Outcome.SKIPPED, Outcome.REJECTED, Outcome.UNREACHABLE):
        assert receipt.children == () or receipt.verdict is not None or not receipt.maybe_processed
    if receipt.outcome is Outcome.UNCONFIRMED:
        assert receipt.maybe_processed
        assert receipt.verdict in (None, Verdict.STOP)
    if receipt.outcome is Outcome.SKIPPED:
        assert not receipt.maybe_processed
    assert 0 <= receipt.possible_duplicates <= max(0, sum(leaf.maybe_processed for leaf in leaves) - 1)
    assert list(receipt.attempts) == [leaf for leaf in leaves if leaf.outcome is not Outcome.SKIPPED]


@given(TREES)
def test_abandoned_is_never_at_fault(receipt: Receipt) -> None:
    """Our own impatience is no evidence against anybody, at any depth."""
    if any(node.outcome is Outcome.ABANDONED for node in receipt.walk()):
        assert not receipt.at_fault


@given(TREES)
def test_plain_data(receipt: Receipt) -> None:
    """Every tree is JSON, and reads back as the same shape."""
    data = json.loads(json.dumps(receipt.to_dict()))

    def same(node: Receipt, plain: dict[str, object]) -> None:
        assert plain["outcome"] == node.outcome.value
        assert plain["settled"] is node.settled
        assert plain.get("verdict") == (None if node.verdict is None else node.verdict.value)
        below = plain.get("children", [])
        assert isinstance(below, list)
        for child, part in zip(node.children, below, strict=True):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            same(child, part)  # pyright: ignore[reportUnknownArgumentType]

    same(receipt, data)


@given(TREES)
def test_a_line_for_each(receipt: Receipt) -> None:
    """Every node has its line, whatever is in it."""
    lines = receipt.explain().split("\n")
    assert len(lines) == sum(1 for _ in receipt.walk()) + bool(receipt.possible_duplicates)


def test_duplicates() -> None:
    """Copies that were meant are none; each further try in a row that may have been processed is one."""
    yes, silent, down = attempt("YES"), attempt("SILENT"), attempt("DOWN")
    assert composite([silent, yes], None).possible_duplicates == 1
    assert composite([silent, silent, yes], None).possible_duplicates == 2
    assert composite([down, yes], None).possible_duplicates == 0
    assert composite([yes, yes, silent], 2).possible_duplicates == 0
    pair = composite([silent, yes], 2)
    assert composite([pair, yes], None).possible_duplicates == 1
    assert composite([composite([silent, yes], None), composite([silent, yes], None)], 2).possible_duplicates == 2


def test_in_words_failed_over() -> None:
    """A sequence: who was passed over, who failed, who confirmed, how long each took."""
    receipt = Receipt(
        EVENT,
        "Failover",
        Outcome.CONFIRMED,
        100.0,
        100.2042,
        (
            Receipt(EVENT, "a:1", Outcome.SKIPPED, 100.0, 100.0, reason="quarantined for 12.0 s more (no reply)"),
            Attempt(EVENT, "b:1", Outcome.UNCONFIRMED, 100.0, 100.2, reason="no reply within the timeout", sent=True),
            Attempt(EVENT, "c:1", Outcome.CONFIRMED, 100.2, 100.2042, why="last resort", sent=True),
        ),
    )
    assert receipt.explain() == (
        "event E_ACC_CDR: Failover confirmed after 204.2 ms\n"
        "  0.0 ms: a:1 skipped: quarantined for 12.0 s more (no reply)\n"
        "  0.0 ms: b:1 unconfirmed after 200.0 ms: no reply within the timeout\n"
        "  200.0 ms: c:1 (last resort) confirmed after 4.2 ms\n"
        "possible duplicates: 1 (may have processed it: b:1, c:1)"
    )


def test_in_words_nested_and_refused() -> None:
    """A fan-out within: deeper lines stand further in, refusals show their verdict."""
    error = ErrorReply(-32602, "Invalid params", {"name": "callid"})
    refused = Attempt(
        EVENT, "b:1", Outcome.REJECTED, 0.0, 0.001, verdict=Verdict.STOP, reason=str(error), sent=True, error=error
    )
    pair = Receipt(
        EVENT,
        "Parallel",
        Outcome.REJECTED,
        0.0,
        0.002,
        (Attempt(EVENT, "a:1", Outcome.CONFIRMED, 0.0, 0.002, sent=True), refused),
        Verdict.STOP,
        side_by_side=True,
    )
    receipt = Receipt(EVENT, "billing", Outcome.REJECTED, 0.0, 0.002, (pair,), Verdict.STOP)
    assert receipt.explain() == (
        "event E_ACC_CDR: billing rejected after 2.0 ms [verdict stop]\n"
        "  0.0 ms: Parallel rejected after 2.0 ms [verdict stop]\n"
        "    0.0 ms: a:1 (side by side) confirmed after 2.0 ms\n"
        "    0.0 ms: b:1 (side by side) rejected after 1.0 ms: -32602 Invalid params [verdict stop]"
    )
    assert receipt.to_dict()["children"][0]["children"][1] == {
        "sink": "b:1",
        "outcome": "rejected",
        "began": 0.0,
        "took": 0.001,
        "settled": True,
        "possible_duplicates": 0,
        "reason": "-32602 Invalid params",
        "verdict": "stop",
        "error": {"code": -32602, "message": "Invalid params", "data": {"name": "callid"}},
    }


def test_in_words_why_each_was_chosen() -> None:
    """The first child by the strategy's rule, each after it since it was next; one with a reason of its own by that."""
    tried = [
        Attempt(EVENT, "a:1", Outcome.UNREACHABLE, 0.0, 0.0),
        Attempt(EVENT, "b:1", Outcome.REJECTED, 0.0, 0.0, why="last resort", sent=True),
        Attempt(EVENT, "c:1", Outcome.CONFIRMED, 0.0, 0.0, sent=True),
    ]

    def lines(*children: Attempt) -> list[str]:
        receipt = Receipt(EVENT, "RoundRobin", Outcome.CONFIRMED, 0.0, 0.0, children, rule="its turn")
        assert receipt.to_dict()["rule"] == "its turn"
        return [line.removeprefix("  0.0 ms: ").split(" after")[0] for line in receipt.explain().splitlines()[1:]]

    assert lines(*tried) == [
        "a:1 (its turn) unreachable",
        "b:1 (last resort) rejected",
        "c:1 (next) confirmed",
    ]
    passed = Attempt(EVENT, "a:1", Outcome.SKIPPED, 0.0, 0.0, reason="quarantined")
    assert lines(passed, tried[2]) == ["a:1 skipped: quarantined", "c:1 (next) confirmed"]


@pytest.mark.parametrize("name", sorted(set(failover.strategies.__all__) - {"Quorum", "Parallel", "Mirror"}))
def test_every_strategy_that_chooses_has_a_rule(name: str) -> None:
    """Who has several children and tries them in turn says by what it begins; who has one child has no choice."""
    kind = getattr(failover.strategies, name)
    has_no_choice = {"Coalesce", "DeadLetter", "Deadline", "Dedup", "Limit", "Ordered", "Retry", "Timeout"}
    assert bool(kind.rule) is (name not in has_no_choice)


def test_in_words_a_socket_alone() -> None:
    """A single attempt, and one that was not made."""
    assert attempt("DOWN").explain() == "event E_ACC_CDR: DOWN unreachable after 1000.0 ms"
    assert attempt("FULL").explain() == "event E_ACC_CDR: FULL skipped: not attempted"
    assert attempt("REFUSED").explain() == "event E_ACC_CDR: REFUSED skipped: not attempted [verdict stop]"


def test_a_peers_text_can_not_forge_lines() -> None:
    """What a peer says is shown without line ends and control characters."""
    error = ErrorReply(-1, "no\n  0.0 ms: b:1 confirmed\x1b[2J\u202e")
    receipt = Attempt(Event("E\nA"), "a:1", Outcome.REJECTED, 0.0, 0.0, reason=str(error), sent=True, error=error)
    assert receipt.explain() == "event E?A: a:1 rejected after 0.0 ms: -1 no?  0.0 ms: b:1 confirmed?[2J?"


@pytest.mark.parametrize("raw", [b'"\xff"', b"1e999", b'"\\ud800"', b"[1,]"])
def test_a_result_that_can_not_be_read(raw: bytes) -> None:
    """Asked for, it is an error; plain data shows it as text and never fails."""
    receipt = Attempt(EVENT, "a:1", Outcome.CONFIRMED, 0.0, 0.0, sent=True, raw_result=msgspec.Raw(raw))
    with pytest.raises(ValueError, match=r".+"):
        _ = receipt.result
    assert json.loads(json.dumps(receipt.to_dict()))["result"] == raw.decode("utf-8", "replace")


def test_a_result() -> None:
    """Decoded when it is asked for; None without one."""
    receipt = Attempt(EVENT, "a:1", Outcome.CONFIRMED, 0.0, 0.0, raw_result=msgspec.Raw(b'{"ok":true}'), request_id=7)
    assert receipt.result == {"ok": True}
    assert receipt.to_dict()["result"] == {"ok": True}
    assert receipt.to_dict()["request_id"] == 7
    assert attempt("YES").result is None


def test_error_reply_in_words() -> None:
    """With and without a code."""
    assert str(ErrorReply(-32600, "Invalid Request")) == "-32600 Invalid Request"
    assert str(ErrorReply(None, "busy")) == "busy"
