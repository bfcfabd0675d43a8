"""Each checker finds what it names in a history told by hand, and says nothing of a good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.strategies import Failover, Hedge, Retry
from failover.strategy import Strategy
from failover.testing import checkers
from failover.testing.checkers import (
    ALL,
    Checker,
    Finding,
    back_when_heard,
    check,
    deadlines_kept,
    fair,
    in_order,
    moved_on_within,
    nobody_left_untried,
    quarantine_kept,
)
from failover.testing.describing import describe
from failover.testing.entries import Answered, Broken, FaultSet, HealthChange, HealthStep, Node, Raised, Silent
from failover.testing.history import History
from tests.testing.told import (
    BOTH,
    FAILOVER,
    TURNS,
    A,
    B,
    Told,
    attempt,
    confirmed,
    passed_over,
    silent,
    unreachable,
)

ABANDONED, UNCONFIRMED = Outcome.ABANDONED, Outcome.UNCONFIRMED


def good() -> Told:
    """One of everything, as it should be: confirmed, failed over, quarantined, as a last resort, back again."""
    told = Told()
    told.processed(1, "A", 1.01)
    told.history.add(Answered(1.02, "e1", "A", 1, confirmed=True))
    told.event(1, confirmed("a", 1.0, 1.02, request_id=1), at=1.0)
    told.out("a", 2.2)
    told.processed(2, "A", 2.1)
    told.processed(2, "B", 2.21)
    told.event(2, silent("a", 2.0, request_id=2), confirmed("b", 2.2, 2.22), at=2.0, deadline=3.0)
    told.processed(3, "B", 3.01)
    told.event(3, passed_over("a", 3.0), confirmed("b", 3.0, 3.02), at=3.0)
    told.out("b", 4.0)
    told.processed(4, "A", 4.01)
    told.back("a", 4.02)
    told.event(4, unreachable("b", 4.0, 4.0), confirmed("a", 4.0, 4.02, why="last resort: …"), at=4.0)
    return told


def turns() -> Told:
    """Round robin that is fair."""
    told = Told(TURNS)
    for number in range(20):
        sink = "ab"[number % 2]
        told.processed(number, sink.upper(), number + 0.01)
        told.event(number, confirmed(sink, number, number + 0.02), at=number)
    return told


def side_by_side() -> Told:
    """Both at once, one of them failing."""
    told = Told(BOTH)
    told.processed(1, "A", 1.01)
    told.event(1, confirmed("a", 1.0, 1.02), unreachable("b", 1.0, 1.0), at=1.0)
    return told


@pytest.mark.parametrize("told", [good, turns, side_by_side])
def test_nothing_is_found_in_a_good_history(told: Callable[[], Told]) -> None:
    """A history in which everything is as promised is a clean bill, also read back from its lines."""
    history = told().history
    assert history.check() == []
    assert History.from_lines(history.lines()).check() == []


def confirmed_unprocessed() -> Told:
    """A confirms what it never did."""
    told = Told()
    told.event(1, confirmed("a", 1.0, 1.02), at=1.0)
    return told


def confirmed_too_soon() -> Told:
    """A confirms, and does it afterwards."""
    told = confirmed_unprocessed()
    told.processed(1, "A", 1.5)
    return told


def late_unprocessed() -> Told:
    """A confirms late what it never did."""
    told = Told()
    told.out("a", 1.2)
    told.processed(1, "B", 1.21)
    told.event(1, silent("a", 1.0), confirmed("b", 1.2, 1.22), at=1.0)
    told.late(1, "a", 1.5)
    told.back("a", 1.5)
    return told


def processed_unattempted() -> Told:
    """B did something that nobody gave it."""
    told = good()
    told.processed(1, "B", 1.01)
    return told


def processed_before() -> Told:
    """A did it before anybody asked."""
    told = Told()
    told.processed(1, "A", 0.5)
    told.event(1, confirmed("a", 1.0, 1.02), at=1.0)
    return told


def unreachable_processed() -> Told:
    """An attempt that says unreachable was processed."""
    told = Told()
    told.out("a", 1.0)
    told.processed(1, "A", 1.0)
    told.processed(1, "B", 1.01)
    told.event(1, unreachable("a", 1.0, 1.0), confirmed("b", 1.0, 1.02), at=1.0)
    return told


def duplicates_denied() -> Told:
    """Both did it, and the receipt says that only one can have: its attempt on A was not told as sent."""
    told = Told()
    told.out("a", 1.2)
    told.processed(1, "A", 1.1)
    told.processed(1, "B", 1.21)
    told.event(1, silent("a", 1.0, sent=False), confirmed("b", 1.2, 1.22), at=1.0)
    return told


def answer_unheard() -> Told:
    """A's result came in time, and the attempt ran into its timeout all the same."""
    told = good()
    told.history.add(Answered(2.1, "e2", "A", 2, confirmed=True))
    return told


