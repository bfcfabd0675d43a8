"""Systems with a fault in them, to see whether the checkers notice: one of each kind, and how many seeds that takes.

Run: `python -m failover.testing.planted` prints the table that the documentation shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from attrs import frozen

from failover.testing.planted_opensips import MEASURED
from failover.testing.planted_ours import MUTATIONS
from failover.testing.schedules import KINDS, play_seed

__all__ = ["PLANTED", "Caught", "Planted", "main", "planted_kinds", "planted_patch", "seeds_to_catch", "table"]

_MOST: Final = 1000


@frozen
class Planted:
    """A fault that can be planted in the engine.

    Args:
        name: Its name.
        what: What it does wrong, in a sentence.
        origin: `OpenSIPS`, measured on the real thing, or `mutation`, of our own code.
        plant: Plants it for as long as the context is entered.
    """

    name: str
    what: str
    origin: str
    plant: Callable[[], AbstractContextManager[object]]


@frozen
class Caught:
    """A planted fault that was noticed.

    Args:
        seeds: How many schedules that took, the one that did included.
        seed: The seed of that one.
        clauses: The checkers that found something in it, sorted; the exception's class if it broke the program.
    """

    seeds: int
    seed: int
    clauses: tuple[str, ...]


def seeds_to_catch(planted: Planted, *, most: int = _MOST, first: int = 0) -> Caught | None:
    """Play schedules with a fault planted until the checkers notice.

    Args:
        planted: The fault.
        most: Schedules, at most.
        first: The first seed.

    Returns:
        How it was caught; None if it was not.
    """
    with planted.plant():
        for seed in range(first, first + most):
            try:
                clauses = {finding.clause for finding in play_seed(seed).findings}
            except Exception as error:  # noqa: BLE001  # a fault may break the program itself: that is noticed too
                clauses = {type(error).__name__}
            if clauses:
                return Caught(seed - first + 1, seed, tuple(sorted(clauses)))
    return None


def table(faults: Sequence[Planted], *, most: int = _MOST) -> Iterator[str]:
    """The lines of a Markdown table: each fault, the seeds that it took, and the checkers that noticed."""
    yield "| fault | of | seeds | noticed by |"
    yield "|---|---|---|---|"
    for planted in faults:
        caught = seeds_to_catch(planted, most=most)
        seeds = "not caught" if caught is None else str(caught.seeds)
        clauses = "" if caught is None else ", ".join(f"`{clause}`" for clause in caught.clauses)
        yield f"| {planted.name}: {planted.what} | {planted.origin} | {seeds} | {clauses} |"


@contextmanager
def _replaced(kinds: dict[str, Any]) -> Generator[None]:
    """Have trees made of other things."""
    before = {kind: KINDS[kind] for kind in kinds}
    KINDS.update(kinds)
    try:
        yield
    finally:
        KINDS.update(before)


@contextmanager
def _patched(owner: Any, name: str, value: Any) -> Generator[None]:
    """Have a class or a module do something else."""
    own: Any = owner.__dict__.get(name, owner)  # not what it inherits
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is owner:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def planted_kinds(name: str, what: str, kinds: dict[str, Any], *, origin: str = "test") -> Planted:
    """A fault made of other kinds in a tree, see `failover.testing.schedules.KINDS`; the rest as of `Planted`."""
    return Planted(name, what, origin, lambda: _replaced(kinds))


def planted_patch(name: str, what: str, patch: tuple[Any, str, Any], *, origin: str = "test") -> Planted:
    """A fault made of one attribute of a class or module in place of another; the rest as of `Planted`."""
    return Planted(name, what, origin, lambda: _patched(*patch))


def _faults() -> Iterator[Planted]:
    for origin, entries in (("OpenSIPS", MEASURED), ("mutation", MUTATIONS)):
        for name, what, how in entries:
            if isinstance(how, dict):
                yield planted_kinds(name, what, how, origin=origin)
            else:
                yield planted_patch(name, what, how, origin=origin)


PLANTED: Final = tuple(_faults())
"""Every fault that can be planted: those measured in OpenSIPS, and mutations of our own code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 if a fault was not caught."""
    parser = argparse.ArgumentParser(prog="python -m failover.testing.planted", description="plant each fault, and see")
    parser.add_argument("--most", type=int, default=_MOST, help="schedules for each fault, at most")
    options = parser.parse_args(arguments)
    missed = False
    for line in table(PLANTED, most=options.most):
        print(line, flush=True)  # noqa: T201  # a command
        missed = missed or "| not caught |" in line
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
