"""Delays: numbers and distributions of an injected generator."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.testing.delays import as_delay, constant, draw, log_normal, rarely, uniform


def test_distributions() -> None:
    """Each draws what it says, and the same for the same seed."""
    rng = Random(1)
    assert draw(0.5, rng) == 0.5
    assert draw(constant(0.25), rng) == 0.25
    assert all(0.1 <= draw(uniform(0.1, 0.2), rng) <= 0.2 for _ in range(100))
    drawn = sorted(draw(log_normal(0.01, 0.5), rng) for _ in range(1001))
    assert 0.009 < drawn[500] < 0.011
    slow = sum(draw(rarely(1.0, 0.001), rng) == 1.0 for _ in range(10_000))
    assert 70 <= slow <= 130
    assert draw(lambda _: -1.0, rng) == 0.0
    mixed = rarely(uniform(1, 2), log_normal(0.01))
    assert [draw(mixed, Random(3)) for _ in range(3)] == [draw(mixed, Random(3)) for _ in range(3)]


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (0.25, 0.25, 0.25),
        ({"constant": 0.5}, 0.5, 0.5),
        ({"uniform": [0.1, 0.2]}, 0.1, 0.2),
        ({"uniform": {"low": 0.1, "high": 0.2}}, 0.1, 0.2),
        ({"log_normal": [0.01]}, 0.0001, 1.0),
        ({"rarely": {"slow": 1.0, "usual": 0.5, "share": 0.5}}, 0.5, 1.0),
    ],
)
def test_delays_of_a_file(value: Any, low: float, high: float) -> None:
    """A number, or a table of one distribution with its arguments."""
    rng = Random(2)
    assert all(low <= draw(as_delay(value), rng) <= high for _ in range(50))


@pytest.mark.parametrize(
    "value",
    [
        *(-1, math.inf, math.nan, True, "1", None, {}),
        *({"normal": 1}, {"uniform": [1]}, {"uniform": [2, 1]}, {"constant": 1, "uniform": [1, 2]}),
        *({"rarely": [1, 2, 3]}, {"rarely": {"slow": 1, "share": 2}}),
    ],
    ids=repr,
)
def test_what_is_no_delay(value: Any) -> None:
    """Anything else is refused, and the error says what was expected."""
    with pytest.raises(ConfigError):
        as_delay(value)
