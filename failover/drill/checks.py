"""The verdicts of a drill: what its checkers find, and whether the steady state held."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, cast

from attrs import frozen
from msgspec import UNSET

from failover.drill.named import named
from failover.drill.plan import Bounds, Drill, Own
from failover.drill.recorder import Recorder, Slot
from failover.errors import ConfigError, did_you_mean
from failover.testing import checkers
from failover.testing.checkers import Checker, Finding

__all__ = ["Check", "Verdict", "checks_of", "parts_of", "verdicts"]

_BEHIND: Final = 20  # events that a finding about many names
_NOT_CHECKERS: Final = {"ALL", "SLACK", "Checker", "Finding", "check"}
_NOT_BY_DEFAULT: Final = {"in_order"}
_NEEDS_ACCOUNT: Final = {"nothing_confirmed_unprocessed"}
_NEEDS_WIRE: Final = {"answers_heard", "no_harm_to_others"}
_NEEDS_PATIENCE: Final = {"moved_on_within", "deadlines_kept"}
_PATIENCE: Final = 0.25
"""Seconds by which something may be late by default on a real machine, which does other things as well."""


@frozen
class Check:
    """A checker with the arguments that a drill gives it.

    Args:
        name: What it is called in the drill.
        promise: What it checks, in a sentence.
        checker: The checker.
    """

    name: str
    promise: str
    checker: Checker


@frozen
class Verdict:
    """What came of one check.

    Args:
        name: Its name.
        promise: What it checks, in a sentence.
        findings: What it found; empty if it holds.
        shown: What was measured, if anything was.
        skipped: Why it could not be judged; empty if it was.
    """

    name: str
    promise: str
    findings: tuple[Finding, ...] = ()
    shown: str = ""
    skipped: str = ""

    @property
    def holds(self) -> bool:
        """Whether nothing was found; also of what could not be judged."""
        return not self.findings


def checks_of(drill: Drill) -> tuple[Check, ...]:
    """The checks that a drill asks for: all that hold for every group, but those it leaves out, and those it adds.

    Raises:
        ConfigError: a checker that doesn't exist, or arguments that it doesn't take.
    """
    known = {name: getattr(checkers, name) for name in checkers.__all__ if name not in _NOT_CHECKERS}
    asked: dict[str, Any] = {name: True for name in known if name not in _NOT_BY_DEFAULT}
    for name, given in drill.checks.items():
        if name not in known and ":" not in name:
            meant = did_you_mean(name, known)
            raise ConfigError(
                f"checks.{name}: there is no such checker; {meant}known are {', '.join(known)}, "
                "and your own as 'module:function'"
            )
        asked[name] = given
    if drill.drill.on == "sockets":
        for name in _NEEDS_PATIENCE:
            if asked[name] is True:
                asked[name] = {"slack": _PATIENCE}
    return tuple(
        _check(name, known.get(name) or named(name, f'checks."{name}"'), given)
        for name, given in asked.items()
        if given is not False
    )


def _check(name: str, function: Callable[..., Any], given: Any) -> Check:
    promise = " ".join((inspect.getdoc(function) or name).partition("\n\n")[0].split())
    promise = promise.removeprefix("Make a checker: ")
    plain = next(iter(inspect.signature(function).parameters), "") == "history"
    if plain:
        if given is not True:
            raise ConfigError(f"checks.{name}: it takes no arguments; say true or false, not {given!r}")
        return Check(name, _sentence(promise), cast("Checker", function))
    arguments = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    values = [] if given is True or isinstance(given, dict) else [given]
    try:
        bound = inspect.signature(function).bind(*values, **arguments)
    except TypeError as error:
        raise ConfigError(f"checks.{name}: {error}; {_takes(function)}") from None
    _check_values(name, bound.arguments)
    return Check(name, _sentence(promise), function(*bound.args, **bound.kwargs))


def _check_values(name: str, arguments: dict[str, Any]) -> None:
    """All arguments of checkers are numbers, or tables of them."""
    for key, value in arguments.items():
        values = list(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else [value]
        if not all(type(one) in {int, float} and one >= 0 for one in values):
            raise ConfigError(f"checks.{name}.{key}: expected a number of 0 or more, or a table of them, not {value!r}")


def _takes(function: Callable[..., Any]) -> str:
    return f"it takes {', '.join(inspect.signature(function).parameters)}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def parts_of(drill: Drill) -> tuple[float, ...]:
    """Where the time of the faults begins and ends, seconds after the load has begun; empty without faults."""
    trouble = drill.trouble
    return () if trouble is None else trouble


def verdicts(
    drill: Drill, checks: tuple[Check, ...], recorder: Recorder, subscribers: tuple[Own, ...]
) -> tuple[Verdict, ...]:
    """Judge a run that has ended."""
    silent = [own.name for own in subscribers if own.own and own.processed is None]
    judged: list[Verdict] = []
    for check in checks:
        if drill.drill.on == "sockets" and check.name in _NEEDS_WIRE:
            judged.append(Verdict(check.name, check.promise, skipped="only the simulation sees all of the network"))
            continue
        if silent and check.name in _NEEDS_ACCOUNT:
            reason = f"{', '.join(silent)} doesn't tell what it processed (subscriber.processed)"
            judged.append(Verdict(check.name, check.promise, skipped=reason))
            continue
        found = dict.fromkeys(finding for finding in recorder.findings if finding.clause == check.name)
        found.update(dict.fromkeys(check.checker(recorder)))
        judged.append(Verdict(check.name, check.promise, tuple(found)))
    judged += _states(drill, recorder)
    return tuple(judged)


def _states(drill: Drill, recorder: Recorder) -> Iterator[Verdict]:
    """Whether the steady state held before the faults and after them, and what was asked for in between."""
    bounds = parts_of(drill)
    if not bounds:
        if drill.steady is not UNSET:
            yield _state("steady_state", "", drill.steady, recorder, 0)
        return
    first, last = bounds
    if drill.steady is not UNSET:
        yield _state("steady_state_before", f" before the faults, up to {first:g} s", drill.steady, recorder, 0)
    if drill.during is not UNSET:
        until = f"{last:g} s" if last < drill.drill.duration else "the end"
        yield _state("during_the_faults", f" during the faults, {first:g} s to {until}", drill.during, recorder, 1)
    if drill.steady is not UNSET:
        if last < drill.drill.duration:
            yield _state("steady_state_after", f" after the faults, from {last:g} s on", drill.steady, recorder, 2)
        else:
            yield Verdict("steady_state_after", "The steady state holds after the faults", skipped=_NO_AFTER)


_NO_AFTER: Final = "faults last to the end: give them `for`, and the drill a longer duration"


def _state(name: str, when: str, bounds: Bounds, recorder: Recorder, part: int) -> Verdict:
    slot = recorder.parts[part]
    if not slot.raised:
        return Verdict(name, f"The steady state{when}", skipped="no event was raised then")
    shown: list[str] = []
    findings: list[Finding] = []
    asked: list[str] = []
    share = slot.confirmed / slot.raised
    shown.append(f"{slot.confirmed} of {slot.raised} confirmed ({share:.2%})")
    at = recorder.began + (0.0 if part == 0 else recorder.bounds[part - 1])
    if bounds.confirmed is not None:
        asked.append(f"at least {bounds.confirmed:.2%} are confirmed")
        if share < bounds.confirmed:
            lost, first = _events(recorder, part, lambda took: took is None)
            text = f"{share:.2%} of the events{when} were confirmed, not {bounds.confirmed:.2%}"
            findings.append(Finding(name, text, lost, first or at))
    for label, most, took in _times_of(bounds, slot):
        if most is None:
            continue
        asked.append(f"{label} is at most {most * 1e3:g} ms")
        if took is not None:
            shown.append(f"{label} {took * 1e3:.1f} ms")
            if took > most:
                slow, first = _events(recorder, part, partial(_longer, most))
                text = f"{label} of the events{when} was {took * 1e3:.1f} ms, not {most * 1e3:g} ms"
                findings.append(Finding(name, text, slow, first or at))
    promise = f"{_sentence(when.strip() or 'throughout')}: {', '.join(asked) or 'nothing is asked for'}"
    return Verdict(name, promise, tuple(findings), ", ".join(shown))


def _longer(most: float, took: float | None) -> bool:
    return took is not None and took > most


def _times_of(bounds: Bounds, slot: Slot) -> Iterator[tuple[str, float | None, float | None]]:
    latencies = slot.latencies
    yield "p50", bounds.p50, latencies.quantile(0.50)
    yield "p90", bounds.p90, latencies.quantile(0.90)
    yield "p99", bounds.p99, latencies.quantile(0.99)
    yield "the longest", bounds.longest, latencies.longest if latencies.count else None


def _events(
    recorder: Recorder, part: int, wanted: Callable[[float | None], bool]
) -> tuple[tuple[str, ...], float | None]:
    """The first events of a part of which that is true, and when the first of them was raised."""
    found: list[str] = []
    first: float | None = None
    for story in recorder.stories.values():
        if not story.raised or not story.ended or recorder.part(story.raised[0].at) != part:
            continue
        ended = story.ended[0]
        took = ended.at - story.raised[0].at if ended.receipt.confirmed else None
        if wanted(took) and len(found) < _BEHIND:
            found.append(story.event)
            first = story.raised[0].at if first is None else first
    return tuple(found), first
