"""Functions as sinks: what they return or raise, their time, their cancellation and their closing."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from failover.errors import ConfigError, UsageError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt
from failover.records import AttemptEnded, Record
from failover.sink import Sink, open_sink
from failover.sinks.callable import CallableSink
from failover.strategies import Failover
from tests.contract import check_sink
from tests.doubles import PlainSink, now, of, opened, opening, outcomes, run

EVENT = Event("E_A", {"caller": "alice"})


async def slow(_event: Event) -> None:
    """Take a while."""
    await asyncio.sleep(0.01)


async def stuck(_event: Event) -> None:
    """Never end."""
    await asyncio.get_running_loop().create_future()


def told(event: Event) -> str:
    """Say what came."""
    return event.name


async def told_later(event: Event) -> list[Any]:
    """Say what came, later."""
    await asyncio.sleep(0.5)
    return [event.params]


def nothing(_event: Event) -> None:
    """Return None."""


def a_set(_event: Event) -> set[int]:
    """Return what JSON has no word for, but a form."""
    return {1, 2}


def refuse(error: Exception, _event: Event) -> None:
    """Raise."""
    raise error


async def refuse_later(error: Exception, _event: Event) -> None:
    """Raise, later."""
    await asyncio.sleep(0.5)
    raise error


@pytest.mark.parametrize("function", [slow, told, told_later])
def test_contract(function: Any) -> None:
    """What `check_sink` asks of any sink holds, for functions and coroutine functions."""

    async def make() -> Sink:
        sink = CallableSink(function)
        await open_sink(sink, opening())
        return sink

    run(check_sink(make))


@pytest.mark.parametrize(
    ("function", "result"),
    [(told, "E_A"), (told_later, [{"caller": "alice"}]), (nothing, None), (a_set, [1, 2])],
)
def test_what_returns_confirms(function: Any, result: Any) -> None:
    """Whatever is returned is a confirmation, and its value the result where JSON can carry it."""
    attempt = run(deliver(CallableSink(function, name="it")))
    assert attempt.outcome is Outcome.CONFIRMED
    assert attempt.result == result
    assert attempt.maybe_processed


def test_a_result_that_json_can_not_carry() -> None:
    """It confirms all the same, without a result."""
    attempt = run(deliver(CallableSink(lambda _: object(), name="it")))
    assert attempt.confirmed
    assert attempt.result is None


async def deliver(sink: CallableSink, *, deadline: float | None = None) -> Attempt:
    """Open, deliver one, close."""
    await sink.open(opening())
    try:
        receipt = await sink.deliver(EVENT, deadline=deadline)
        assert isinstance(receipt, Attempt)
        assert sink.status().outcomes == {receipt.outcome: 1}
        assert sink.status().in_flight == 0
        return receipt
    finally:
        await sink.aclose()


@pytest.mark.parametrize("raising", [refuse, refuse_later])
@pytest.mark.parametrize(
    ("error", "outcome", "verdict", "at_fault"),
    [
        (ConnectionRefusedError("nobody there"), Outcome.UNREACHABLE, None, True),
        (TimeoutError(), Outcome.UNREACHABLE, None, True),
        (RuntimeError("no such account"), Outcome.REJECTED, Verdict.NEXT, False),
        (KeyError("callid"), Outcome.REJECTED, Verdict.STOP, False),
    ],
)
def test_what_raises(
    raising: Any, error: Exception, outcome: Outcome, verdict: Verdict | None, *, at_fault: bool
) -> None:
    """An OSError is evidence against the sink; others are refusals, those given as `stop` the fault of the event."""
    attempt = run(deliver(CallableSink(partial(raising, error), name="it", stop=KeyError)))
    assert (attempt.outcome, attempt.verdict, attempt.at_fault) == (outcome, verdict, at_fault)
    assert attempt.reason.startswith(type(error).__name__)
    assert not attempt.maybe_processed


def test_which_exceptions_are_evidence_is_a_choice() -> None:
    """`unreachable` replaces the usual table."""
    for error, outcome in ((OSError(), Outcome.REJECTED), (LookupError(), Outcome.UNREACHABLE)):
        sink = CallableSink(partial(refuse, error), name="it", unreachable=LookupError)
        assert run(deliver(sink)).outcome is outcome


def test_times() -> None:
    """Out of its own time it may have been processed and is at fault; at a caller's deadline it is only abandoned."""

    async def main() -> None:
        attempt = await deliver(CallableSink(stuck, timeout=2.0))
        assert (attempt.outcome, attempt.at_fault, attempt.took) == (Outcome.UNCONFIRMED, True, 2.0)
        attempt = await deliver(CallableSink(stuck, timeout=2.0), deadline=now() + 0.5)
        assert (attempt.outcome, attempt.at_fault, attempt.took) == (Outcome.ABANDONED, False, 0.5)
        assert attempt.maybe_processed

    run(main())


def test_cancelled_and_closed_under_way() -> None:
    """Either ends the coroutine; the attempt is abandoned, and told to observers."""
    ended: list[str] = []
    records: list[Record] = []

    async def watched(event: Event) -> None:
        try:
            await stuck(event)
        finally:
            ended.append(event.name)

    async def main() -> None:
        sink = CallableSink(watched)
        await sink.open(opening(records.append))
        with pytest.raises(UsageError, match="watched is open already"):
            await sink.open(opening())
        task = asyncio.ensure_future(sink.deliver(EVENT))
        await asyncio.sleep(0.1)
        assert sink.status().in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert getattr(caught.value, "receipt").outcome is Outcome.ABANDONED  # noqa: B009
        task = asyncio.ensure_future(sink.deliver(EVENT))
        await asyncio.sleep(0.1)
        await sink.aclose()
        assert (await task).reason == "the group was closed"
        assert ended == ["E_A", "E_A"]
        assert len(of(AttemptEnded, records)) == 2

    run(main())


def test_as_the_last_of_a_failover() -> None:
    """A function that fails is quarantined as a socket is."""

    async def main() -> None:
        async with opened(
            Failover(CallableSink(partial(refuse, OSError("disk full")), name="a"), PlainSink("b"))
        ) as tree:
            assert outcomes(await tree.deliver(EVENT)) == [("a", "unreachable"), ("b", "confirmed")]
            assert outcomes(await tree.deliver(EVENT)) == [("a", "skipped"), ("b", "confirmed")]

    run(main())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"function": None}, "a function of an event was expected, not None"),
        ({"function": told, "timeout": 0}, "timeout must be"),
        ({"function": told, "name": ""}, "non-empty"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        CallableSink(**given)
    assert CallableSink(told).name == "told"
    assert CallableSink(partial(refuse, OSError())).name == "partial"