def harmed() -> Told:
    """An attempt gives up while its connection stands."""
    told = Told()
    told.history.add(Broken(0.5, "A", "fin"))
    told.out("a", 1.05)
    told.processed(1, "B", 1.06)
    told.event(1, silent("a", 1.0, 0.05, reason="a bad reply"), confirmed("b", 1.05, 1.07), at=1.0)
    return told


def no_receipt() -> Told:
    """One event was raised, and nothing came of it."""
    told = good()
    told.history.add(Raised(5.0, "lost", "E"))
    return told


def two_receipts() -> Told:
    """One event has two receipts."""
    told = good()
    told.history.add(told.history.stories["e1"].ended[0])
    return told


def attempt_omitted() -> Told:
    """The receipt says nothing of the first attempt."""
    told = Told()
    told.out("a", 1.0)
    told.attempted("e1", unreachable("a", 1.0, 1.0))
    told.processed(1, "B", 1.01)
    told.event(1, confirmed("b", 1.0, 1.02), at=1.0)
    return told


def attempt_made_up() -> Told:
    """The receipt has an attempt that nobody made."""
    told = Told()
    told.processed(1, "A", 1.01)
    told.event(1, confirmed("a", 1.0, 1.02), at=1.0, tell=False)
    return told


def stranger_in_the_tree() -> Told:
    """The receipt names a sink that is nowhere in the tree."""
    told = Told()
    told.processed(1, "c", 1.01)
    told.event(1, confirmed("c", 1.0, 1.02), at=1.0)
    return told


def wrong_sum() -> Told:
    """The receipt says unreachable of an event that was confirmed."""
    told = Told()
    told.processed(1, "A", 1.01)
    told.event(1, confirmed("a", 1.0, 1.02), at=1.0, outcome=Outcome.UNREACHABLE)
    return told


def tried_after_settled() -> Told:
    """A confirmed, and B gets it all the same."""
    told = Told()
    told.processed(1, "A", 1.01)
    told.processed(1, "B", 1.03)
    told.event(1, confirmed("a", 1.0, 1.02), confirmed("b", 1.02, 1.04), at=1.0)
    return told


def tried_after_stop() -> Told:
    """A says that the event is at fault, and B gets it all the same."""
    told = Told()
    told.processed(1, "B", 1.03)
    refusal = attempt("a", Outcome.REJECTED, 1.0, 1.02, verdict=Verdict.STOP)
    told.event(1, refusal, confirmed("b", 1.02, 1.04), at=1.0)
    return told


def left_untried() -> Told:
    """Unreachable at A, and B is not even mentioned."""
    told = Told()
    told.out("a", 1.0)
    told.event(1, unreachable("a", 1.0, 1.0), at=1.0)
    return told


