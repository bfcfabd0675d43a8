"""Health: when a child is taken out of service, for how long, and how it comes back. Pure: times are arguments."""

from __future__ import annotations

from math import exp, inf
from typing import Final, Literal, TypeAlias, get_args

from attrs import field, frozen

from failover.errors import ConfigError
from failover.sink import check_seconds

__all__ = ["QUARANTINE", "Change", "Failback", "Health", "Probe", "Standing"]

QUARANTINE: Final = 30.0
"""Seconds for which a child at fault is skipped. Source: OpenSIPS event_virtual, `failover_timeout`."""

Failback: TypeAlias = Literal["cautious", "eager", "stay", "manual"]
"""How a child comes back: `cautious`, one event on trial, then as many at once as it has answered, until it has shown
itself; `eager`, all events as soon as its quarantine is over (OpenSIPS's way); `stay`, not while the others do; or
`manual`, by hand."""

Change: TypeAlias = Literal["", "reinstated", "recovered"]
"""What an answer changes: nothing, it brings a child back into service, or its slow start is over."""


@frozen(kw_only=True)
class Probe:
    """How a child that is out is asked whether it would answer; one that is in service never is.

    Args:
        method: The JSON-RPC method that is called, without params; any reply will do. None only connects.
        every: Seconds between two probes.
        timeout: Seconds for one.

    Raises:
        ConfigError: a time that is no positive number of seconds, or an empty method.
    """

    method: str | None = None
    every: float = 1.0
    timeout: float = 1.0

    def __attrs_post_init__(self) -> None:
        check_seconds("the time between probes (every)", self.every)
        check_seconds("the timeout of a probe", self.timeout)
        if self.method is not None and (not isinstance(self.method, str) or not self.method):
            raise ConfigError(f"the method of a Probe must be a non-empty string or None, not {self.method!r}")


@frozen(kw_only=True)
class Health:
    """When a strategy takes a child out of service, for how long, and how it comes back.

    A failure is what is evidence against the child: it was unreachable, or silent past its own timeout. An answer is
    any reply, a refusal as well. Our own impatience is neither.

    Args:
        quarantine: Seconds for which a child is out the first time; 0 takes nobody out.
        failures: How many failures in a row take a child out; by default 1, or with a `ratio` no number of them.
        ratio: Which share of failures among failures and answers, above 0 to 1, takes a child out. It counts from the
            very first event; None doesn't look at it.
        window: Seconds after which a failure or an answer weighs 1/e in the ratio of what a new one does.
        growth: What the time is multiplied with each time the child fails again before it has recovered; 1 or more.
        longest: Seconds that it grows to at most, and that a busy child can ask for; at least `quarantine`.
        jitter: Share of the time, 0 to 1, by which it is longer or shorter at random, so that many who lost the same
            child don't come back to it in one moment.
        failback: How a child comes back.
        slow_start: With `cautious`, how many answers it takes until any number of events may be in flight at the child;
            each answer makes room for one more. 1 begins with all of them after the first.
        probe: How a child that is out is asked whether it would answer; None waits for the time to run out.

    Raises:
        ConfigError: an argument out of its range.

    Source: OpenSIPS event_virtual; RFC 5681 section 3.1 (slow start: what is in flight grows with what is answered).
    """

    quarantine: float = QUARANTINE
    failures: int | None = None
    ratio: float | None = None
    window: float = 10.0
    growth: float = 1.0
    longest: float = 3600.0
    jitter: float = 0.0
    failback: Failback = "cautious"
    slow_start: int = 64
    probe: Probe | None = None
    trips_at: float = field(init=False, repr=False)
    """How many failures in a row take a child out; infinite if only the ratio does."""

    def __attrs_post_init__(self) -> None:
        check_seconds("quarantine", self.quarantine, zero=True)
        check_seconds("window", self.window)
        check_seconds("longest", self.longest)
        if not (_is_number(self.growth) and 1 <= self.growth < inf):
            raise ConfigError(f"growth must be a number, 1 or more, not {self.growth!r}")
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise ConfigError(f"jitter must be a share of the time, 0 to 1, not {self.jitter!r}")
        if self.ratio is not None and not (_is_number(self.ratio) and 0 < self.ratio <= 1):
            raise ConfigError(f"ratio must be a share, above 0 and 1 at most, or None, not {self.ratio!r}")
        for name, value in (("failures", self.failures), ("slow_start", self.slow_start)):
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{name} must be a whole number from 1, not {value!r}")
        if self.failback not in get_args(Failback):
            known = ", ".join(map(repr, get_args(Failback)))
            raise ConfigError(f"failback must be one of {known}, not {self.failback!r}")
        if self.probe is not None and not isinstance(self.probe, Probe):
            raise ConfigError(f"probe must be a Probe, e.g. Probe(method='ping'), or None, not {self.probe!r}")
        trips_at = (inf if self.ratio is not None else 1) if self.failures is None else self.failures
        object.__setattr__(self, "trips_at", trips_at)


