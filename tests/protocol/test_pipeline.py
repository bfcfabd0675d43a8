"""The pipeline without a network: matching, timeouts, tombstones, ids, and what a peer can do to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.protocol.framing import Malformed
from failover.protocol.pipeline import MAX_ID, Pipeline, Stray
from failover.protocol.replies import Reply


class Probe:
    """An exchange that writes down what it is told."""

    def __init__(
        self, began: float = 0.0, *, remembered: bool = True, then: Callable[[], object] | None = None
    ) -> None:
        self.began = began
        self.remembered = remembered
        self.then = then
        self.told: list[tuple[str, float]] = []
        self.heard: list[Reply] = []

    def of(self, request_id: int) -> Probe:
        """Itself."""
        return self

    def answered(self, reply: Reply, now: float) -> None:
        """Its reply."""
        self.heard.append(reply)
        self._tell("answered", now)

    def answered_together(self, replies: list[Reply], now: float) -> None:
        """The same."""
        (only,) = replies
        self.answered(only, now)

    def expired(self, now: float) -> bool:
        """Its timeout."""
        self._tell("expired", now)
        return self.remembered

    def broken(self, reason: str, now: float) -> None:
        """Its connection's end."""
        self._tell(reason, now)

    def _tell(self, what: str, now: float) -> None:
        self.told.append((what, now))
        if self.then is not None:
            self.then()


def reply(request_id: int, result: str = "true") -> bytes:
    """A confirmation."""
    return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request_id, result.encode())


def begun(pipeline: Pipeline, count: int, timeout: float = 1.0) -> dict[int, Probe]:
    """As many exchanges, by id."""
    lane = pipeline.lane(timeout)
    probes = [Probe() for _ in range(count)]
    return {pipeline.begin(probe, lane): probe for probe in probes}


@given(st.permutations(range(8)), st.lists(st.integers(0, 400), max_size=12), st.sampled_from([b"", b"\n", b" \r\n\t"]))
def test_any_order_and_any_segmentation(order: Sequence[int], places: list[int], between: bytes) -> None:
    """Each reply finds its exchange, in whatever order they come and however they are cut."""
    pipeline = Pipeline(1000)
    probes = begun(pipeline, 8)
    assert list(probes) == list(range(1000, 1008))
    stream = between.join(reply(1000 + number, str(number)) for number in order)
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    for low, high in itertools.pairwise(edges):
        assert pipeline.receive(stream[low:high], 0.5) == []
    for request_id, probe in probes.items():
        (answer,) = probe.heard
        assert isinstance(answer.result, msgspec.Raw)
        assert bytes(answer.result) == b"%d" % (request_id - 1000)
        assert probe.told == [("answered", 0.5)]
    assert (pipeline.pending, pipeline.answered, pipeline.strays, pipeline.late) == (0, 8, 0, 0)


ACTIONS = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from([0.25, 1.0, 3.0])),
    st.tuples(st.just("reply"), st.integers(0, 40)),
    st.tuples(st.just("twice"), st.integers(0, 40)),
    st.tuples(st.just("garbage"), st.sampled_from([b"[1]", b'"x"', b"{}", b'{"id":null}', b'{"id":"7"}', b"7"])),
    st.tuples(st.just("withdraw"), st.integers(0, 40)),
    st.tuples(st.just("wait"), st.sampled_from([0.125, 0.5, 1.0, 5.0])),
)


