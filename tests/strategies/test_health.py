"""Health: when a child is taken out and for how long."""

from __future__ import annotations

import asyncio
from math import exp, inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.errors import ConfigError
from failover.event import Event
from failover.health import Health, Probe, Standing
from failover.sink import Opening
from failover.strategies import (
    Failover,
)
from tests.doubles import (
    DOWN,
    LEFT,
    SILENT,
    FastSink,
    PlainSink,
    now,
    opened,
    run,
)

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


def failing(policy: Health, *times: float) -> list[float | None]:
    """What each failure at these times comes to, for a child that is taken out as soon as it is said."""
    standing = Standing(policy)
    said: list[float | None] = []
    for time in times:
        said.append(standing.fail(time, 0.5))
        if said[-1] is not None:
            standing.take_out(time, said[-1], "a test")
    return said


def test_one_failure_is_enough() -> None:
    """By default the first failure takes a child out for 30 seconds."""
    assert failing(Health(), 0.0) == [30.0]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_so_many_in_a_row(count: int) -> None:
    """Only the n-th failure takes a child out; an answer in between begins the count anew."""
    assert failing(Health(failures=count), *map(float, range(count))) == [None] * (count - 1) + [30.0]
    standing = Standing(Health(failures=count))
    for _ in range(3):
        for _ in range(count - 1):
            assert standing.fail(0.0, 0.5) is None
        assert standing.answer(0.0) == ""
        assert standing.steady


def test_the_ratio_counts_from_the_first_event() -> None:
    """No number of events has to be seen before: with few events a second that would be too late."""
    assert failing(Health(ratio=0.5), 0.0) == [30.0]
    standing = Standing(Health(ratio=0.5))
    standing.answer(0.0)
    standing.answer(0.0)
    assert standing.fail(0.0, 0.5) is None
    assert standing.fail(0.0, 0.5) == 30.0
    assert not standing.steady


def test_the_ratio_forgets() -> None:
    """What lies a window back weighs 1/e of what is new; both rules can be given, either takes the child out."""
    standing = Standing(Health(ratio=0.6, window=10.0))
    standing.answer(0.0)
    share = 1 / (1 + exp(-4 / 10))
    assert standing.fail(4.0, 0.5) is None, share
    standing = Standing(Health(ratio=0.6, window=10.0))
    standing.answer(0.0)
    share = 1 / (1 + exp(-5 / 10))
    assert standing.fail(5.0, 0.5) == 30.0, share
    assert failing(Health(ratio=1.0, failures=2), 0.0) == [30.0]
    both = Standing(Health(ratio=1.0, failures=2))
    both.answer(0.0)
    assert [both.fail(0.0, 0.5), both.fail(0.0, 0.5)] == [None, 30.0]


def test_after_it_came_back_nothing_old_counts() -> None:
    """The failures that took a child out are not held against it a second time."""
    standing = Standing(Health(ratio=0.5, failback="eager"))
    standing.take_out(0.0, standing.fail(0.0, 0.5) or 0.0, "a test")
    assert standing.answer(30.0) == "reinstated"
    standing.answer(30.0)
    assert standing.fail(30.0, 0.5) is None


