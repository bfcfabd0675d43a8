"""Foresight: what one delivery may come to at worst, computed from a tree as it is declared, before any event.

A sink that can tell has a method `worst_case(within, resolve)`; strategies compute theirs from their children's. Every
number is a bound: no delivery takes longer, makes more attempts or may leave more duplicates. Batches are not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from attrs import Factory, evolve, field, frozen

from failover.address import Address

if TYPE_CHECKING:
    from failover.sink import Sink

__all__ = [
    "Concern",
    "Resolve",
    "WorstCase",
    "at_once",
    "concluded",
    "foresee",
    "in_turn",
    "moving_on",
    "shared",
    "shown",
    "shown_count",
]

_ROUNDING: Final = 1e-9  # seconds that sums of times may be off

Resolve: TypeAlias = "Callable[[Address], Sink]"
"""Makes a sink of an address."""


@frozen
class Concern:
    """Something that a tree can't do although it says so, or does although nobody may want it.

    Args:
        path: Names from the outermost strategy down to the place.
        text: What is wrong there, and what to do.
    """

    path: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{' > '.join(self.path)}: {self.text}"


def _own_seconds(case: WorstCase) -> float:
    return case.seconds


@frozen
class WorstCase:
    """What one delivery of one event may come to at worst.

    Args:
        seconds: How long it takes at most, with the deadline that it was asked for; infinity if that isn't known.
        attempts: How many attempts it makes at most, on all sockets together; infinity if that isn't known.
        duplicates: How many more times than intended the event may be processed, as a receipt counts them.
        late: Seconds after its deadline by which it has ended at the latest; what it takes at most has them in it.
        concerns: What can't work as it is declared.
        divided: Places where some may have taken the event and others not, with nobody to keep it for these.
        sends: Whether it may settle an event without a confirmation.
        alone: How long it would take without that deadline.
    """

    seconds: float
    attempts: float = 1
    duplicates: float = 0
    late: float = 0.0
    concerns: tuple[Concern, ...] = ()
    divided: tuple[tuple[str, ...], ...] = ()
    sends: bool = False
    alone: float = field(default=Factory(_own_seconds, takes_self=True))

    def below(self, name: str) -> WorstCase:
        """The same, seen from the strategy of this name above it."""
        return evolve(
            self,
            concerns=tuple(Concern((name, *one.path), one.text) for one in self.concerns),
            divided=tuple((name, *path) for path in self.divided),
        )

    def but(self, name: str, *texts: str) -> WorstCase:
        """The same with further concerns about the sink of this name itself."""
        return evolve(self, concerns=(*self.concerns, *(Concern((name,), text) for text in texts)))

    def capped(self, within: float | None) -> WorstCase:
        """The same with a deadline after so many seconds, after which it begins nothing more."""
        if within is None:
            return self
        return evolve(self, seconds=min(self.seconds, within + self.late))

    def bounded(self, within: float) -> WorstCase:
        """The same with a deadline of its own after so many seconds, whatever it is given."""
        return evolve(self.capped(within), alone=min(self.alone, within + self.late))

    def fits(self, within: float) -> bool:
        """Whether every delivery ends within so many seconds, without being cut short."""
        return self.alone <= within + _ROUNDING

    def numbers(self) -> str:
        """Time, attempts and duplicates in a line."""
        attempts, duplicates = shown_count(self.attempts, "attempt"), shown_count(self.duplicates, "possible duplicate")
        return f"at worst {shown(self.seconds)}, {attempts}, {duplicates}"

    def explain(self) -> str:
        """The numbers, and a line for each concern."""
        return "\n".join([self.numbers(), *(f"warning: {concern}" for concern in self.concerns)])


class _Foreseen(Protocol):
    """A sink that can tell."""

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """What one delivery may come to at worst."""
        ...


def foresee(child: Sink | Address, within: float | None, resolve: Resolve) -> WorstCase:
    """What one delivery to a child may come to.

    Args:
        child: A sink or an address, as it is declared.
        within: Seconds from its beginning to its deadline, at most; None without one.
        resolve: Makes a sink of an address.

    Returns:
        Infinity everywhere, and a concern, for a sink that doesn't say: one without the method, or one whose class has
        a delivery of its own and its worst case from a base.
    """
    sink = resolve(child) if isinstance(child, Address) else child
    for kind in type(sink).__mro__:
        if "worst_case" in vars(kind):
            return cast("_Foreseen", sink).worst_case(within, resolve)
        if "deliver" in vars(kind):
            break
    unknown = WorstCase(inf, inf, inf, inf)
    return unknown.but(sink.name, "it doesn't say what it may take; give it a method worst_case(within, resolve)")


def in_turn(cases: Sequence[WorstCase], tries: int | None = None) -> WorstCase:
    """The worst case of children that are tried one after the other, each once at most.

    Args:
        cases: Those of the children.
        tries: How many of them one event is given to at most; all by default.
    """
    tries = len(cases) if tries is None else min(tries, len(cases))

    def most(values: list[float]) -> float:
        return sum(sorted(values, reverse=True)[:tries])

    return WorstCase(
        seconds=most([case.seconds for case in cases]),
        attempts=most([case.attempts for case in cases]),
        duplicates=most([case.duplicates for case in cases]) + max(0, tries - 1),
        late=max(case.late for case in cases),
        concerns=tuple(concern for case in cases for concern in case.concerns),
        divided=tuple(path for case in cases for path in case.divided),
        sends=any(case.sends for case in cases),
        alone=most([case.alone for case in cases]),
    )


def at_once(cases: Sequence[WorstCase]) -> WorstCase:
    """The worst case of children that are all tried at once; then copies are no duplicates, but a child's own are."""
    return evolve(
        in_turn(cases),
        seconds=max(case.seconds for case in cases),
        alone=max(case.alone for case in cases),
        duplicates=sum(case.duplicates for case in cases),
    )


