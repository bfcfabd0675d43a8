"""tenacity's wait policies on our clock."""

from __future__ import annotations

import pytest
from tenacity import (
    wait_chain,
    wait_combine,
    wait_exponential,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from failover.errors import ConfigError
from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.pacing import PolicyState, WaitPolicy, delay, is_random
from failover.sim import simulate
from failover.sinks.jsonrpc import jsonrpc


def delays(policy: WaitPolicy, count: int = 6) -> list[float]:
    """What a policy says after each of the first failures."""
    return [delay(policy, PolicyState(number, 100.0, 100.0 + number)) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (wait_none(), [0, 0, 0, 0, 0, 0]),
        (wait_fixed(0.5), [0.5] * 6),
        (wait_exponential(multiplier=0.1, max=1), [0.1, 0.2, 0.4, 0.8, 1, 1]),
        (wait_incrementing(start=1, increment=-0.5), [1, 0.5, 0, 0, 0, 0]),
        (wait_chain(wait_fixed(1), wait_fixed(2), wait_fixed(3)), [1, 2, 3, 3, 3, 3]),
        (wait_combine(wait_fixed(1), wait_exponential(multiplier=1, max=4)), [2, 3, 5, 5, 5, 5]),
        (wait_fixed(1) + wait_fixed(0.25), [1.25] * 6),
    ],
)
def test_policies(policy: WaitPolicy, expected: list[float]) -> None:
    """Each policy says what it would say to tenacity, and nobody sleeps."""
    assert delays(policy) == pytest.approx(expected)


def test_a_policy_sees_our_times() -> None:
    """A policy of one's own reads the loop's times under tenacity's names."""
    seen: list[tuple[int, float, float, float, float]] = []

    class Own(wait_base):
        def __call__(self, retry_state: object) -> float:
            assert isinstance(retry_state, PolicyState)
            state = retry_state
            seen.append(
                (
                    state.attempt_number,
                    state.start_time,
                    state.outcome_timestamp,
                    state.seconds_since_start,
                    state.idle_for,
                )
            )
            return -3.0

    assert delay(Own(), PolicyState(4, 10.0, 12.5, 2.0)) == 0.0
    assert seen == [(4, 10.0, 12.5, 2.5, 2.0)]


@pytest.mark.parametrize(
    ("policy", "random"),
    [
        (wait_fixed(1), False),
        (wait_exponential(max=10), False),
        (wait_chain(wait_fixed(1), wait_fixed(2)), False),
        (wait_random(0, 1), True),
        (wait_random_exponential(max=10), True),
        (wait_fixed(1) + wait_random(0, 1), True),
        (wait_chain(wait_fixed(1), wait_combine(wait_none(), wait_random(0, 1))), True),
    ],
)
def test_random_policies_are_refused_in_a_simulation(policy: WaitPolicy, random: bool) -> None:  # noqa: FBT001  # pytest's
    """A policy that no seed repeats, however deep it stands in another one, is an error inside a simulation only."""
    assert is_random(policy) is random

    async def main() -> None:
        options = ConnectionOptions(reconnect=policy)
        async with Group("billing", jsonrpc("127.0.0.1:9", options=options)):
            pass

    if random:
        with pytest.raises(ConfigError, match="waits at random, which no seed repeats"):
            simulate(main())
    else:
        simulate(main())
