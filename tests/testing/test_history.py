"""A history is told by everybody, is bounded, is the same bytes for the same seed, and can be read."""

from __future__ import annotations

import asyncio
from math import inf

import pytest
from attrs import evolve, fields

from failover.errors import ConfigError
from failover.event import Event
from failover.fan_out import FanOut
from failover.group import Group
from failover.outcome import Outcome, Verdict
from failover.receipt import ErrorReply, Receipt
from failover.records import BadReply, ConnectionChanged, Silence
from failover.sim import Simulation
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from failover.testing import Confirm, Late, Refuse, ScriptedSubscriber, Silent, WrongId
from failover.testing.checkers import ALL, Finding, fair
from failover.testing.describing import describe
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
    Node,
    OddReply,
    Processed,
    Raised,
)
from failover.testing.entries import Late as LateEntry
from failover.testing.entries import Silent as SilentEntry
from failover.testing.history import History
from failover.testing.lines import entry_from_line, entry_to_line
from failover.testing.telling import sentence
from tests.doubles import FastSink
from tests.testing.told import TURNS, Told, attempt, confirmed, silent, unreachable


def watched(seed: int) -> History:
    """A group with two subscribers in the simulation, told of by everybody."""
    simulation = Simulation(seed, latency=0.001)
    history = History(behind={"first": "app1", "second": "app2"})
    acts = [Confirm(), Refuse(-32000), WrongId(), Late(0.3), Silent(), Confirm(delay=0.01)]
    for name, script in (("app1", acts), ("app2", acts[-1:])):
        subscriber = ScriptedSubscriber(name, 80, name=name, history=history).in_order(script)
        simulation.network.host(name, start=subscriber.serve)

    async def main() -> None:
        sockets = [jsonrpc(f"app{number}:80", name=name, timeout=0.2) for number, name in ((1, "first"), (2, "second"))]
        group = Group("calls", Failover(*sockets, quarantine=0.5), observers=[history])
        history.declared(group)
        async with group:
            for number in range(20):
                event = history.event("E_CALL", {"n": number})
                history.raised(event, deadline=asyncio.get_running_loop().time() + 1)
                await group.deliver(event, within=1)
                await asyncio.sleep(0.1)

    simulation.run(main())
    return history


def test_everybody_tells() -> None:
    """Events that ride through a group in the simulation leave entries of every side, and the checkers are content."""
    history = watched(1)
    assert history.counts["raised"] == history.counts["ended"] == 20
    assert history.counts["processed"] >= 20
    assert history.counts["confirmed"] == 20
    for kind in ("declared", "attempted", "healthchange", "late", "connectionchange", "oddreply", "faultset"):
        assert history.counts[kind], kind
    assert history.check() == []
    assert len(history) == len(list(history)) == sum(history.counts[kind] for kind in history.counts if kind in _KINDS)


def test_the_same_bytes_for_the_same_seed() -> None:
    """One seed gives one history, byte for byte; another seed gives another."""
    one, again, other = (b"".join(watched(seed).lines()) for seed in (1, 1, 2))
    assert one == again != other


def test_lines_are_read_back() -> None:
    """A history that was written and read is the same bytes again, and is judged the same."""
    lines = list(watched(1).lines())
    history = History.from_lines([*lines, b"\n"])
    assert list(history.lines()) == lines
    assert history.check() == []
    assert History.from_lines(line.decode() for line in lines).counts == history.counts


_REFUSED = attempt("a", Outcome.REJECTED, 1.0, 1.1, verdict=Verdict.NEXT, request_id=5, error=ErrorReply(-1, "no", [1]))
_ENTRIES: list[Entry] = [
    Declared(0.0, "g", Node("f", "Failover", (Node("a", timeout=0.25, subscriber="A"),), quarantine=30.0, need=1)),
    Raised(1.0, "e", "E_X", 2.0, "call"),
    Attempted(1.0, "e", "a", 0.1, Outcome.REJECTED, Verdict.STOP, "no", 17, sent=True),
    Ended(1.1, "e", "g", Receipt(Event("E_X", id="e"), "f", Outcome.REJECTED, 1.0, 1.1, (_REFUSED,), why="turn")),
    Processed(1.0, "e", "A", "3"),
    Answered(1.0, "e", "A", 17, confirmed=False),
    Broken(1.0, "A", "rst"),
    LateEntry(1.0, "e", "a", confirmed=True),
    SilentEntry(1.0, "e", "a"),
    HealthChange(1.0, "f", "a", up=False, until=31.0, reason="silent"),
    HealthChange(1.0, "f", "a", up=False, until=inf, reason="by hand"),
    HealthStep(1.0, "f", "a", "pushed back", "-32000 too much", 3.0),
    ConnectionChange(1.0, "a:80", connected=False, reason="refused"),
    OddReply(1.0, "a:80", "a reply to an id that was never given out"),
    FaultSet(1.0, "black_hole", "a", active=True, detail="both ways"),
]
_KINDS = {type(entry).__name__.lower() for entry in _ENTRIES}


