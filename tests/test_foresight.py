"""Foresight: no delivery exceeds what was foreseen, silence reaches it, and what can't work is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity.stop import stop_after_attempt, stop_after_delay, stop_never
from tenacity.wait import wait_fixed, wait_random

from failover.address import Address
from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Concern, Resolve, WorstCase, foresee
from failover.group import Group
from failover.receipt import Receipt
from failover.schemes import Defaults, parse_address
from failover.sequential import Sequential
from failover.sim import Simulation
from failover.sink import Sink
from failover.sinks.callable import CallableSink
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import (
    Coalesce,
    DeadLetter,
    Deadline,
    Dedup,
    Failover,
    Hedge,
    LatencyAware,
    Limit,
    Mirror,
    Ordered,
    Parallel,
    Quorum,
    Retry,
    RoundRobin,
    Route,
    Timeout,
)
from failover.strategy import Child, Strategy
from failover.subscriber import Subscriber
from tests.doubles import DOWN, NO, SILENT, YES, Answer, FastSink, PlainSink, now, opened, run
from tests.strategies import random_trees
from tests.strategies.random_trees import Mute, Step, play, programs

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


def says(sink: PlainSink, within: float | None) -> WorstCase:
    """The worst case of a double: it keeps its script and its deadlines to the moment."""
    longest = max(answer.delay for answer in sink.script)
    return WorstCase(longest if within is None else min(within, longest), alone=longest)


class Plain(PlainSink):
    """A double that says what it may take."""

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """As its script says."""
        return says(self, within)


class Fast(FastSink):
    """The same with the fast path of a socket."""

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """As its script says."""
        return says(self, within)


class Silent(Mute):
    """The same that leaves no receipt when it is cancelled."""

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """As its script says."""
        return says(self, within)


def unresolved(address: Address) -> Sink:
    """There are none."""
    raise AssertionError(address)


def case_of(sink: Sink, within: float | None = None) -> WorstCase:
    """What is foreseen of it."""
    return foresee(sink, within, unresolved)


def numbers(case: WorstCase) -> tuple[float, float, float]:
    """Its numbers."""
    return pytest.approx(case.seconds), case.attempts, case.duplicates  # type: ignore[return-value]


# -- the numbers are bounds ------------------------------------------------------------------------------------------


@given(programs(depth=3, steps=8))
def test_no_delivery_exceeds_what_was_foreseen(program: random_trees.Program) -> None:
    """Of any tree, whatever its leaves do and however many deliveries there are at once: time, attempts, duplicates."""
    steps = tuple(
        Step("raise", step.seconds, 1) if step.what == "raise" else step
        for step in program.steps
        if step.what in ("raise", "wait")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_trees, "LEAVES", {"plain": Plain, "fast": Fast, "mute": Silent})
        played = play(random_trees.Program(program.plan, steps))
    tried = [attempt.event.id for attempt in played.tried()]
    for raised in played.raised:
        within = None if raised.deadline is None else raised.deadline - raised.at
        case = case_of(played.root, within)
        (receipt,) = raised.receipts
        assert raised.ended - raised.at <= case.seconds + 1e-9
        assert tried.count(raised.events[0].id) <= case.attempts
        assert len(receipt.attempts) <= case.attempts
        assert receipt.possible_duplicates <= case.duplicates


async def serve() -> None:
    """A subscriber that never answers."""
    subscriber = Subscriber("0.0.0.0", 1)  # noqa: S104  # on a simulated host

    @subscriber.default
    async def keep(_method: str, _params: object) -> None:
        await asyncio.get_running_loop().create_future()

    async with subscriber:
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("within", [None, 0.5])
def test_real_sockets_that_are_silent(within: float | None) -> None:
    """With real sinks, whose timeouts may be a little late, the bound holds and is near."""
    simulation = Simulation(seed=3)
    for name in ("a", "b", "c"):
        simulation.network.host(name, start=serve)
    tree = "virtual:FAILOVER jsonrpc:a:1 timeout=200ms (PARALLEL jsonrpc:b:1 jsonrpc:c:1 timeout=300ms) (RETRY tcp:c:1)"
    group = Group("g", tree, defaults=Defaults(timeout=0.25))
    case = group.worst_case(within)

    async def main() -> tuple[float, Receipt]:
        async with group:
            began = now()
            receipt = await group.deliver(EVENT, within=within)
            return now() - began, receipt

    took, receipt = simulation.run(main())
    assert case.seconds - 0.05 <= took <= case.seconds
    assert len(receipt.attempts) <= case.attempts == 6
    assert receipt.possible_duplicates <= case.duplicates == 4


async def take(strategy: Strategy, within: float | None = None) -> tuple[float, int, int]:
    """What a delivery really takes."""
    async with opened(strategy):
        began = now()
        receipt = await strategy.deliver(EVENT, deadline=None if within is None else began + within)
        return now() - began, len(receipt.attempts), receipt.possible_duplicates


def silent(*delays: float) -> list[Plain]:
    """Children that are silent, each for so many seconds."""
    return [Plain("abcd"[at], SILENT.after(delay)) for at, delay in enumerate(delays)]


REACHED: list[tuple[Callable[[], Strategy], float | None]] = [
    (lambda: Failover(*silent(1.0, 0.5, 0.2)), None),
    (lambda: Failover(*silent(1.0, 1.0, 0.7)), 1.2),
    (lambda: RoundRobin(*silent(1.0, 0.5)), None),
    (lambda: LatencyAware(*silent(1.0, 0.5)), None),
    (lambda: RoundRobin(*silent(1.0, 1.0), move_on=False), None),
    (lambda: Parallel(*silent(1.0, 0.5)), None),
    (lambda: Parallel(*silent(1.0, 0.5)), 0.3),
    (lambda: Quorum(1, *silent(1.0, 0.5)), None),
    (lambda: Hedge(*silent(1.0, 0.5), delay=0.1, share=0, floor=0), None),
    (lambda: Route(("E_*", silent(1.0)[0])), None),
    (lambda: Timeout(Failover(*silent(1.0, 1.0)), 0.6), None),
    (lambda: Timeout(Failover(*silent(1.0, 1.0)), 0.6), 0.4),
    (lambda: DeadLetter(*silent(1.0, 0.5)), None),
    (lambda: DeadLetter(*silent(1.0, 0.5), reserve=0.2), 0.9),
    (lambda: Retry(silent(1.0)[0], stop=stop_after_attempt(3), wait=wait_fixed(0.1)), None),
    (lambda: Retry(silent(1.0)[0], stop=stop_after_attempt(3), wait=wait_fixed(0.1), within=2.5), None),
    (lambda: Failover(Retry(silent(0.2)[0], wait=wait_fixed(0.1), name="r"), *silent(0.3)), None),
    (lambda: Limit(silent(1.0)[0], in_flight=1, at_limit="next"), None),
]


@pytest.mark.parametrize(("make", "within"), REACHED)
def test_where_all_are_silent_it_is_reached(make: Callable[[], Strategy], within: float | None) -> None:
    """The bounds are as near as can be: all three of them are what really happens if nobody answers."""
    foreseen = case_of(make(), within)
    assert run(take(make(), within)) == numbers(foreseen)


def test_where_all_are_down() -> None:
    """Failures cost the attempts that were foreseen, but no time and no duplicates."""
    took, attempts, duplicates = run(take(Failover(Plain("a", DOWN), Plain("b", DOWN), Plain("c", NO))))
    assert (took, attempts, duplicates) == (0.0, 3, 0)


def test_mirror() -> None:
    """Main's time alone counts, even where the copy's isn't known; attempts are those of both."""
    a, b = silent(0.2, 5.0)
    assert numbers(case_of(Mirror(a, b))) == (0.2, 2, 0)
    unknown = case_of(Mirror(a, PlainSink("x")))
    assert (unknown.seconds, unknown.attempts) == (0.2, inf)


