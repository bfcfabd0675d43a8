"""tenacity's wait policies as vocabulary, on our clock: they are asked for a delay and never sleep by themselves."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import frozen
from tenacity.wait import wait_base

__all__ = ["PolicyState", "WaitPolicy", "delay"]

WaitPolicy: TypeAlias = wait_base
"""E.g. `tenacity.wait_exponential(multiplier=0.1, max=10)`; seconds."""


@frozen
class PolicyState:
    """What a policy may look at, under tenacity's names; all times are the loop's.

    Args:
        attempt_number: Failed attempts so far, 1 first.
        start_time: Loop time of the first one, seconds.
        outcome_timestamp: Loop time of the newest failure, seconds.
        idle_for: Seconds spent waiting between attempts so far.
    """

    attempt_number: int
    start_time: float
    outcome_timestamp: float
    idle_for: float = 0.0
    upcoming_sleep: float = 0.0
    outcome: Any = None

    @property
    def seconds_since_start(self) -> float:
        """Seconds from the first attempt to the newest failure."""
        return self.outcome_timestamp - self.start_time


def delay(policy: WaitPolicy, state: PolicyState) -> float:
    """Seconds to wait before the next attempt, 0 or more."""
    return max(0.0, float(policy(state)))  # type: ignore[arg-type]  # policies read only what PolicyState has