@pytest.mark.parametrize("entry", _ENTRIES, ids=lambda entry: type(entry).__name__)
def test_every_kind_of_entry(entry: Entry) -> None:
    """Each kind is written as one line, read back with every field, and told in words with its time."""
    line = entry_to_line(entry)
    read = entry_from_line(line)
    assert b"\n" not in line
    assert entry_to_line(read) == line
    assert type(read) is type(entry)
    if isinstance(entry, Ended) and isinstance(read, Ended):
        assert read.receipt.explain() == entry.receipt.explain()
        assert read.receipt.to_dict() == entry.receipt.to_dict()
    else:
        assert read == entry
    assert sentence(entry).split()[0] == f"{entry.at:.6f}"
    assert all(field.type for field in fields(type(entry)))


def test_a_result_is_kept() -> None:
    """A receipt that is read back has the peer's result, and an id, and no params."""
    history = watched(1)
    receipt = next(ended for ended in History.from_lines(history.lines()) if isinstance(ended, Ended)).receipt
    assert receipt.attempts[0].result == "ok"
    assert receipt.attempts[0].event.id
    assert receipt.event.params is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"entry":"nonsense"}', b'{"entry":"raised"}', b"1"])
def test_lines_that_are_no_entry(line: bytes) -> None:
    """What is no entry is refused, with the line's number."""
    if line:
        with pytest.raises(ConfigError, match=r"line 2: this line is no entry of a history"):
            History.from_lines([entry_to_line(_ENTRIES[0]), line])
    else:
        assert len(History.from_lines([line])) == 0


def test_events_carry_their_id() -> None:
    """An event of a history has its id among its params, under the name of the history's choice."""
    history = History(id_param="ref")
    event = history.event("E_X", {"n": 1}, id="call-7")
    assert event.params == {"n": 1, "ref": "call-7"}
    assert history.event_id(event.params) == "call-7"
    assert history.event_id([1]) == history.event_id({"ref": 7}) == history.event_id(None) == ""
    assert history.event("E_X").id != history.event("E_X").id


def test_how_a_subscriber_tells() -> None:
    """What was processed is told by the event, by its id, or by the params that carry it."""
    history = History()
    event = history.event("E_X", id="e1")
    for known in (event, "e1", {"event_id": "e1"}):
        history.processed("A", known, 1.0, 3)
    assert history.stories["e1"].processed == [Processed(1.0, "e1", "A", "3")] * 3


def test_settings_out_of_range() -> None:
    """A history too short to be judged, or without a name for its ids, is refused."""
    with pytest.raises(ConfigError, match="too short"):
        History(limit=10)
    with pytest.raises(ConfigError, match="id_param"):
        History(id_param="")


def test_other_records() -> None:
    """What observers are told of peers is in the history too; a strategy's silence concerns no event."""
    history = History()
    history(ConnectionChanged("a:80", connected=False, reason="refused", at=1.0))
    history(BadReply("a:80", "a string for an id", b"{}", 1.0))
    history(Silence("f", None, 1.0))
    assert history.entries == [
        ConnectionChange(1.0, "a:80", connected=False, reason="refused"),
        OddReply(1.0, "a:80", "a string for an id"),
        SilentEntry(1.0, "", "f"),
    ]


# -- bounded memory --------------------------------------------------------------------------------------------


def long(told: Told, count: int, *, first: int = 0) -> None:
    """Many events after each other, every tenth of them failed over."""
    for number in range(first, first + count):
        at = number * 100.0
        if number % 10:
            told.processed(number, "A", at + 0.01)
            told.event(number, confirmed("a", at, at + 0.02), at=at)
        else:
            told.out("a", at)
            told.processed(number, "B", at + 0.01)
            told.event(number, unreachable("a", at, at), confirmed("b", at, at + 0.02), at=at)


def test_memory_is_bounded() -> None:
    """A long history keeps no more entries than its limit, counts all of them, and finds nothing where nothing is."""
    told = Told()
    told.history.limit = 1000
    most = 0
    for first in range(0, 2000, 100):
        long(told, 100, first=first)
        most = max(most, len(told.history))
    assert most <= 1000
    assert told.history.counts["raised"] == told.history.counts["ended"] == 2000
    assert told.history.check() == []
    assert len(told.history.stories) < 1000


def test_what_was_found_is_kept() -> None:
    """What is wrong is known after the stretch that it lies in was folded, and is told once."""
    told = Told()
    told.history.limit = 1000
    told.event("bad", confirmed("a", 0.0, 0.02), at=0.0)
    long(told, 2000, first=1)
    found = told.history.check()
    assert [(finding.clause, finding.events) for finding in found] == [("nothing_confirmed_unprocessed", ("ebad",))]
    assert "ebad" not in told.history.stories


def test_events_under_way_are_not_folded() -> None:
    """An event whose receipt is still to come is kept however old it is, and judged when it is complete."""
    told = Told()
    told.history.limit = 1000
    told.history.add(Raised(0.5, "slow", "E"))
    long(told, 1000, first=1)
    assert "slow" in told.history.stories
    assert [finding.clause for finding in told.history.check()] == ["one_receipt_each"]
    told.history.add(told.history.stories["e999"].ended[0].__class__(1e6, "slow", "group", _receipt("slow")))
    assert told.history.check() == []


