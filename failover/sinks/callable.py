"""Any function or coroutine function as a sink: a database, a log, a queue, another library."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, TypeAlias, cast

import msgspec

from failover.errors import ConfigError, UsageError
from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.records import AttemptEnded, Observer, notify
from failover.sink import Opening, Status, check_name, check_seconds

__all__ = ["CallableSink", "Function"]

Function: TypeAlias = Callable[[Event], Any]
"""What is called with each event; if it returns an awaitable, that is awaited."""

_TIMEOUT: Final = 1.0


class CallableSink:
    """Gives each event to a function; that it returned is the confirmation.

    A plain function runs on the loop and must not block; make one that does a coroutine function (with
    `asyncio.to_thread`, say). What is returned is the receipt's `result`, if JSON can carry it. A coroutine that is out
    of time is cancelled: UNCONFIRMED after `timeout`, ABANDONED at a caller's deadline before that. A plain function
    can't be cut short.

    Args:
        function: Called with the event.
        name: How it is called in receipts; the function's name by default.
        timeout: Seconds for one call.
        unreachable: Exceptions that say the event was not taken since something is out of order: UNREACHABLE, which is
            evidence against this sink. Any other exception is a refusal: REJECTED.
        stop: Exceptions that say the event itself is at fault: REJECTED with the verdict `stop`; the rest is `next`.

    Raises:
        ConfigError: no function, no name, or a timeout that is no positive number of seconds.
    """

    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        timeout: float = _TIMEOUT,
        unreachable: type[Exception] | tuple[type[Exception], ...] = OSError,
        stop: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        if not callable(function):
            raise ConfigError(f"a function of an event was expected, not {function!r}")
        given = getattr(function, "__name__", type(function).__name__) if name is None else name
        self.name = check_name("sink", given)
        self.function = function
        self.timeout = check_seconds("timeout", timeout)
        self.unreachable = unreachable
        self.stop = stop
        self.forget()

    def forget(self) -> None:
        """Be as declared again, see `Strategy.forget`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observers: tuple[Observer, ...] = ()
        self._calls: set[asyncio.Timeout] = set()
        self._outcomes: dict[Outcome, int] = {}

    def __repr__(self) -> str:
        return f"<CallableSink {self.name!r}>"

    async def open(self, opening: Opening) -> None:
        """Be ready for events.

        Raises:
            UsageError: it is open already.
        """
        if self._loop is not None:
            raise UsageError(f"{self.name} is open already; make a sink for each place")
        self._loop = asyncio.get_running_loop()
        self._observers = opening.observers

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:  # it has no children
        """Its timeout, for what can be cancelled then; see `failover.foresight`."""
        return WorstCase(self.timeout if within is None else min(within, self.timeout), alone=self.timeout)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Call the function; see `Sink`."""
        began = asyncio.get_running_loop().time()
        if self._loop is None:
            return self._ended(event, began, Outcome.SKIPPED, "the sink is not open")
        if deadline is not None and deadline <= began:
            return self._ended(event, began, Outcome.SKIPPED, "no time left before the deadline")
        try:
            answer = self.function(event)
            if isawaitable(answer):
                own = began + self.timeout
                cut = deadline is not None and deadline < own
                return await self._wait(event, began, answer, deadline if cut else own, cut=cut)
        except Exception as error:  # noqa: BLE001  # every outcome is data
            return self._failed(event, began, error)
        return self._ended(event, began, Outcome.CONFIRMED, result=answer)

    def status(self) -> Status:
        """How it stands; it is up while it is open."""
        up = self._loop is not None
        return Status(
            self.name, up, "" if up else "not open", in_flight=len(self._calls), outcomes=dict(self._outcomes)
        )

    async def aclose(self) -> None:
        """Cancel the calls under way; each gets its receipt. Idempotent."""
        self._loop = None
        for call in self._calls:
            if not call.expired():
                call.reschedule(0.0)

    async def _wait(
        self, event: Event, began: float, answer: Awaitable[Any], limit: float | None, *, cut: bool
    ) -> Receipt:
        """Await what the function returned, until it is out of time."""
        call = asyncio.timeout_at(limit)
        try:
            async with call:
                self._calls.add(call)
                result = await answer
        except TimeoutError as error:
            if not call.expired():  # its own
                return self._failed(event, began, error)
            if self._loop is None:
                return self._ended(event, began, Outcome.ABANDONED, "the group was closed")
            if cut:
                return self._ended(event, began, Outcome.ABANDONED, "deadline")
            return self._ended(event, began, Outcome.UNCONFIRMED, f"no answer within {self.timeout:g} s")
        except asyncio.CancelledError as cancelled:
            cancelled.receipt = self._ended(event, began, Outcome.ABANDONED, "cancelled")  # type: ignore[attr-defined]
            raise
        finally:
            self._calls.discard(call)
        return self._ended(event, began, Outcome.CONFIRMED, result=result)

    def _failed(self, event: Event, began: float, error: Exception) -> Receipt:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, self.unreachable):
            return self._ended(event, began, Outcome.UNREACHABLE, text)
        verdict = Verdict.STOP if isinstance(error, self.stop) else Verdict.NEXT
        return self._ended(event, began, Outcome.REJECTED, text, verdict=verdict)

    def _ended(
        self,
        event: Event,
        began: float,
        outcome: Outcome,
        reason: str = "",
        *,
        verdict: Verdict | None = None,
        result: object = None,
    ) -> Receipt:
        attempt = Attempt(
            event,
            self.name,
            outcome,
            began,
            asyncio.get_running_loop().time(),
            reason=reason,
            verdict=verdict,
            sent=outcome not in (Outcome.SKIPPED, Outcome.UNREACHABLE),
            error=ErrorReply(None, reason) if outcome is Outcome.REJECTED else None,
            raw_result=_raw(result),
        )
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if self._observers:
            notify(self._observers, AttemptEnded(attempt))
        return attempt


def _raw(result: object) -> msgspec.Raw | None:
    """A result as JSON; None if there is none, or JSON can't carry it."""
    if result is None:
        return None
    try:
        return msgspec.Raw(cast("Any", msgspec.json.encode(result)))
    except (TypeError, ValueError, RecursionError):
        return None