def test_what_waits_for_others() -> None:
    """Where events wait for each other, only a deadline bounds the time."""
    (a,) = silent(0.2)
    for strategy in (Ordered(a), Dedup(a, window=1), Limit(a, in_flight=1)):
        alone, within = case_of(strategy), case_of(strategy, 0.5)
        assert (alone.seconds, alone.attempts, within.seconds) == (inf, 1, 0.5)
        assert "without a deadline an event may wait here" in str(alone.concerns[0])
        assert within.concerns == ()


def test_what_is_held_back_for_longer_than_it_may_wait() -> None:
    """Where nothing has as much time as it may have to wait for a newer one, that is said."""
    (a,) = silent(0.2)
    strategy = Coalesce(a, key="callid", every=2.0)
    assert case_of(strategy, 2.5).concerns == ()
    assert "what comes sooner than 2 s after another event of its key waits in vain" in str(
        case_of(strategy, 2.0).concerns[0]
    )
    assert "without a deadline an event may wait here" in str(case_of(strategy).concerns[0])


QUEUES: list[Callable[[Sink], Strategy]] = [
    lambda sink: Limit(sink, in_flight=2),
    lambda sink: Limit(sink, rate=5),
    lambda sink: Limit(sink, in_flight=2, at_limit="next"),
    Ordered,
    lambda sink: Dedup(sink, window=0.5),
    lambda sink: Coalesce(sink, key="callid"),
    lambda sink: Coalesce(sink, key="callid", every=0.4),
    lambda sink: Deadline(sink, lambda event: now() + len(event.name) / 10),
]


