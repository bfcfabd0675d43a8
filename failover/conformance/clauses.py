"""What a clause is, and the list that they register themselves in."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import attrs

from failover.conformance.exam import Exam
from failover.errors import ConfigError

__all__ = ["Clause", "chosen", "clause", "registered"]

Check = Callable[[Exam], Awaitable[None]]
_C = TypeVar("_C", bound=Callable[[Exam], Any])


@attrs.frozen(kw_only=True)
class Clause:
    """One thing that is examined.

    Args:
        id: Group, number and name, e.g. `4.1-unknown-method`.
        title: What it examines, in a sentence.
        source: The section that asks for it.
        expected: What is expected.
        should: Whether it's only recommended: what fails is then a warning.
        dialect: The dialect that it belongs to, if it's not both: `3.0` or `3.1`.
        check: The function.
    """

    id: str
    title: str
    source: str
    expected: str
    should: bool
    dialect: str | None
    check: Check = attrs.field(repr=False)

    def __str__(self) -> str:
        return self.id


_REGISTERED: dict[str, Clause] = {}


def clause(
    id: str, source: str, expected: str, *, should: bool = False, dialect: str | None = None
) -> Callable[[_C], _C]:
    """Decorate the function that examines a clause; its docstring's first sentence is the title.

    Args:
        id: Group, number and name.
        source: The section that asks for it.
        expected: What is expected.
        should: Whether it's only recommended.
        dialect: The dialect that it belongs to, if it's not both.

    Raises:
        ConfigError: the id is taken, or isn't one.
    """

    def register(check: _C) -> _C:
        if id in _REGISTERED or not re.fullmatch(r"\d+\.\d+-[a-z0-9-]+", id):
            raise ConfigError(f"{id!r}: expected an id that isn't taken, such as 4.1-unknown-method")
        title = (check.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        _REGISTERED[id] = Clause(
            id=id, title=title, source=source, expected=expected, should=should, dialect=dialect, check=check
        )
        return check

    return register


def registered() -> tuple[Clause, ...]:
    """All clauses, in the order of their numbers."""
    return tuple(sorted(_REGISTERED.values(), key=lambda each: [int(part) for part in _number(each.id)]))


def chosen(clauses: Iterable[Clause], only: Iterable[str] = (), skip: Iterable[str] = ()) -> tuple[Clause, ...]:
    """Those clauses that are wanted.

    Args:
        clauses: All of them.
        only: Ids, numbers (`4.1`), groups (`4`) or patterns (`*-id`); none for all.
        skip: The same; those are left out.

    Raises:
        ConfigError: one of the words fits no clause.
    """
    every = tuple(clauses)
    only, skip = tuple(only), tuple(skip)
    for word in (*only, *skip):
        if not any(_fits(each, word) for each in every):
            raise ConfigError(f"{word!r} fits no clause; expected an id, a number such as 4.1, a group such as 4")
    return tuple(
        each
        for each in every
        if (not only or any(_fits(each, word) for word in only)) and not any(_fits(each, word) for word in skip)
    )


def _number(id: str) -> list[str]:
    return id.partition("-")[0].split(".")


def _fits(each: Clause, word: str) -> bool:
    number = _number(each.id)
    return word in {number[0], ".".join(number)} or fnmatch.fnmatchcase(each.id, word)
