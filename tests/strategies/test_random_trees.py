"""Any tree of strategies keeps the laws, whatever its sockets do and whatever is done with it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from failover import strategies
from tests.doubles import PlainSink
from tests.strategies.kinds import KINDS
from tests.strategies.laws import LAWS
from tests.strategies.random_trees import Program, play, programs

UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large]


def keeps_the_laws(program: Program) -> None:
    """Play it, and look at it by every law."""
    played = play(program)
    for law in LAWS.values():
        law(played)


def test_every_strategy_is_among_them() -> None:
    """A new strategy needs its line in the table: nothing is left out of random trees."""
    made = [kind.make([PlainSink(letter) for letter in "abcd"[: kind.most]], "tree") for kind in KINDS.values()]
    assert {type(sink).__name__ for sink in made} >= set(strategies.__all__)


@settings(max_examples=250, suppress_health_check=UNHURRIED)
@given(programs())
def test_any_program(program: Program) -> None:
    """Many programs over trees of up to four levels."""
    keeps_the_laws(program)


@pytest.mark.slow
@settings(max_examples=2_000, suppress_health_check=UNHURRIED)
@given(programs(steps=25))
def test_very_many_programs(program: Program) -> None:
    """The same, many more of them, and longer ones."""
    keeps_the_laws(program)