def _receipt(event: str) -> Receipt:
    return Receipt(Event("E", id=event), "failover", Outcome.SKIPPED, 1.0, 1.0, reason="closed")


def test_who_was_out_is_remembered() -> None:
    """Who is out of service when a stretch is folded is known in the next one: trying him is found."""
    told = Told()
    told.history.limit = 1000
    at = 0.0
    told.out("a", at, seconds=30.0)
    told.processed("first", "B", 0.01)
    told.event("first", unreachable("a", at, at), confirmed("b", at, at + 0.02), at=at)
    for number in range(400):
        begin = at + 1 + number * 0.05
        told.processed(number, "B", begin + 0.01)
        told.event(number, confirmed("b", begin, begin + 0.02), at=begin)
    assert told.history.standing
    assert told.history.check() == []
    told.processed("last", "A", at + 29.01)
    told.event("last", confirmed("a", at + 29, at + 29.02), at=at + 29)
    assert [finding.clause for finding in told.history.check()] == ["quarantine_kept"]


@pytest.mark.parametrize("recovered", [False, True])
def test_who_was_in_slow_start_is_remembered(*, recovered: bool) -> None:
    """Who is back and has not recovered when a stretch is folded has no full share in the next one."""
    told = Told(evolve(TURNS, slow_start=64))
    told.history.limit = 1000
    told.late("first", "a", 0.2)
    told.out("a", 0.1)
    told.back("a", 0.2)
    if recovered:
        told.step("a", "recovered", 0.3)
    for number in range(400):
        begin = 1 + number * 0.05
        told.processed(number, "B", begin + 0.01)
        told.event(number, confirmed("b", begin, begin + 0.02), at=begin)
    assert told.history.counts["raised"] > sum(isinstance(entry, Raised) for entry in told.history)
    assert bool(fair()(told.history)) is recovered


def test_what_comes_after_folding_is_counted() -> None:
    """A reply to an event that was folded long ago is counted and not judged."""
    told = Told()
    told.history.limit = 1000
    long(told, 1000, first=1)
    told.late(1, "a", 1e6)
    assert told.history.counts["after folding"] == 1
    assert told.history.check() == []


# -- text, and trees -------------------------------------------------------------------------------------------


def test_the_text_around_a_finding() -> None:
    """What is told of a finding is its event, what happened meanwhile, and no other event; long text is cut amid."""
    told = Told()
    long(told, 30, first=1)
    told.history.fault("black_hole", "A", at=2999.0)
    told.event(30, silent("a", 3000.0, 1.0), confirmed("b", 3001.0, 3001.02), at=3000.0)
    finding = next(found for found in told.history.check() if found.clause == "moved_on_within")
    text = told.history.tell(finding)
    assert "[e30] a unconfirmed after 1000.000 ms: no reply within the timeout" in text
    assert "fault black_hole at A" in text
    assert "group group: failover(a, b)" in text
    assert "e29" not in text
    assert len(told.history.tell().splitlines()) == 61
    assert "more)" in told.history.tell(most=10)


def test_a_finding_about_no_event() -> None:
    """What is told of a finding without an event is what happened around its time."""
    told = Told()
    told.out("a", 5.0)
    text = told.history.tell(Finding("any", "…", (), 5.2))
    assert "failover: a is out until 35.000000 (told so)" in text


def test_a_tree_is_described() -> None:
    """A tree's description has what each node promises, and who is behind each socket, opened or not."""
    group = Group(
        "all",
        Failover(
            RoundRobin(
                "jsonrpc:app1:80/m", jsonrpc("[::1]:81", timeout=0.2), name="turns", quarantine=0, move_on=False
            ),
            Parallel("jsonrpc:app2:80", FastSink("own"), require="any", name="both"),
            Group("inner", "jsonrpc:app3:80"),
            quarantine=5,
            quarantine_rejected=True,
            last_resort=False,
        ),
    )
    root = describe(group, behind={"own": "me"})
    tree = root.children[0]
    assert (root.kind, tree.kind, tree.quarantine, tree.quarantine_rejected, tree.last_resort) == (
        "Group",
        "Failover",
        5.0,
        True,
        False,
    )
    turns, both, inner = tree.children
    assert (turns.quarantine, turns.move_on, both.need, both.side_by_side) == (None, False, 1, True)
    assert [leaf.subscriber for leaf in root.sockets()] == [
        "jsonrpc:app1:80",
        "jsonrpc:[::1]:81",
        "jsonrpc:app2:80",
        "me",
        "jsonrpc:app3:80",
    ]
    assert [leaf.timeout for leaf in root.sockets()] == [1.0, 0.2, 1.0, None, 1.0]
    assert inner.kind == "Group"
    assert not issubclass(Failover, FanOut)


def test_the_checkers_of_a_history() -> None:
    """A history is judged by all checkers unless it was given others."""
    assert History().checkers == ALL
    told = Told()
    told.event(1, confirmed("a", 1.0, 1.02), at=1.0)
    assert History.from_lines(told.history.lines(), checkers=()).check() == []