def test_quarantine_grows_and_is_capped() -> None:
    """Each time a child fails again before it has recovered it is out for longer; several at once count as one."""
    policy = Health(quarantine=1.0, growth=2.0, longest=5.0)
    assert failing(policy, 0.0, 0.0, 0.5, 1.5, 3.5, 7.5, 12.5) == [1.0, 1.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert failing(Health(quarantine=10.0, longest=5.0, growth=2.0), 0.0, 10.0) == [10.0, 10.0]


def test_growth_ends_with_recovery() -> None:
    """What begins anew is counted anew: once the slow start is over, the first time is the first time."""
    standing = Standing(Health(quarantine=1.0, growth=2.0, slow_start=2))
    standing.take_out(0.0, standing.fail(0.0, 0.5) or 0.0, "a test")
    assert standing.answer(1.0) == "reinstated"
    assert standing.fail(1.0, 0.5) == 2.0
    standing.take_out(1.0, 2.0, "a test")
    assert [standing.answer(3.0), standing.answer(3.0)] == ["reinstated", "recovered"]
    assert standing.steady
    assert standing.fail(3.0, 0.5) == 1.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_jitter(jitter: float, draw: float) -> None:
    """The time is longer or shorter by no more than the share that was asked for."""
    seconds = Standing(Health(jitter=jitter)).fail(0.0, draw)
    assert seconds == pytest.approx(30 * (1 + jitter * (2 * draw - 1)))


def test_the_injected_generator_draws() -> None:
    """With jitter the opening's generator is asked, without it never: the same seed gives the same history."""

    async def main(jitter: float) -> tuple[float, float]:
        rng = Random(7)
        strategy = Failover(PlainSink("a", DOWN), health=Health(jitter=jitter))
        await strategy.open(Opening(None, lambda _: PlainSink("x"), rng))
        await strategy.deliver(EVENT)
        until = strategy.children[0].out_until
        await strategy.aclose()
        return until, rng.random()

    fresh = Random(7)
    assert run(main(0.0)) == (30.0, fresh.random())
    assert run(main(0.5)) == (pytest.approx(30 * (1 + 0.5 * (2 * Random(7).random() - 1))), fresh.random())


def test_our_own_impatience_never_counts() -> None:
    """What we abandoned is neither a failure nor an answer, whatever the rules."""

    async def main() -> None:
        for health in (Health(), Health(ratio=0.01), Health(failures=1, ratio=0.01)):
            async with opened(Failover(PlainSink("a", LEFT), PlainSink("b"), health=health)) as strategy:
                for _ in range(5):
                    await strategy.deliver(EVENT)
                assert strategy.children[0].out_until == 0
                assert strategy.children[0].admits(now())

    run(main())


def test_silence_counts_as_a_failure() -> None:
    """A peer that was silent although nobody waited any more is judged by the same rules."""

    async def main() -> None:
        sink = FastSink("a", SILENT.after(1))
        async with opened(Failover(sink, FastSink("b"), health=Health(failures=2))) as strategy:
            for count in (1, 2):
                await strategy.deliver(EVENT, deadline=now() + 0.25)
                await asyncio.sleep(2)
                assert bool(strategy.children[0].out_until) is (count == 2)

    run(main())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"quarantine": -1}, "quarantine must be a number of seconds, 0 or more, not -1"),
        ({"failures": 0}, "failures must be a whole number from 1, not 0"),
        ({"failures": True}, "failures must be a whole number from 1, not True"),
        ({"slow_start": 0}, "slow_start must be a whole number from 1, not 0"),
        ({"ratio": 0}, "ratio must be a share, above 0 and 1 at most, or None, not 0"),
        ({"ratio": 1.1}, "ratio must be a share"),
        ({"window": 0}, "window must be a number of seconds, more than 0, not 0"),
        ({"growth": 0.5}, "growth must be a number, 1 or more, not 0.5"),
        ({"growth": inf}, "growth must be a number"),
        ({"longest": 0}, "longest must be a number of seconds, more than 0"),
        ({"jitter": 1.5}, "jitter must be a share of the time, 0 to 1, not 1.5"),
        ({"failback": "fast"}, "failback must be one of 'cautious', 'eager', 'stay', 'manual', not 'fast'"),
        ({"probe": "ping"}, "probe must be a Probe, e.g. Probe"),
    ],
)
def test_bad_rules(arguments: dict[str, Any], text: str) -> None:
    """Rules that can't be meant are refused where they are declared."""
    with pytest.raises(ConfigError, match=text):
        Health(**arguments)


@pytest.mark.parametrize("arguments", [{"every": 0}, {"timeout": -1}, {"method": ""}, {"method": 5}])
def test_bad_probes(arguments: dict[str, Any]) -> None:
    """So is a probe."""
    with pytest.raises(ConfigError):
        Probe(**arguments)


def test_rules_and_a_quarantine_beside_them() -> None:
    """Of two places that say how long, it isn't guessed which one is meant."""
    with pytest.raises(ConfigError, match=r"Failover has a quarantine beside its health: write Health\(quarantine=5\)"):
        Failover("jsonrpc:a:1", quarantine=5, health=Health())
    with pytest.raises(ConfigError, match="the health of Failover must be a Health"):
        Failover("jsonrpc:a:1", health=5)  # type: ignore[arg-type]
    assert Failover("jsonrpc:a:1", health=Health(quarantine=5)).quarantine == 5


steps = st.lists(
    st.tuples(st.sampled_from(["fail", "answer", "late", "busy", "serve", "admits"]), st.floats(0, 20)), max_size=40
)
policies = st.builds(
    Health,
    failures=st.none() | st.integers(1, 3),
    ratio=st.none() | st.floats(0.1, 1.0),
    quarantine=st.floats(0.5, 10),
    growth=st.floats(1, 3),
    longest=st.floats(1, 30),
    jitter=st.floats(0, 1),
    failback=st.sampled_from(["cautious", "eager", "stay", "manual"]),
    slow_start=st.integers(1, 5),
)


@given(policies, steps)
def test_whatever_happens(policy: Health, steps: list[tuple[str, float]]) -> None:
    """Steady means in service without reserve; an answered trial brings back all but by-hand; no time is too long."""
    standing = Standing(policy)
    at = 0.0
    for step, pause in steps:
        at += pause
        if step == "fail":
            seconds = standing.fail(at, 0.5)
            if seconds is not None:
                assert 0 <= seconds <= max(policy.longest, policy.quarantine)
                standing.take_out(at, seconds, "a test")
                assert not standing.admits(at) or seconds == 0
        elif step == "busy":
            assert standing.push_back(at, pause) <= at + max(policy.longest, 20)
        elif step == "serve":
            standing.serve(at)
        elif step == "admits":
            standing.admits(at)
        else:
            standing.answer(at, tried=step == "answer")
            if step == "answer" and policy.failback != "manual":
                assert not standing.out_until
        if standing.steady:
            assert standing.admits(at)
            assert not standing.out_until
            assert not standing.in_slow_start
            assert policy.ratio is None
        assert standing.why_not(at)
    standing.reinstate()
    assert standing.admits(at)
    assert not standing.out_until
