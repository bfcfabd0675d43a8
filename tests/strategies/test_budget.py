"""Budgets: a share of the traffic and a floor, never more."""

from __future__ import annotations

from random import Random

import pytest

from failover.errors import ConfigError
from failover.strategies.budget import Budget


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("floor", [0.0, 0.5, 10.0])
@pytest.mark.parametrize("rate", [1, 100, 5000])
def test_never_more_than_promised(share: float, floor: float, rate: int) -> None:
    """However often it is asked, at whatever rate: what is granted stays within the formula, and comes close to it."""
    rng = Random(f"{share} {floor} {rate}")
    budget = Budget(share, floor)
    now = 1000.0
    granted = 0
    for count in range(1, 5001):
        now += rng.expovariate(rate)
        budget.deposit()
        granted += sum(budget.withdraw(now) for _ in range(rng.randrange(4)))
        assert granted <= share * count + floor * (now - 1000.0 + 10) + 1e-6
    asked = 5000 * 1.5
    assert granted >= 0.9 * min(asked * 0.7, share * 5000 + floor * (now - 1000.0)) - 2


def test_idle_time_saves_no_more_than_ten_seconds_of_the_floor() -> None:
    """After a quiet hour there is no flood."""
    budget = Budget(0.2, 10)
    assert budget.withdraw(0.0)
    assert sum(budget.withdraw(3600.0) for _ in range(1000)) == 100


def test_a_quiet_budget_without_a_floor_earns_each_grant() -> None:
    """Twenty events are worth one."""
    budget = Budget(0.05, 0)
    granted: list[bool] = []
    for _ in range(60):
        budget.deposit()
        granted.append(budget.withdraw(0.0))
    assert [place for place, given in enumerate(granted, 1) if given] == [20, 40, 60]


@pytest.mark.parametrize("given", [(-0.1, 0), (0, -1), (float("nan"), 0), (float("inf"), 0), (True, 0), ("1", 0)])
def test_bad_budgets(given: tuple[float, float]) -> None:
    """What is no share or no floor is refused."""
    with pytest.raises(ConfigError, match="of a budget must be a number, 0 or more, not "):
        Budget(*given)
