"""A race: contenders in interleaved rounds, each compared with another's figure of the same round.

A shared machine is slower in one minute than in the next. Both figures of a ratio come from the same few seconds, and
the order changes from round to round.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from attrs import Factory, define, frozen

from tests.benchmarks.processes import CLIENT, BenchmarkError, Subscriber, measure
from tests.benchmarks.tables import aligned

__all__ = ["Contender", "Goal", "Race", "Ratio", "Result", "Settings", "in_round"]


@frozen
class Settings:
    """How long and how often.

    Args:
        rounds: Interleaved rounds of a race.
        seconds: Length of one run.
        only: Names of sections or contenders, none for all.
        say: Takes a line of progress.
    """

    rounds: int = 5
    seconds: float = 1.0
    only: frozenset[str] = frozenset()
    say: Callable[[str], object] = print


@frozen
class Goal:
    """A bound on the median ratio of one measure.

    Args:
        measure: A field of the figures.
        bound: What the ratio is to reach, or to stay under.
        at_least: Which of the two.
        against: Another contender than the one the row is compared with.
        aim: Whether it is only aimed at: shown, and not among what was missed.
    """

    measure: str
    bound: float
    at_least: bool = True
    against: str | None = None
    aim: bool = False

    def met(self, ratio: float) -> bool:
        """Whether the ratio keeps to it."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        measure = "" if self.measure == "events_per_second" else f"{self.measure.removesuffix('_us')} "
        against = f" x {self.against}" if self.against else ""
        return f"{'aim ' if self.aim else ''}{measure}{'>=' if self.at_least else '<='} {self.bound:g}{against}"


@frozen
class Contender:
    """One row of a race.

    Args:
        name: As in the table.
        command: Program and arguments; ``{python}``, ``{client}``, ``{port}`` (the first subscriber's), ``{port_2}``
            and so on, ``{ports}`` (all, with commas), ``{window}`` and ``{seconds}`` are filled in.
        window: Requests in flight.
        against: The contender its ratios refer to.
        needs: A module it can't run without.
        goals: What its ratios are to keep to.
    """

    name: str
    command: tuple[str, ...]
    window: int = 0
    against: str = "c"
    needs: str | None = None
    goals: tuple[Goal, ...] = ()