@given(st.lists(ACTIONS, max_size=60), st.integers(1, 4))
def test_against_a_simple_model(actions: list[tuple[str, Any]], tombstones: int) -> None:
    """Any history: each exchange is told exactly what a dictionary and a clock would tell it, and nothing else."""
    age = 4.0
    pipeline = Pipeline(1, max_tombstones=tombstones, tombstone_age=age)
    now = 0.0
    probes: dict[int, Probe] = {}
    timeouts: dict[int, float] = {}
    waiting: dict[int, float] = {}
    stones: dict[int, float] = {}
    expected: dict[int, list[tuple[str, float]]] = {}
    malformed = strays = late = 0
    for action, value in actions:
        if action == "begin":
            probe = Probe(now)
            request_id = pipeline.begin(probe, pipeline.lane(value))
            assert request_id == len(probes) + 1
            probes[request_id], timeouts[request_id], waiting[request_id] = probe, value, now + value
            expected[request_id] = []
        elif action in ("reply", "twice"):
            for _ in range(1 + (action == "twice")):
                faults = pipeline.receive(reply(value), now)
                if value in waiting:
                    del waiting[value]
                elif value in stones:
                    del stones[value]
                    late += 1
                else:
                    strays += 1
                    assert faults == [Stray(value, 1 <= value <= len(probes))]
                    continue
                assert faults == []
                expected[value].append(("answered", now))
        elif action == "garbage":
            (fault,) = pipeline.receive(value + b" ", now)
            assert isinstance(fault, Malformed)
            malformed += 1
        elif action == "withdraw":
            pipeline.withdraw(value)
            waiting.pop(value, None)
        else:
            now += value
            pipeline.expire(now)
            due = [request_id for request_id in waiting if waiting[request_id] <= now]
            lanes = list(dict.fromkeys(timeouts.values()))  # they expire lane by lane, in the order of their making
            for request_id in sorted(due, key=lambda number: (lanes.index(timeouts[number]), number)):
                del waiting[request_id]
                expected[request_id].append(("expired", now))
                stones[request_id] = now
            stones = {i: at for i, at in stones.items() if now - at < age}
            stones = dict(list(stones.items())[-tombstones:])
    assert {request_id: probe.told for request_id, probe in probes.items()} == expected
    assert pipeline.pending == len(waiting)
    assert (pipeline.malformed, pipeline.strays, pipeline.late) == (malformed, strays, late)


def test_never_early() -> None:
    """An exchange expires at its timeout and not a moment before, in each of several lanes."""
    pipeline = Pipeline(1)
    timeouts = [0.2, 1.0, 0.05, 0.3]
    probes = {timeout: Probe(10.0) for timeout in timeouts}
    for timeout, probe in probes.items():
        pipeline.begin(probe, pipeline.lane(timeout))
    for timeout in sorted(timeouts):
        pipeline.expire(10.0 + timeout - 1e-9)
        assert probes[timeout].told == []
        pipeline.expire(10.0 + timeout)
        assert probes[timeout].told == [("expired", 10.0 + timeout)]
    assert pipeline.pending == 0


def test_tombstones_are_bounded_in_number() -> None:
    """The oldest go first; a reply to a forgotten one is a stray that says it was known."""
    pipeline = Pipeline(1, max_tombstones=3)
    probes = begun(pipeline, 10)
    pipeline.expire(1.0)
    assert len(pipeline._tombstones or ()) == 3  # pyright: ignore[reportPrivateUsage]
    assert pipeline.receive(reply(7), 1.5) == [Stray(7, duplicate=True)]
    assert pipeline.receive(reply(8) + reply(10), 1.5) == []
    assert probes[10].told == [("expired", 1.0), ("answered", 1.5)]
    assert pipeline.late == 2


@pytest.mark.parametrize("timeout", [0.5, 60.0, 600.0])
def test_tombstones_are_bounded_in_age(timeout: float) -> None:
    """They are kept for their age from their own expiry, however long the timeout was, and not longer."""
    pipeline = Pipeline(1, tombstone_age=60.0)
    first, second = Probe(), Probe()
    pipeline.begin(first, pipeline.lane(timeout))
    pipeline.begin(second, pipeline.lane(timeout))
    pipeline.expire(timeout)
    assert pipeline.receive(reply(1), timeout + 59.9) == []
    assert first.told == [("expired", timeout), ("answered", timeout + 59.9)]
    assert pipeline.receive(reply(2), timeout + 60.0) == [Stray(2, duplicate=True)]
    assert second.told == [("expired", timeout)]