def lost_in_the_window() -> Told:
    """Both are out, nobody is on trial, and nobody is tried."""
    told = Told()
    told.out("a", 1.0)
    told.out("b", 1.0)
    told.event(1, unreachable("a", 1.0, 1.0), unreachable("b", 1.0, 1.0), at=1.0)
    told.event(2, passed_over("a", 2.0), passed_over("b", 2.0), at=2.0)
    return told


def parallel_gives_up() -> Told:
    """A fails, and B, which should have its attempt whatever A does, has none."""
    told = Told(BOTH)
    told.event(1, unreachable("a", 1.0, 1.0), at=1.0)
    return told


def late_timeout() -> Told:
    """A timeout of 200 ms that takes a second."""
    told = Told()
    told.out("a", 2.0)
    told.processed(1, "B", 2.01)
    told.event(1, silent("a", 1.0, 1.0), confirmed("b", 2.0, 2.02), at=1.0)
    return told


def slow_to_go_on() -> Told:
    """Half a second passes between A's end and B's beginning."""
    told = Told()
    told.out("a", 1.0)
    told.processed(1, "B", 1.51)
    told.event(1, unreachable("a", 1.0, 1.0), confirmed("b", 1.5, 1.52), at=1.0)
    return told


def early_timeout() -> Told:
    """A timeout of 200 ms that fires after 100."""
    told = Told()
    told.out("a", 1.1)
    told.processed(1, "B", 1.11)
    told.event(1, silent("a", 1.0, 0.1), confirmed("b", 1.1, 1.12), at=1.0)
    return told


def past_the_deadline() -> Told:
    """It ends 50 ms after its deadline."""
    told = Told()
    told.processed(1, "A", 1.01)
    told.event(1, confirmed("a", 1.0, 1.15), at=1.0, deadline=1.1)
    return told


def impatient() -> Told:
    """A is taken out because we didn't wait."""
    told = Told()
    told.out("a", 1.05)
    told.processed(1, "A", 1.04)
    told.event(1, attempt("a", ABANDONED, 1.0, 1.05), passed_over("b", 1.05, "no time left"), at=1.0, deadline=1.05)
    return told


def not_taken_out() -> Told:
    """A is unreachable and stays in service."""
    told = Told()
    told.processed(1, "B", 1.01)
    told.event(1, unreachable("a", 1.0, 1.0), confirmed("b", 1.0, 1.02), at=1.0)
    return told


def out_too_briefly() -> Told:
    """A is taken out for a second of thirty."""
    told = Told()
    told.out("a", 1.0, seconds=1.0)
    told.processed(1, "B", 1.01)
    told.event(1, unreachable("a", 1.0, 1.0), confirmed("b", 1.0, 1.02), at=1.0)
    return told


def tried_while_out() -> Told:
    """A is out and gets an event while B is there."""
    told = good()
    told.out("a", 5.0)
    told.processed(5, "B", 5.01)
    told.event(5, unreachable("a", 5.0, 5.0), confirmed("b", 5.0, 5.02, why="last resort: …"), at=5.0)
    told.back("b", 5.02)
    told.processed(6, "A", 6.01)
    told.event(6, confirmed("a", 6.0, 6.02), at=6.0)
    return told


def not_taken_back() -> Told:
    """A is heard late and stays out."""
    told = good()
    told.out("a", 5.2)
    told.processed(5, "A", 5.1)
    told.processed(5, "B", 5.21)
    told.event(5, silent("a", 5.0), confirmed("b", 5.2, 5.22, why="last resort: …"), at=5.0)
    told.late(5, "a", 5.5)
    return told


def back_unheard() -> Told:
    """A comes back, and nothing was heard of it."""
    told = Told()
    told.out("a", 1.0)
    told.processed(1, "B", 1.01)
    told.event(1, unreachable("a", 1.0, 1.0), confirmed("b", 1.0, 1.02), at=1.0)
    told.back("a", 5.0)
    return told