@pytest.mark.parametrize("make", QUEUES)
def test_many_that_wait_for_each_other(make: Callable[[Sink], Strategy]) -> None:
    """However many come at once and wait for each other, none exceeds what was foreseen for its own deadline."""

    async def main() -> None:
        sink = Fast("a", SILENT.after(0.1), YES.after(0.3), DOWN, SILENT.after(0.2))
        strategy = make(Failover(sink, Fast("b", SILENT.after(0.15)), quarantine=0))

        async def one(number: int) -> None:
            within = [0.2, 0.45, 1.0][number % 3]
            case = case_of(strategy, within)
            began = now()
            event = Event("E" * (1 + number % 5), {"callid": f"call-{number % 2}"})
            receipt = await strategy.deliver(event, deadline=began + within)
            assert now() - began <= case.seconds + 1e-9
            assert len(receipt.attempts) <= case.attempts
            assert receipt.possible_duplicates <= case.duplicates

        async with opened(strategy), asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(one(number))
                await asyncio.sleep(0.01 * (number % 4))

    run(main())


def test_real_sinks() -> None:
    """A socket takes its timeout, perhaps 10 ms more, or a shorter deadline to the moment; a function its timeout."""
    socket = jsonrpc("a:1", timeout=0.2)
    assert case_of(socket).seconds == pytest.approx(0.21)
    assert case_of(socket, 0.2).seconds == pytest.approx(0.21)
    assert case_of(socket, 0.15).seconds == 0.15
    function = CallableSink(print, timeout=0.3)
    assert [case_of(function, within).seconds for within in (None, 0.3, 0.1)] == [0.3, 0.3, 0.1]


@pytest.mark.parametrize(
    ("settings", "attempts", "seconds"),
    [
        ({"stop": stop_after_attempt(4), "wait": wait_fixed(0.5)}, 4, 4 * 1.0 + 3 * 0.5),
        ({"stop": stop_after_delay(2), "wait": wait_fixed(0.5)}, 5, 5 * 1.0 + 4 * 0.5),
        ({"stop": stop_after_attempt(2) | stop_after_delay(2), "wait": wait_fixed(0.5)}, 2, 2.5),
        ({"stop": stop_never, "wait": wait_fixed(0.5), "within": 1.6}, 4, 1.6),
        ({"stop": stop_never, "wait": wait_fixed(0), "within": 1.6}, inf, 1.6),
        ({"stop": stop_after_attempt(3), "wait": wait_random(0, 1)}, 3, inf),
        ({"stop": stop_after_attempt(3), "wait": wait_random(0, 1), "within": 2}, 3, 2.0),
    ],
)
def test_retries(settings: dict[str, Any], attempts: float, seconds: float) -> None:
    """As many attempts as the policy allows where they take no time, as much time as that many may take."""
    case = case_of(Retry(silent(1.0)[0], **settings))
    assert case.attempts == attempts
    assert case.seconds == pytest.approx(seconds)
    assert case.duplicates == attempts - 1