@frozen
class Ratio:
    """One measure of a contender over the same measure of another, round by round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {"median": self.median, "min": min(self.rounds), "max": max(self.rounds), "rounds": list(self.rounds)}

    def __str__(self) -> str:
        return f"{self.median:.3f} ({min(self.rounds):.3f}..{max(self.rounds):.3f})"


@define
class Result:
    """What a section found.

    Args:
        table: Lines to print.
        figures: Every raw figure, for the JSON.
        missed: Goals that were not kept, as sentences.
        failures: What broke off, as sentences.
    """

    table: list[str] = Factory(list[str])
    figures: dict[str, Any] = Factory(dict[str, Any])
    missed: list[str] = Factory(list[str])
    failures: list[str] = Factory(list[str])


@frozen
class Race:
    """A section of the benchmarks: contenders against each other on the same subscribers.

    Args:
        name: For ``--only`` and the JSON.
        title: Over the table.
        contenders: The rows, in the order of the table.
        compared: The measures whose ratios are shown.
        subscribers: The options of each C subscriber they are given; two healthy ones unless told otherwise.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    compared: tuple[str, ...] = ("events_per_second",)
    subscribers: tuple[tuple[str, ...], ...] = ((), ())

    def run(self, settings: Settings) -> Result:
        """Run all rounds and put the figures together."""
        result = Result()
        chosen = [one for one in self._chosen(settings.only) if self._can_run(one, settings)]
        if not chosen:
            return result
        runs: dict[str, list[dict[str, Any] | None]] = {one.name: [] for one in chosen}
        with ExitStack() as stack:
            ports = [str(stack.enter_context(Subscriber(*one)).port) for one in self.subscribers]
            for turn in range(settings.rounds):
                settings.say(f"{self.name}: round {turn + 1} of {settings.rounds}")
                for one in in_round(chosen, turn):
                    try:
                        runs[one.name].append(self._run_one(one, ports, settings))
                    except BenchmarkError as error:
                        runs[one.name].append(None)
                        result.failures.append(f"{self.name}, round {turn + 1}: {error}")
        self._conclude(chosen, runs, result)
        return result

    def _chosen(self, only: frozenset[str]) -> list[Contender]:
        if not only or self.name in only:
            return list(self.contenders)
        named = [one for one in self.contenders if one.name in only]
        references = {one.against for one in named} | {goal.against for one in named for goal in one.goals}
        return [one for one in self.contenders if one in named or one.name in references]

    def _can_run(self, one: Contender, settings: Settings) -> bool:
        if one.needs is None or importlib.util.find_spec(one.needs) is not None:
            return True
        settings.say(f"{self.name}: {one.name} left out, {one.needs} is not installed")
        return False

    def _run_one(self, one: Contender, ports: Sequence[str], settings: Settings) -> dict[str, Any]:
        known = {
            "python": sys.executable,
            "client": str(CLIENT),
            "port": ports[0],
            **{f"port_{at}": port for at, port in enumerate(ports, 1)},
            "ports": ",".join(ports),
            "window": str(one.window),
            "seconds": str(settings.seconds),
        }
        return measure([part.format_map(known) for part in one.command], timeout=settings.seconds * 3 + 20)

    def _conclude(
        self, chosen: Sequence[Contender], runs: Mapping[str, Sequence[Mapping[str, Any] | None]], result: Result
    ) -> None:
        rows: list[list[str]] = []
        for one in chosen:
            ratios = {key: _ratio(runs[one.name], runs.get(one.against, ()), key) for key in self.compared}
            shown = ["" if ratio is None or one.name == one.against else str(ratio) for ratio in ratios.values()]
            verdicts: list[str] = []
            for goal in one.goals:
                reference = goal.against or one.against
                ratio = _ratio(runs[one.name], runs.get(reference, ()), goal.measure)
                met = ratio is not None and goal.met(ratio.median)
                verdicts.append(f"{goal} {'met' if met else 'MISSED'}")
                if not met and not goal.aim:
                    found = f"{ratio.median:.3f}" if ratio else "unknown"
                    result.missed.append(
                        f"{self.name}: {one.name}: {goal.measure} is {found} of {reference}'s, the goal is {goal}"
                    )
            medians = [_median(runs[one.name], key, digits) for key, digits in _SHOWN]
            rows.append([one.name, str(one.window or ""), *medians, *shown, ", ".join(verdicts)])
            result.figures[one.name] = {
                "command": list(one.command),
                "window": one.window,
                "against": one.against,
                "runs": list(runs[one.name]),
                "ratios": {key: ratio.as_json() for key, ratio in ratios.items() if ratio},
            }
        compared = [f"x {key.removesuffix('_us').replace('_per_second', '/s')}" for key in self.compared]
        result.table = aligned(["", "window", *_TITLES, *compared, "goal"], rows)


_SHOWN = (("events_per_second", 0), ("p50_us", 1), ("p99_us", 1), ("p999_us", 1), ("cpu_us_per_event", 2))
_TITLES = ("events/s", "p50 us", "p99 us", "p99.9 us", "cpu us")


def in_round(contenders: Sequence[Contender], turn: int) -> list[Contender]:
    """The order of a round: each begins with the next contender, so that no one always runs first."""
    shift = turn % len(contenders) if contenders else 0
    return [*contenders[shift:], *contenders[:shift]]


def _ratio(
    mine: Sequence[Mapping[str, Any] | None], theirs: Sequence[Mapping[str, Any] | None], key: str
) -> Ratio | None:
    pairs = [(own.get(key), other.get(key)) for own, other in zip(mine, theirs, strict=False) if own and other]
    rounds = tuple(round(own / other, 4) for own, other in pairs if own is not None and other)
    return Ratio(rounds) if rounds else None


def _median(runs: Sequence[Mapping[str, Any] | None], key: str, digits: int) -> str:
    done = [run for run in runs if run]
    values = [run[key] for run in done if key in run]
    if not done:
        return "failed"
    return f"{statistics.median(values):,.{digits}f}" if values else ""
