"""Every action against the engine's JSON-RPC sink: outcome and receipt, the same on loopback and in the simulation."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Attempt
from failover.records import BadReply, LateConfirmation, Record
from failover.sinks.jsonrpc import jsonrpc
from failover.testing import (
    Action,
    Batch,
    Close,
    Confirm,
    ConfirmUnhandled,
    Garbage,
    HandleThenDrop,
    HandleThenRefuse,
    Huge,
    Joined,
    Late,
    NoId,
    Pretty,
    Raw,
    Refuse,
    Reset,
    ScriptedSubscriber,
    Silent,
    Split,
    SplitUtf8,
    StringId,
    Twice,
    WrongId,
)
from tests.doubles import of
from tests.scripted import opened
from tests.testing.conftest import Run, until

CONFIRMED, REJECTED, UNCONFIRMED = Outcome.CONFIRMED, Outcome.REJECTED, Outcome.UNCONFIRMED
TIMEOUT = 0.03  # seconds, where there is no reply to come: it is waited for on loopback


@frozen
class Expected:
    """What becomes of one event.

    Args:
        action: What the subscriber does with it.
        outcome: The attempt's.
        processed: How often the subscriber did its work.
        reason: What the receipt's reason begins with.
        result: The result in the receipt.
        bad: What observers are told of a bad reply, if there is one.
        late: Whether a late confirmation comes.
    """

    action: Action
    outcome: Outcome
    processed: int = 1
    reason: str = ""
    result: Any = None
    bad: str = ""
    late: bool = False


NO_REPLY = "no reply within the timeout"
CASES = [
    Expected(Confirm(), CONFIRMED, result="ok"),
    Expected(Confirm({"stored": [1, None]}), CONFIRMED, result={"stored": [1, None]}),
    Expected(Confirm(delay=0.01), CONFIRMED, result="ok"),
    Expected(Refuse(), REJECTED, 0, "-32000 refused"),
    Expected(Refuse(-32602, "not here", {"why": 1}), REJECTED, 0, "-32602 not here"),
    Expected(Silent(), UNCONFIRMED, 0, NO_REPLY),
    Expected(Late(0.05), UNCONFIRMED, 1, NO_REPLY, late=True),
    Expected(Confirm(delay=0.05), UNCONFIRMED, 1, NO_REPLY, late=True),
    Expected(Close("before"), UNCONFIRMED, 0, "closed by the peer"),
    Expected(Close("amid"), UNCONFIRMED, 1, "closed by the peer"),
    Expected(Close("after"), CONFIRMED, 1, result="ok"),
    Expected(Reset("before"), UNCONFIRMED, 0, "connection lost: [Errno 104]"),
    Expected(Reset("amid"), UNCONFIRMED, 1, "connection lost: [Errno 104]"),
    Expected(HandleThenDrop(), UNCONFIRMED, 1, "closed by the peer"),
    Expected(HandleThenDrop("reset"), UNCONFIRMED, 1, "connection lost: [Errno 104]"),
    Expected(HandleThenDrop("silent"), UNCONFIRMED, 1, NO_REPLY),
    Expected(HandleThenRefuse(5, "done already"), REJECTED, 1, "5 done already"),
    Expected(ConfirmUnhandled(), CONFIRMED, 0, result="ok"),
    Expected(Twice(), CONFIRMED, result="ok", bad="a reply to an id that was answered or given up before"),
    Expected(WrongId(), UNCONFIRMED, 1, NO_REPLY, bad="a reply to an id that was never given out"),
    Expected(StringId(), UNCONFIRMED, 1, NO_REPLY, bad="Expected `int`, got `str`"),
    Expected(NoId(), UNCONFIRMED, 1, NO_REPLY, bad="Object missing required field `id`"),
    Expected(NoId(null=True), UNCONFIRMED, 1, NO_REPLY, bad="Expected `int`, got `null`"),
    Expected(Batch(), UNCONFIRMED, 1, NO_REPLY, bad="Expected `object`, got `array`"),
    Expected(Garbage(), UNCONFIRMED, 1, "unreadable reply: "),
    Expected(Joined(2, within=0.01), CONFIRMED, result="ok"),
    Expected(Split(), CONFIRMED, result="ok"),
    Expected(Split((1, 7, 20)), CONFIRMED, result="ok"),
    Expected(Split("everywhere", pause=0.0), CONFIRMED, result="ok"),
    Expected(SplitUtf8(), CONFIRMED, result="Zürich 東京 🙂"),
    Expected(Huge(200_000), UNCONFIRMED, 1, "unreadable reply: a value of more than 100000 bytes"),
    Expected(Huge(50_000), CONFIRMED, result="x" * 50_000),
    Expected(Pretty(), CONFIRMED, result={"stored": [1, 2]}),
    Expected(Raw(b'{"id":ID,"error":null}'), UNCONFIRMED, 1, "malformed reply", bad="malformed reply"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.action)[:60])
def test_what_becomes_of_an_event(run: Run, case: Expected) -> None:
    """The receipt says what the table says, and the subscriber's own account fits it."""

    async def main() -> None:
        records: list[Record] = []
        options = ConnectionOptions(max_frame=100_000)
        async with ScriptedSubscriber(script=case.action) as subscriber:
            timeout = TIMEOUT if case.reason == NO_REPLY else 5.0
            sink = jsonrpc(subscriber.socket, timeout=timeout, options=options, lazy=True)
            async with opened(sink, observers=[records.append]):
                receipt = await sink.deliver(Event("E_TEST", {"event_id": "e-1"}))
                await until(lambda: len(of(BadReply, records)) == bool(case.bad))
                await until(lambda: len(of(LateConfirmation, records)) == case.late)
                assert isinstance(receipt, Attempt)
                assert receipt.outcome is case.outcome
                assert receipt.reason.startswith(case.reason)
                assert receipt.sent
                assert (receipt.result if receipt.confirmed else None) == case.result
                assert [(done.key, done.connection, done.repeated) for done in subscriber.processed] == [
                    ("e-1", 1, False)
                ] * case.processed
                assert subscriber.counts[case.action.name] == 1
                problems = [record.problem for record in of(BadReply, records)]
                assert [problem.split(" - ")[0][: len(case.bad)] for problem in problems] == [case.bad] * bool(case.bad)
                assert [record.confirmed for record in of(LateConfirmation, records)] == [True] * case.late

    run(main)