# -- what isn't known ------------------------------------------------------------------------------------------------


def test_a_sink_that_does_not_say() -> None:
    """Nothing is known of a tree with a sink in it that doesn't say, and the sink is named, by its place."""
    case = case_of(Failover(PlainSink("x"), *silent(1.0), name="f"), 3.0)
    assert (case.seconds, case.attempts, case.duplicates) == (inf, inf, inf)
    assert [concern.path for concern in case.concerns] == [("f", "x")]
    assert "it doesn't say what it may take" in case.concerns[0].text
    assert "an unknown time, an unknown number of attempts" in case.explain()


def test_a_strategy_with_a_delivery_of_its_own() -> None:
    """What a base says of its own delivery isn't believed of another one; what has only an order of its own is fine."""

    class Backwards(Sequential):
        """The other way round."""

        def order(self, event: Event) -> Sequence[Child]:
            """From the last."""
            return self.children[::-1]

    class Endless(Backwards):
        """Again and again."""

        async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
            """Until it is settled."""
            while not (receipt := await super().deliver(event, deadline=deadline)).settled:
                pass
            return receipt

    assert case_of(Backwards(*silent(1.0, 0.5))).seconds == 1.5
    assert case_of(Endless(*silent(1.0, 0.5))).seconds == inf


# -- what can't work -------------------------------------------------------------------------------------------------


def concerns(text: str, within: float | None = None) -> list[str]:
    """What is doubtful about a tree of this text."""
    case = Group("g", f"virtual:{text}").worst_case(within)
    return [f"{' > '.join(concern.path[2:])}: {concern.text}" for concern in case.concerns]


A, B, C = "jsonrpc:a:1", "jsonrpc:b:1", "jsonrpc:c:1"


@pytest.mark.parametrize(
    ("text", "within", "expected"),
    [
        (f"FAILOVER {A} {B}", None, []),
        (f"FAILOVER {A} {B}", 2.1, []),
        (f"FAILOVER {A} {B}", 0.5, ["of 500 ms jsonrpc:a:1 is sure of 250 ms only, and may take 1.01 s"]),
        (
            f"TIMEOUT within=500ms (FAILOVER {A} {B})",
            None,
            ["FAILOVER: of 500 ms jsonrpc:a:1 is sure of 250 ms"],
        ),
        (f"FAILOVER {A} timeout=100ms {B}", 1.2, []),
        (f"FAILOVER {A} timeout=100ms {B}", 1.1, ["of 1.1 s jsonrpc:b:1 is sure of 990 ms only, and may take 1.01 s"]),
        (f"ROUND-ROBIN {A} timeout=100ms {B}", 1.2, ["of 1.2 s jsonrpc:b:1 is sure of 600 ms only, and may take"]),
        (f"ROUND-ROBIN move_on=no {A} {B}", 0.5, []),
        (f"FAILOVER {A} confirm=no {B}", None, ["a notification settles an event once it is written"]),
        (f"FAILOVER {A} {B} confirm=no", None, []),
        (f"RETRY (FAILOVER {A} {B})", None, ["2 attempts become 6 attempts; better a Retry around each socket"]),
        (f"RETRY attempts=1 (FAILOVER {A} {B})", None, []),
        (f"RETRY within=500ms {A}", None, ["one attempt may take all of the 500 ms, and then no other follows"]),
        (f"RETRY {A}", 0.5, ["one attempt may take all of the 500 ms, and then no other follows"]),
        (
            f"RETRY (PARALLEL {A} {B})",
            None,
            [
                "2 attempts become 6",
                "if only some take an event, those have it again",
                "PARALLEL: if one of them fails",
            ],
        ),
        (f"TIMEOUT within=500ms {A}", None, ["it cuts the only attempt short, which by itself may take 1.01 s"]),
        (
            f"TIMEOUT within=3s (FAILOVER {A} {B})",
            None,
            ["it never cuts anything short: its child takes 2.02 s at most"],
        ),
        (f"HEDGE delay=50ms {A} {B}", None, []),
        (f"HEDGE delay=3s (FAILOVER {A} {B}) {C}", None, ["it never hedges: the first attempt is over after 2.02 s"]),
        (f"HEDGE delay=500ms {A} {B}", 0.4, ["it never hedges: the first attempt is over after 400 ms"]),
        (f"PARALLEL {A} {B}", None, ["if one of them fails, the others have the event and nobody keeps it"]),
        (f"PARALLEL require=any {A} {B}", None, []),
        (f"PARALLEL {A}", None, []),
        (f"DEAD-LETTER (PARALLEL {A} {B}) {C}", None, []),
        (f"FAILOVER (QUORUM k=2 {A} {B}) {C}", None, ["these have it twice", "QUORUM: if one of them fails"]),
        (f"DEAD-LETTER {A} {B}", 3.0, ["a letter is sure of 100 ms only, and may take 1.01 s; give it more reserve"]),
        (f"DEAD-LETTER reserve=2s {A} {B}", 3.0, []),
        (f"DEAD-LETTER {A} {B}", None, []),
    ],
)
def test_what_can_not_work(text: str, within: float | None, expected: list[str]) -> None:
    """What a tree can't do although it says so is named with its place and what to do; a good one is quiet."""
    found = concerns(text, within)
    assert len(found) == len(expected), found
    for one, fragment in zip(found, expected, strict=True):
        assert fragment in one