def two_on_trial() -> Told:
    """While everything is out, two events try A at once."""
    told = Told()
    for number in (1, 2):
        began, ended = 1.0 + number / 100, 1.2 + number / 100
        told.out("a", ended)
        told.out("b", ended)
        last: dict[str, Any] = {"why": "last resort: …"}
        told.event(number, silent("a", began, **last), unreachable("b", ended, ended, **last), at=began)
    return told


def unfair() -> Told:
    """A begins three of four events."""
    told = Told(TURNS)
    for number in range(20):
        sink = "aaab"[number % 4]
        told.processed(number, sink.upper(), number + 0.01)
        told.event(number, confirmed(sink, number, number + 0.02), at=number)
    return told


BAD = [
    ("nothing_confirmed_unprocessed", confirmed_unprocessed),
    ("nothing_confirmed_unprocessed", confirmed_too_soon),
    ("nothing_confirmed_unprocessed", late_unprocessed),
    ("nothing_processed_unattempted", processed_unattempted),
    ("nothing_processed_unattempted", processed_before),
    ("unreachable_never_processed", unreachable_processed),
    ("duplicates_announced", duplicates_denied),
    ("answers_heard", answer_unheard),
    ("no_harm_to_others", harmed),
    ("one_receipt_each", no_receipt),
    ("one_receipt_each", two_receipts),
    ("attempts_in_the_tree", attempt_omitted),
    ("attempts_in_the_tree", attempt_made_up),
    ("attempts_in_the_tree", stranger_in_the_tree),
    ("attempts_in_the_tree", wrong_sum),
    ("nothing_tried_after_settled", tried_after_settled),
    ("nothing_tried_after_settled", tried_after_stop),
    ("nobody_left_untried", left_untried),
    ("nobody_left_untried", lost_in_the_window),
    ("nobody_left_untried", parallel_gives_up),
    ("moved_on_within", late_timeout),
    ("moved_on_within", slow_to_go_on),
    ("timeouts_kept", early_timeout),
    ("deadlines_kept", past_the_deadline),
    ("no_quarantine_for_impatience", impatient),
    ("quarantine_kept", not_taken_out),
    ("quarantine_kept", out_too_briefly),
    ("quarantine_kept", tried_while_out),
    ("back_when_heard", not_taken_back),
    ("back_when_heard", back_unheard),
    ("one_trial_at_a_time", two_on_trial),
    ("fair", unfair),
]
ALSO = {
    "unreachable_processed": {"duplicates_announced"},
    "duplicates_denied": {"unreachable_never_processed"},
    "attempt_made_up": {"nothing_processed_unattempted"},
    "wrong_sum": {"nobody_left_untried"},
}
"""What a fault can't be without, beside the checker that it is for."""


@pytest.mark.parametrize(("clause", "told"), BAD, ids=[told.__name__ for _, told in BAD])
def test_each_checker_finds_what_it_names(clause: str, told: Callable[[], Told]) -> None:
    """A history with one fault is found by the checker that is for it, and by no other that need not."""
    history = told().history
    found = {finding.clause for finding in history.check()}
    assert found == {clause} | ALSO.get(told.__name__, set())
    assert {finding.clause for finding in History.from_lines(history.lines()).check()} == found


def test_every_checker_is_tested() -> None:
    """No checker is in `ALL` that no bad history here is for."""
    names = {name for name in checkers.__all__ if name.islower() and name != "check"}
    assert names - {clause for clause, _ in BAD} == {"in_order"}
    assert len(ALL) == len(names) - 1


@pytest.mark.parametrize("reverse", [False, True])
def test_order(reverse: bool) -> None:  # noqa: FBT001
    """Events of one key are to be processed as they were raised; others may overtake, and so may those without one."""
    told = Told()
    for number, key in enumerate(("x", "y", "", "x")):
        took = 5.0 if (key == "x" and number == 0 and reverse) or key in ("y", "") else 0.1
        told.processed(number, "A", number + took)
        told.event(number, confirmed("a", number, number + took + 0.05), at=number, key=key)
    found = in_order()(told.history)
    assert [finding.events for finding in found] == ([("e0", "e3")] if reverse else [])
    assert bool(in_order(lambda _: "all")(told.history))
    assert in_order(lambda _: None)(told.history) == []