def test_old_tombstones_go_whatever_lane_they_are_from() -> None:
    """A short timeout's tombstone doesn't keep those of long ones from being forgotten, nor the other way round."""
    pipeline = Pipeline(1, tombstone_age=10.0)
    pipeline.begin(Probe(0.0), pipeline.lane(100.0))
    pipeline.begin(Probe(99.0), pipeline.lane(1.0))
    pipeline.expire(100.0)
    assert len(pipeline._tombstones or ()) == 2  # pyright: ignore[reportPrivateUsage]
    pipeline.expire(110.0)
    assert not pipeline._tombstones  # pyright: ignore[reportPrivateUsage]


def test_what_did_not_leave_is_not_remembered() -> None:
    """An exchange that says that no reply can come leaves no tombstone."""
    pipeline = Pipeline(1)
    pipeline.begin(Probe(remembered=False), pipeline.lane(1.0))
    pipeline.expire(1.0)
    assert pipeline.receive(reply(1), 1.0) == [Stray(1, duplicate=True)]


def test_unknown_and_duplicate_ids() -> None:
    """A reply to an id that was never given out is told apart from one to an id that has been answered."""
    pipeline = Pipeline(100)
    begun(pipeline, 2)
    assert pipeline.receive(reply(100) + reply(100), 0.0) == [Stray(100, duplicate=True)]
    for unknown in (99, 102, 0, -100, 2**31, 2**80):
        assert pipeline.receive(reply(unknown), 0.0) == [Stray(unknown, duplicate=False)]
    assert pipeline.strays == 7
    assert pipeline.pending == 1


def test_ids_wrap_and_skip_what_is_in_flight() -> None:
    """After 2^31-1 comes 1; ids that wait or are remembered are passed over, however many there are in a row."""
    pipeline = Pipeline(MAX_ID - 1)
    lane = pipeline.lane(1000.0)
    assert [pipeline.begin(Probe(), lane) for _ in range(3)] == [MAX_ID - 1, MAX_ID, 1]
    held = {pipeline.begin(Probe(), lane): None for _ in range(3000)}
    assert list(held) == list(range(2, 3002))
    expired = Probe()
    pipeline.begin(expired, pipeline.lane(0.5))  # 3002
    pipeline.expire(1.0)
    assert expired.told == [("expired", 1.0)]
    pipeline._next = MAX_ID  # 2^31 exchanges later  # pyright: ignore[reportPrivateUsage]
    assert pipeline.begin(Probe(), lane) == 3003
    pipeline.receive(reply(500), 1.0)
    pipeline._next = 490  # pyright: ignore[reportPrivateUsage]
    assert pipeline.begin(Probe(), lane) == 500
    assert pipeline.receive(reply(77) + reply(77), 1.0) == [Stray(77, duplicate=True)]


@pytest.mark.parametrize(
    "bad",
    [b"{}", b'{"result":1}', b'{"id":null,"result":1}', b'{"id":"1","result":1}', b'{"id":1.0}', b'{"id":true}', b"[]",
     b'[{"id":1,"result":1}]', b'"text"', b"17 ", b"null ", b'{"id":1,"id":"x"}', b'{"id":1,"result":tru}', b"{'id':1}",
     b'{"id":1,"result":"\xff"} '],
)  # fmt: skip
def test_a_malformed_reply_harms_no_other(bad: bytes) -> None:
    """It is reported; those before and after it in the same segment are matched all the same."""
    pipeline = Pipeline(10)
    probes = begun(pipeline, 2)
    faults = pipeline.receive(reply(10) + bad + reply(11), 0.5)
    assert all(probe.told == [("answered", 0.5)] for probe in probes.values())
    assert pipeline.broken is None
    if b"\xff" in bad:
        assert faults == [Stray(1, duplicate=False)]  # results stay undecoded until they are asked for
    else:
        assert len(faults) == 1
        assert isinstance(faults[0], Malformed)
        assert pipeline.malformed == 1