class Standing:
    """How one child stands under a policy.

    In service, it fails and is out; when that time is over, it is on trial; when it answers, it is in service again, at
    first slowly. Whoever asks says what time it is.

    Args:
        policy: The rules.
    """

    __slots__ = (
        "_bad",
        "_busy_until",
        "_counted",
        "_failures",
        "_good",
        "_room",
        "_seconds",
        "answering",
        "by_hand",
        "out_since",
        "out_until",
        "policy",
        "reason",
        "steady",
        "trial",
    )

    def __init__(self, policy: Health) -> None:
        self.policy = policy
        self.trial = 0
        """How many events are under way here that began while it was not steady."""
        self.out_since = 0.0
        """Loop time since which it is out, seconds."""
        self.reinstate()

    def reinstate(self) -> None:
        """Be in service, whatever was before."""
        self.out_until = 0.0
        """Loop time until which it is skipped, seconds; 0 in service, infinite if no time brings it back."""
        self.reason = ""
        """What took it out."""
        self.by_hand = False
        """Whether somebody took it out, so that nothing but somebody brings it back."""
        self.answering = False
        """Whether it has answered since it is out, and is left out all the same."""
        self._busy_until = 0.0
        self._room = 0  # how many may be in flight at most; 0 for any number
        self._seconds = 0.0  # how long it was out the last time, while that matters
        self._failures = 0
        self._forget()
        self.steady = self.policy.ratio is None
        """Whether it is in service and has nothing to remember: then neither is it asked nor told of an answer."""

    def admits(self, now: float, more: int = 0) -> bool:
        """Whether one more event may be tried here, `more` being about to begin besides those under way."""
        if self._busy_until:
            if now < self._busy_until:
                return False
            self._busy_until = 0.0
            self._calm()
        if self.out_until > now:
            return False
        return not self._room or self.trial + more < self._room

    @property
    def in_slow_start(self) -> bool:
        """Whether it is back in service, but not for any number of events at once."""
        return self._room > 0 and not self.out_until

    def fail(self, now: float, draw: float) -> float | None:
        """Count a failure.

        Args:
            now: When.
            draw: A number drawn from 0 to 1, for the jitter.

        Returns:
            Seconds for which it is to be out; None if it may stay in service.
        """
        policy = self.policy
        self.steady = False
        self._failures += 1
        share = self._count(now, bad=1.0)
        in_service = not self.out_until and not self._room
        if in_service and self._failures < policy.trips_at and (policy.ratio is None or share < policy.ratio):
            return None
        if not self._seconds:
            self._seconds = policy.quarantine
        elif now >= self.out_until:  # its time was over: not one more failure of those that took it out
            self._seconds = min(self._seconds * policy.growth, max(policy.longest, policy.quarantine))
        return self._seconds * (1.0 + policy.jitter * (2.0 * draw - 1.0))

    def take_out(self, now: float, seconds: float, reason: str) -> None:
        """Be out from now on; one that is out already stays out for longer."""
        if not self.out_until:
            self.out_since = now
        failback = self.policy.failback
        self.out_until = inf if failback in ("stay", "manual") or self.by_hand else now + seconds
        self._room = 0 if failback == "eager" else 1
        self.reason = reason
        self.answering = False
        self.steady = False

    def push_back(self, now: float, seconds: float) -> float:
        """Be passed over for a while without being at fault, since it is busy; return until when."""
        self._busy_until = max(self._busy_until, now + min(seconds, self.policy.longest))
        self.steady = False
        return self._busy_until

    def answer(self, now: float, *, tried: bool = True) -> Change:
        """Count an answer.

        Args:
            now: When.
            tried: Whether it answered an event that was meant to be tried here now; a late reply is none.
        """
        if self.by_hand:
            return ""
        failback = self.policy.failback
        if self.out_until and (failback == "manual" or (failback == "stay" and not tried)):
            self.answering = True
            return ""
        change: Change = ""
        if self.out_until:
            self.out_until = 0.0
            self._forget()
            change = "reinstated"
        self._failures = 0
        self._count(now, good=1.0)
        if self._room:
            self._room += 1
            if self._room > self.policy.slow_start:
                self._room = 0
                change = change or "recovered"
        self._calm()
        return change

    def serve(self, now: float) -> bool:
        """Have the time over, since a probe was answered; whether an event may be tried here from now on."""
        if self.out_until == inf:
            self.answering = not self.by_hand
        elif self.out_until > now:
            self.out_until = now
            return True
        return False

    def why_not(self, now: float) -> str:
        """Why it is passed over, for a receipt."""
        if self.by_hand:
            return f"taken out by hand ({self.reason})"
        if self._busy_until > now:
            return f"busy for {self._busy_until - now:.1f} s more, as it asked"
        if self.out_until == inf:
            until = "it is reinstated" if self.policy.failback == "manual" else "the others fail"
            return f"out until {until} ({self.reason})"
        if self.out_until > now or (self.out_until and not self._room):
            return f"quarantined for {max(0.0, self.out_until - now):.1f} s more ({self.reason})"
        if self.out_until:
            return f"on trial after its quarantine ({self.reason})"
        if self._room:
            return f"in slow start, as much in flight as it may have: {self._room}"
        return "it was out of service when its turn came"

    def _calm(self) -> None:
        """Find out whether anything is left to remember."""
        if self.out_until or self._room:
            return
        self._seconds = 0.0
        self.steady = not (self._busy_until or self._failures or self.by_hand) and self.policy.ratio is None

    def _forget(self) -> None:
        self._good = self._bad = self._counted = 0.0

    def _count(self, now: float, *, good: float = 0.0, bad: float = 0.0) -> float:
        """Count one more, older ones fading; return the share of failures."""
        if self.policy.ratio is None:
            return 0.0
        fading = exp(min(0.0, self._counted - now) / self.policy.window)
        self._good, self._bad = self._good * fading + good, self._bad * fading + bad
        self._counted = max(self._counted, now)
        return self._bad / (self._good + self._bad)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