def test_fair_by_weight() -> None:
    """Shares may be told as weights, and how far off them one may be."""
    history = unfair().history
    assert fair({"a": 3, "b": 1})(history) == []
    assert fair({"a": 3, "b": 1}, tolerance=0.1)(turns().history) != []
    assert fair(tolerance=20)(history) == []


def test_fair_to_what_is_repeated() -> None:
    """An event that is repeated above a round robin takes a turn each time, which counts."""
    told = Told(Node("retry", "Retry", (evolve(TURNS, quarantine=0.0),)))
    for number in range(0, 40, 4):  # a refuses all; every other one is repeated and so begins with b next
        first, second = (unreachable("a", number + more, number + more) for more in (0, 2))
        again = confirmed("b", number + 1, number + 1.01)
        told.processed(number, "B", number + 1.005)
        passes = [Receipt(first.event, "turns", one.outcome, one.began, one.ended, (one,)) for one in (first, again)]
        told.event(number, *passes, at=number)
        told.event(
            number + 1, Receipt(second.event, "turns", second.outcome, number + 2, number + 2, (second,)), at=number + 2
        )
        told.processed(number + 2, "B", number + 3.005)
        last = confirmed("b", number + 3, number + 3.01)
        told.event(
            number + 2, Receipt(last.event, "turns", last.outcome, number + 3, number + 3.01, (last,)), at=number + 3
        )
    assert fair()(told.history) == []


def test_fair_while_somebody_is_out() -> None:
    """Who is out of service has no share: the other one's turns count for nothing then."""
    told = Told(TURNS)
    told.out("a", 1.0)
    told.processed(0, "B", 1.01)
    told.event(0, unreachable("a", 1.0, 1.0), confirmed("b", 1.0, 1.02), at=1.0)
    for number in range(2, 12):
        told.processed(number, "B", number + 0.01)
        told.event(number, confirmed("b", number, number + 0.02), at=number)
    assert fair()(told.history) == []


def begun_with(told: Told, sinks: str, first: int) -> None:
    """Events of a round robin, one a second, each begun with one of these."""
    for number, sink in enumerate(sinks, first):
        told.processed(number, sink.upper(), number + 0.01)
        told.event(number, confirmed(sink, number, number + 0.02), at=number)


def test_fair_once_all_have_recovered() -> None:
    """Who is in slow start, or pushes back, is passed over for that: turns count again when it is over."""
    for slow_start, recovered, fine in ((64, False, True), (64, True, False), (1, False, False)):
        told = Told(evolve(TURNS, slow_start=slow_start))
        told.out("a", 0.5)
        told.back("a", 1.5)
        begun_with(told, "bbbb", 2)
        if recovered:
            told.step("a", "recovered", 6.5)
        begun_with(told, "bbbb", 7)
        assert (fair()(told.history) == []) is fine
    for until, fine in ((9.5, True), (1.5, False)):
        told = Told(TURNS)
        told.step("a", "pushed back", 0.5, until)
        begun_with(told, "bbbb", 2)
        assert (fair()(told.history) == []) is fine


def test_one_of_a_batch_is_chosen_at_some_time_before_it_begins() -> None:
    """Of a batch it is only found to be tried at a bad time if its child was out all the time from its beginning."""
    for back, found in ((None, ["quarantine_kept"]), (3.0, [])):
        told = Told()
        told.out("a", 1.0)
        if back is not None:
            told.late(0, "a", back)
            told.back("a", back)
            told.out("a", 4.0)
        told.event(1, confirmed("a", 5.0, 5.02), at=2.0, batched=True)
        assert [finding.clause for finding in quarantine_kept(told.history)] == found