@pytest.mark.parametrize("garbage", [b"hello", b"}", b'{"id":1]', b"HTTP/1.1 400 Bad Request\r\n", b"\x00"])
def test_a_stream_that_can_not_be_trusted_breaks(garbage: bytes) -> None:
    """Replies before the fault count, after it none is read; what waits is told when the connection is broken off."""
    pipeline = Pipeline(1)
    probes = begun(pipeline, 2)
    pipeline.receive(reply(1) + garbage + reply(2), 0.5)
    assert pipeline.broken is not None
    assert probes[1].told == [("answered", 0.5)]
    assert probes[2].told == []
    pipeline.break_off(str(pipeline.broken), 0.75)
    assert probes[2].told == [(str(pipeline.broken), 0.75)]
    assert pipeline.pending == 0


def test_break_off() -> None:
    """Everything that waits is told once, in the order in which it began within its lane; tombstones are forgotten."""
    pipeline = Pipeline(1)
    order: list[int] = []
    for number in range(6):
        pipeline.begin(Probe(then=lambda number=number: order.append(number)), pipeline.lane(1.0 + number % 2))
    expired = Probe(-5.0)
    pipeline.begin(expired, pipeline.lane(0.25))
    pipeline.expire(0.0)
    pipeline.break_off("reset", 0.5)
    assert order == [0, 2, 4, 1, 3, 5]
    assert expired.told == [("expired", 0.0)]
    assert list(pipeline.waiting()) == []
    pipeline.break_off("again", 0.5)
    assert order == [0, 2, 4, 1, 3, 5]


def test_waiting_is_a_snapshot() -> None:
    """Newest first in each lane; withdrawing while going through it does no harm."""
    pipeline = Pipeline(1)
    probes = begun(pipeline, 4)
    seen: list[object] = []
    for probe in pipeline.waiting():
        seen.append(probe)
        pipeline.withdraw(1)
    assert seen == list(reversed(list(probes.values())))
    assert pipeline.pending == 3


@pytest.mark.parametrize("how", ["expire", "receive", "break_off"])
def test_an_exchange_may_begin_another_one(how: str) -> None:
    """What an exchange is told may lead to a new one at once, also in a lane that was not there before."""
    pipeline = Pipeline(1)
    lane = pipeline.lane(1.0)
    new: list[int] = []

    def again() -> None:
        new.append(pipeline.begin(Probe(5.0), pipeline.lane(2.0 + len(new))))

    for _ in range(3):
        pipeline.begin(Probe(then=again), lane)
    if how == "expire":
        pipeline.expire(1.0)
    elif how == "receive":
        assert pipeline.receive(reply(1) + reply(2) + reply(3), 1.0) == []
    else:
        pipeline.break_off("reset", 1.0)
    assert new == [4, 5, 6]


def test_an_exchange_may_withdraw_another_one() -> None:
    """One that is withdrawn while others expire is not told."""
    pipeline = Pipeline(1)
    lane = pipeline.lane(1.0)
    pipeline.begin(Probe(then=lambda: pipeline.withdraw(2)), lane)
    second = Probe()
    pipeline.begin(second, lane)
    pipeline.expire(1.0)
    assert second.told == []


def test_pending_over_lanes() -> None:
    """The count is of all lanes, with one lane and with several."""
    pipeline = Pipeline(1)
    assert pipeline.pending == 0
    begun(pipeline, 3, 1.0)
    assert pipeline.pending == 3
    begun(pipeline, 2, 2.0)
    assert pipeline.pending == 5
    assert pipeline.lane(1.0) is pipeline.lane(1.0)
    assert pipeline.lane(2.0).timeout == 2.0


def test_forget() -> None:
    """After a fork what waits belongs to the parent: it is forgotten without a word."""
    pipeline = Pipeline(1)
    probes = begun(pipeline, 2)
    pipeline.expire(1.0)
    more = begun(pipeline, 2, 2.0)
    pipeline.forget()
    assert pipeline.pending == 0
    assert pipeline.receive(reply(1) + reply(4), 1.0) == [Stray(1, duplicate=True), Stray(4, duplicate=True)]
    assert [probe.told for probe in (*probes.values(), *more.values())] == [[("expired", 1.0)]] * 2 + [[], []]