def moving_on(cases: Sequence[WorstCase]) -> Iterator[str]:
    """What is doubtful about going on to the next child if one doesn't settle an event."""
    if any(case.sends for case in cases[:-1]):
        yield "a notification settles an event once it is written: only a broken connection moves it on"
    if any(case.divided for case in cases[:-1]):
        yield "if only some of a child's own children take an event, it moves on all the same: these have it twice"


def shared(children: Iterable[tuple[str, WorstCase]], within: float | None) -> Iterator[str]:
    """What is doubtful about so many seconds, of which each child in turn has an equal share of what is left.

    Args:
        children: Their names and worst cases, in the order in which they are tried.
        within: The seconds; None for as many as they like.
    """
    waiting = list(children)
    left = inf if within is None else within
    for place, (name, case) in enumerate(waiting):
        share = left / (len(waiting) - place)
        if case.alone == inf:  # which is said already
            return
        if case.alone > share + _ROUNDING:
            yield (
                f"of {shown(within or 0.0)} {name} is sure of {shown(share)} only, and may take {shown(case.alone)};"
                " give it more time, or a shorter timeout"
            )
            return
        left -= case.alone


def concluded(case: WorstCase) -> WorstCase:
    """The worst case of a whole tree: nobody above it keeps what is missed."""
    text = (
        "if one of them fails, the others have the event and nobody keeps it for that one; put a DeadLetter around it"
    )
    return evolve(case, concerns=(*case.concerns, *(Concern(path, text) for path in case.divided)))


def shown(seconds: float) -> str:
    """Seconds as people read them: `250 ms`, `2.02 s`."""
    if seconds == inf:
        return "an unknown time"
    return f"{seconds * 1e3:.4g} ms" if seconds < 1 else f"{seconds:.4g} s"


def shown_count(count: float, what: str) -> str:
    """A number of things, e.g. `2 attempts`."""
    if count == inf:
        return f"an unknown number of {what}s"
    return f"{count:.0f} {what}{'' if count == 1 else 's'}"