def test_a_trial_may_wait_before_its_attempt() -> None:
    """Who is skipped since another is the trial is not left out while that one waits, below, for its turn."""
    limit = Node("limit", "Limit", (A,), need=1)
    for waited, found in ((1.0, []), (0.0, ["nobody_left_untried"])):
        told = Told(Node("turns", "RoundRobin", (limit,), quarantine=30.0, need=1))
        trial = unreachable("a", 2.0, 2.1)
        below = Receipt(trial.event, "limit", trial.outcome, 2.0 - waited, 2.1, (trial,), why="last resort: …")
        told.event(1, below, at=1.0)
        told.event(2, passed_over("limit", 1.5), at=1.5)
        assert [finding.clause for finding in nobody_left_untried(told.history)] == found


def test_an_answer_to_a_probe_ends_the_time_of_who_asks() -> None:
    """A child may be tried, and taken back, for an answer to a probe; only of those that probe."""
    for probed, found in ((True, set[str]()), (False, {"quarantine_kept", "back_when_heard"})):
        told = Told(evolve(FAILOVER, probed=probed))
        told.out("a", 1.0)
        told.history.add(HealthStep(2.0, "failover", "a", "on trial", "a probe was answered"))
        told.processed(1, "A", 3.01)
        told.event(1, confirmed("a", 3.0, 3.02), at=3.0)
        told.out("b", 4.0)
        told.history.add(HealthChange(5.0, "failover", "b", up=True, reason="a probe was answered"))
        assert {one.clause for one in [*quarantine_kept(told.history), *back_when_heard(told.history)]} == found


def test_a_child_may_have_an_event_wait_in_vain() -> None:
    """What waited at a child for a turn that never came was at that child meanwhile, not between two."""
    limit = Node("limit", "Limit", (B,), need=1)
    for began, found in ((1.2, []), (1.5, ["moved_on_within"])):
        told = Told(Node("turns", "RoundRobin", (A, limit), quarantine=30.0, need=1))
        waited = Receipt(Event("E", id="any"), "limit", Outcome.SKIPPED, began, 2.0, reason="no time left")
        told.event(1, silent("a", 1.0), waited, silent("a", 2.0), at=1.0)
        assert [finding.clause for finding in moved_on_within()(told.history)] == found


def test_what_a_batch_tells_when_it_has_ended() -> None:
    """A child is taken back by old evidence, told late: replies meanwhile add nothing, and those before it count."""
    for told_at, found in ((9.0, []), (0.0, ["back_when_heard", "back_when_heard"])):
        told = Told()
        told.out("a", 1.0)
        told.event(1, confirmed("a", 0.5, 0.6), at=0.5)
        told.history.add(HealthChange(8.0, "failover", "a", up=True, reason="it answered: confirmed", told=told_at))
        told.late(2, "a", 8.5 if told_at else 7.5)
        assert [finding.clause for finding in back_when_heard(told.history)] == found


def test_a_probe_that_is_answered_in_the_very_moment() -> None:
    """Who moves on in the moment in which a probe is answered may move on to that child, and not before."""
    for answered, found in ((3.0, []), (3.5, ["quarantine_kept"])):
        told = Told(evolve(FAILOVER, probed=True))
        told.out("a", 1.0)
        told.history.add(HealthStep(answered, "failover", "a", "on trial", "a probe was answered"))
        told.event(1, confirmed("a", 3.0, 3.02), at=3.0)
        assert [finding.clause for finding in quarantine_kept(told.history)] == found


def test_settings_of_checkers() -> None:
    """Time to move on and the slack of deadlines are set by whoever asks."""
    told = late_timeout()
    assert moved_on_within(2.0)(told.history) == []
    assert moved_on_within(0.1)(good().history) != []
    assert deadlines_kept(slack=0.1)(past_the_deadline().history) == []