def test_of_a_group() -> None:
    """A group computes it from texts with its own defaults, without being opened, and also as a part of another one."""
    inner = Group("inner", Failover("jsonrpc:a:1", "jsonrpc:b:1", name="f"), defaults=Defaults(timeout=0.1))
    assert inner.worst_case().seconds == pytest.approx(0.22)
    assert inner.worst_case(within=0.15).seconds == pytest.approx(0.16)
    outer = Group("outer", Parallel(inner, "jsonrpc:c:1", name="p"))
    case = outer.worst_case()
    assert (round(case.seconds, 9), case.attempts, case.duplicates) == (1.01, 3, 1)
    assert [concern.path for concern in case.concerns] == [("outer", "p")]
    assert (case.fits(1.01), case.fits(1.0)) == (True, False)
    assert outer.worst_case(within=0.15).concerns[0] == Concern(
        ("outer", "p", "inner", "f"),
        "of 150 ms jsonrpc:a:1 is sure of 75 ms only, and may take 110 ms; give it more time, or a shorter timeout",
    )
    with pytest.raises(ConfigError, match="within must be a number of seconds"):
        outer.worst_case(within=0)


def test_it_is_cheap_however_deep() -> None:
    """Each sink is asked once: a tree as deep as text can be takes no longer than its size."""
    text = "virtual:TIMEOUT within=1m " + "(TIMEOUT within=1m " * 30 + f"(RETRY {A})" + ")" * 30
    calls = 0

    class Counting(Plain):
        """Counts how often it is asked."""

        def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
            """Count."""
            nonlocal calls
            calls += 1
            return super().worst_case(within, resolve)

    tree: Sink = Counting("x", YES)
    for _ in range(30):
        tree = Timeout(Retry(Hedge(tree, Plain("y", YES), delay=0.1)), 1.0)
    case_of(tree)
    assert calls == 1
    assert Group("g", parse_address(text)).worst_case().attempts == 3


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5]), min_size=1, max_size=4), st.none() | st.sampled_from([0.1, 0.4, 1.0]))
def test_any_answers_after_any_time(delays: list[float], within: float | None) -> None:
    """A failover of any silent children ends in the time foreseen, with none to spare without a deadline."""
    scripts = [Answer(SILENT.outcome, delay) for delay in delays]
    children = [Fast("abcd"[at], script) for at, script in enumerate(scripts)]
    foreseen = case_of(Failover(*children), within)
    took, attempts, _ = run(take(Failover(*children), within))
    assert took <= foreseen.seconds + 1e-9 if within else took == pytest.approx(foreseen.seconds)
    assert attempts <= foreseen.attempts


def test_explained() -> None:
    """The numbers in a line, and one for each concern."""
    assert Group("g", f"virtual:PARALLEL name=p {A} {B}").worst_case().explain() == (
        "at worst 1.01 s, 2 attempts, 0 possible duplicates\n"
        "warning: g > p: if one of them fails, the others have the event and nobody keeps it for that one; put a"
        " DeadLetter around it"
    )
