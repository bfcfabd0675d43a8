"""tenacity's wait policies as vocabulary, on our clock: they are asked for a delay and never sleep by themselves."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import frozen
from tenacity.wait import wait_base, wait_exponential_jitter, wait_random, wait_random_exponential

__all__ = ["PolicyState", "WaitPolicy", "delay", "is_random"]

_RANDOM = (wait_random, wait_random_exponential, wait_exponential_jitter)

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


def is_random(policy: WaitPolicy) -> bool:
    """Whether a policy, or one that it is made of, draws from Python's global generator: then no seed repeats it."""
    parts: list[Any] = [policy]
    while parts:
        part = parts.pop()
        if isinstance(part, _RANDOM):
            return True
        for value in vars(part).values() if isinstance(part, wait_base) else ():
            parts.extend(value if isinstance(value, (list, tuple)) else [value])  # pyright: ignore[reportUnknownArgumentType]
    return False