def test_a_silence_is_evidence() -> None:
    """Nobody is taken out for our impatience, but for a silence past the sink's own timeout he is."""
    told = impatient()
    told.history.add(Silent(1.05, "e1", "a"))
    assert told.history.check() == []


def test_what_can_end_an_attempt_early() -> None:
    """The end of a connection, or bytes that can't be read, end what is pending on it; another's do not."""
    ended = harmed()
    ended.history.add(Broken(1.05, "A", "rst"))
    garbled = harmed()
    garbled.history.add(FaultSet(1.05, "garbage", "A"))
    other = harmed()
    other.history.add(Broken(1.05, "B", "rst"))
    assert [bool(told.history.check()) for told in (ended, garbled, other)] == [False, False, True]


def test_a_second_answer_tells_nothing_new() -> None:
    """A reply that came twice has to be heard once."""
    told = good()
    told.history.add(Answered(1.03, "e1", "A", 1, confirmed=True))
    assert told.history.check() == []


def test_checkers_of_ones_own() -> None:
    """A function of a history is a checker, with a sentence for each finding."""

    def quick(history: History) -> list[Finding]:
        slow = [story for story in history.stories.values() if story.ended[0].at - story.raised[0].at > 0.1]
        return [Finding("quick", "it took more than 100 ms", (story.event,), story.last) for story in slow]

    own: list[Checker] = [quick]
    found = check(good().history, own)
    assert [str(finding) for finding in found] == ["quick: at 2.220000 s it took more than 100 ms (event e2)"]
    assert good().history.check(own) == found


def test_names_that_occur_twice() -> None:
    """Of sinks with the same name and different settings nothing is claimed."""
    twice = evolve(FAILOVER, children=(A, B, evolve(FAILOVER, name="inner", children=(evolve(A, timeout=9.0),))))
    told = Told(twice)
    told.out("a", 2.0)
    told.processed(1, "B", 2.01)
    told.event(1, silent("a", 1.0, 1.0), confirmed("b", 2.0, 2.02), at=1.0)
    assert {finding.clause for finding in told.history.check()} == set()


def test_a_strategy_with_a_pace_of_its_own() -> None:
    """Waiting before the next child, or beginning it early, is wrong of a sequence and right of Retry and Hedge."""
    for paced, clauses in ((False, {"moved_on_within", "nothing_tried_after_settled"}), (True, set[str]())):
        told = Told(evolve(FAILOVER, paced=paced, quarantine=None))
        told.processed(1, "B", 1.06)
        told.event(1, unreachable("a", 1.0, 1.0), confirmed("b", 1.05, 1.07), at=1.0)
        told.processed(2, "A", 2.05)
        told.event(2, confirmed("a", 2.0, 2.06), attempt("b", ABANDONED, 2.05, 2.06), at=2.0)
        assert {finding.clause for finding in told.history.check()} == clauses


def test_no_pace_tries_what_is_settled() -> None:
    """A child that begins after another has settled the event is wrong at any pace."""
    told = Told(evolve(FAILOVER, paced=True))
    told.processed(1, "A", 1.01)
    told.processed(1, "B", 1.06)
    told.event(1, confirmed("a", 1.0, 1.02), confirmed("b", 1.05, 1.07), at=1.0)
    assert "nothing_tried_after_settled" in {finding.clause for finding in told.history.check()}


@pytest.mark.parametrize(
    ("strategy", "paced"),
    [
        (Hedge("jsonrpc:a:1", "jsonrpc:b:1", delay=0.1), True),
        (Retry("jsonrpc:a:1"), True),
        (Failover("jsonrpc:a:1"), False),
    ],
)
def test_who_has_a_pace_of_its_own(strategy: Strategy, *, paced: bool) -> None:
    """A hedge's second child begins before the first has ended, a retry a while after: the description says so."""
    assert describe(strategy).paced is paced
