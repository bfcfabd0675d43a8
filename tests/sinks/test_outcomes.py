"""Every outcome of an attempt on a real socket, and what its receipt says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.records import BadReply, Record
from failover.sinks.jsonrpc import jsonrpc
from tests.scripted import (
    Action,
    Run,
    ScriptedPeer,
    after,
    black_hole,
    bytewise,
    close,
    close_after,
    close_amid,
    confirm,
    error,
    in_pairs,
    opened,
    raw,
    refusing,
    reset,
    result,
    silent,
)

EVENT = Event("E_TEST", {"caller": "alice", "n": 7})


def attempt(receipt: Receipt) -> Attempt:
    """A receipt of a socket, which is an attempt."""
    assert isinstance(receipt, Attempt)
    return receipt


def one(run: Run, *script: Action, **options: Any) -> tuple[Attempt, ScriptedPeer]:
    """Deliver one event to a peer with this script."""

    async def main() -> tuple[Attempt, ScriptedPeer]:
        async with ScriptedPeer(*script) as peer:
            sink = jsonrpc(peer.address, name="socket", **options)
            async with opened(sink):
                return attempt(await sink.deliver(EVENT)), peer

    got: tuple[Attempt, ScriptedPeer] = run(main)
    return got


def test_a_result_confirms(run: Run) -> None:
    """A reply with our id and a result is CONFIRMED; the receipt has the id that was on the wire and the result."""
    receipt, peer = one(run, result({"stored": [1, 2]}))
    assert receipt.outcome is Outcome.CONFIRMED
    assert receipt.confirmed
    assert receipt.settled
    assert receipt.sent
    assert receipt.maybe_processed
    assert receipt.request_id == peer.calls[0].id
    assert receipt.result == {"stored": [1, 2]}
    assert receipt.error is None
    assert receipt.verdict is None
    assert receipt.reason == ""
    assert receipt.sink == "socket"
    assert receipt.event is EVENT
    assert 0 <= receipt.took < 1


def test_a_request_is_written_as_opensips_writes_it(run: Run) -> None:
    """The bytes on the wire are OpenSIPS's, with a positive 31-bit id."""
    receipt, peer = one(run)
    assert receipt.request_id is not None
    assert 0 < receipt.request_id < 2**31
    body = b'"jsonrpc":"2.0","method":"E_TEST","params":{"caller":"alice","n":7}}'
    assert peer.calls[0].raw == b'{"id":%d,' % receipt.request_id + body


@pytest.mark.parametrize(
    ("code", "verdict", "settled"),
    [
        (-32600, Verdict.STOP, True),
        (-32602, Verdict.STOP, True),
        (-32601, Verdict.NEXT, False),
        (-32603, Verdict.NEXT, False),
        (-32700, Verdict.NEXT, False),
        (-32000, Verdict.NEXT, False),
        (17, Verdict.NEXT, False),
    ],
)
def test_an_error_rejects_by_the_default_verdicts(run: Run, code: int, verdict: Verdict, *, settled: bool) -> None:
    """An error is REJECTED with its code, text and data; two of the standard codes blame the event."""
    receipt, _ = one(run, error(code, "not here", {"why": "x"}))
    assert receipt.outcome is Outcome.REJECTED
    assert receipt.error == ErrorReply(code, "not here", {"why": "x"})
    assert receipt.reason == f"{code} not here"
    assert receipt.verdict is verdict
    assert receipt.settled is settled
    assert receipt.sent
    assert not receipt.maybe_processed
    assert not receipt.at_fault


@pytest.mark.parametrize(
    ("verdict", "settled", "confirmed"),
    [("next", False, False), ("stop", True, False), ("busy", False, False), ("confirm", True, True)],
)
def test_verdicts_by_table(run: Run, verdict: str, *, settled: bool, confirmed: bool) -> None:
    """A table says what a code means; a code that it doesn't name goes to the next."""
    receipt, _ = one(run, error(5), verdicts={5: verdict})
    assert receipt.outcome is Outcome.REJECTED
    assert receipt.verdict is Verdict(verdict)
    assert (receipt.settled, receipt.confirmed) == (settled, confirmed)
    other, _ = one(run, error(-32602), verdicts={5: verdict})
    assert other.verdict is Verdict.NEXT


def test_verdicts_by_function(run: Run) -> None:
    """A function of the whole error reply gives the verdict."""
    seen: list[ErrorReply] = []

    def judge(reply: ErrorReply) -> Verdict:
        seen.append(reply)
        return Verdict.CONFIRM if "already" in reply.text else Verdict.STOP

    assert one(run, error(1, "already done"), verdicts=judge)[0].confirmed
    assert one(run, error(1, "never"), verdicts=judge)[0].verdict is Verdict.STOP
    assert seen == [ErrorReply(1, "already done"), ErrorReply(1, "never")]


def test_a_verdict_function_that_raises(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A fault in the verdict function is logged, means `next`, and harms no neighbour on the connection."""

    def judge(reply: ErrorReply) -> Verdict:
        raise ZeroDivisionError(reply.code)

    async def main() -> tuple[Receipt, Receipt]:
        async with ScriptedPeer(
            silent,
            lambda call: call.link.write(
                call.link.calls[0].reply(error={"code": 1, "message": "x"}) + call.reply(result=1)
            ),
        ) as peer:
            sink = jsonrpc(peer.address, verdicts=judge)
            async with opened(sink):
                return tuple(await asyncio.gather(sink.deliver(EVENT), sink.deliver(EVENT)))  # type: ignore[return-value]

    first, second = run(main)
    assert (first.outcome, first.verdict) == (Outcome.REJECTED, Verdict.NEXT)
    assert second.confirmed
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("body", ['"down"', "17", "[1]", "true", '{"message":7}', '{"code":"x","message":"m"}'])
def test_any_error_that_is_not_null_is_an_error(run: Run, body: str) -> None:
    """Whatever stands under `error` refuses the event, if it isn't null; it is kept as text."""
    receipt, _ = one(run, raw(b'{"id":ID,"error":%b}' % body.encode()))
    assert receipt.outcome is Outcome.REJECTED
    assert receipt.error is not None
    assert receipt.error.code is None
    assert receipt.error.text
    assert receipt.verdict is Verdict.NEXT


@pytest.mark.parametrize(
    "reply",
    [
        b'{"id":ID,"result":null}',
        b'{"id":ID,"result":1,"error":null}',
        b'{"error":null,"result":1,"id":ID}',
        b'{"id":ID,"result":1,"ERROR":{"code":1}}',
        b'{"id":ID,"result":1,"jsonrpc":"1.0","extra":[{}]}',
        b'\n{\n  "id": ID,\n  "result": "ok"\n}\r\n\t ',
        b'{"result":"}{\\"id\\":7}","id":ID}',
    ],
)
def test_what_confirms(run: Run, reply: bytes) -> None:
    """A result confirms, null too, whatever stands beside it and however it is laid out."""
    receipt, _ = one(run, raw(reply))
    assert receipt.outcome is Outcome.CONFIRMED
    assert receipt.raw_result is not None


@pytest.mark.parametrize("reply", [b'{"id":ID}', b'{"id":ID,"error":null}', b'{"id":ID,"ERROR":1}'])
def test_neither_result_nor_error_is_unconfirmed_and_reported(run: Run, reply: bytes) -> None:
    """A reply with our id and nothing else confirms nothing, and observers hear of it."""

    async def main() -> tuple[Attempt, list[Record]]:
        records: list[Record] = []
        async with ScriptedPeer(raw(reply)) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink, observers=[records.append]):
                return attempt(await sink.deliver(EVENT)), records

    receipt, records = run(main)
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert receipt.reason.startswith("malformed reply")
    assert receipt.maybe_processed
    assert [record.problem for record in records if isinstance(record, BadReply)] == [receipt.reason]


def test_a_peer_that_refuses_connects_is_unreachable(run: Run) -> None:
    """Nobody listens: UNREACHABLE, nothing left, and the reason says refused."""

    async def main() -> Attempt:
        with refusing() as address:
            sink = jsonrpc(address)
            async with opened(sink):
                return attempt(await sink.deliver(EVENT))

    receipt = run(main)
    assert receipt.outcome is Outcome.UNREACHABLE
    assert not receipt.sent
    assert receipt.request_id is None
    assert not receipt.maybe_processed
    assert receipt.at_fault
    assert receipt.reason == "connect: Connection refused"
    assert receipt.took < 0.1


def test_a_black_hole_is_unreachable_at_the_connect_cap(run: Run) -> None:
    """A connect that gets no answer ends at its own cap, before the attempt's timeout."""

    async def main() -> Attempt:
        with black_hole() as address:
            sink = jsonrpc(address, options=ConnectionOptions(connect_timeout=0.05))
            async with opened(sink):
                return attempt(await sink.deliver(EVENT))

    receipt = run(main)
    assert receipt.outcome is Outcome.UNREACHABLE
    assert receipt.reason == "connect: no answer within 0.05 s"
    assert 0.045 <= receipt.took < 0.2


def test_a_connect_that_outlasts_the_timeout_is_unreachable(run: Run) -> None:
    """The attempt's timeout covers the connect."""

    async def main() -> Attempt:
        with black_hole() as address:
            sink = jsonrpc(address, timeout=0.03)
            async with opened(sink):
                return attempt(await sink.deliver(EVENT))

    receipt = run(main)
    assert receipt.outcome is Outcome.UNREACHABLE
    assert receipt.reason == "no connection within the timeout"
    assert 0.03 - 1e-6 <= receipt.took < 0.2


def test_silence_is_unconfirmed_at_the_timeout(run: Run) -> None:
    """A request without a reply is UNCONFIRMED, not before its timeout, and may have been processed."""
    receipt, _ = one(run, silent, timeout=0.03)
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert receipt.sent
    assert receipt.maybe_processed
    assert receipt.at_fault
    assert receipt.reason == "no reply within the timeout"
    assert receipt.took >= 0.03 - 1e-6  # differences of uvloop's milliseconds


@pytest.mark.parametrize(
    ("action", "reason"),
    [(close, "closed by the peer"), (close_amid, "closed by the peer"), (reset, "connection lost: ")],
)
def test_an_end_before_the_reply_is_unconfirmed_at_once(run: Run, action: Action, reason: str) -> None:
    """A connection that ends or is reset before or amid the reply is seen at once, long before the timeout."""
    receipt, _ = one(run, action)
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert receipt.sent
    assert receipt.reason.startswith(reason)
    assert receipt.took < 0.5


@pytest.mark.parametrize("action", [close_after, bytewise, after(confirm, reset)])
def test_a_whole_reply_confirms_however_it_ends(run: Run, action: Action) -> None:
    """A reply that came whole confirms, in whatever pieces, even if the connection ends right after it."""
    receipt, _ = one(run, action)
    assert receipt.outcome in (Outcome.CONFIRMED, Outcome.UNCONFIRMED) if action is not bytewise else receipt.confirmed
    if action is close_after:
        assert receipt.confirmed


def test_two_replies_in_one_segment_the_newer_first(run: Run) -> None:
    """Replies in any order and joined in one segment reach their own events."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(in_pairs) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                return await asyncio.gather(*(sink.deliver(Event(f"E_{number}")) for number in range(8)))

    receipts = run(main)
    assert all(receipt.confirmed for receipt in receipts)


def test_a_result_of_a_mebibyte(run: Run) -> None:
    """A reply of 1 MiB is matched like any other."""
    receipt, _ = one(run, result("x" * 2**20))
    assert receipt.confirmed
    assert len(receipt.result) == 2**20


def test_a_reply_over_max_frame_breaks_the_connection(run: Run) -> None:
    """A reply longer than `max_frame` is not read to its end: no boundary after it can be trusted."""
    receipt, _ = one(run, result("x" * 2000), options=ConnectionOptions(max_frame=1000))
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert receipt.reason.startswith("unreadable reply: a value of more than 1000 bytes")


def test_a_reply_over_max_depth_breaks_the_connection(run: Run) -> None:
    """A reply nested deeper than `max_depth` is not decoded; just as deep is."""
    options = ConnectionOptions(max_depth=4)
    receipt, _ = one(run, raw(b'{"id":ID,"result":[[[[1]]]]}'), options=options)
    assert receipt.outcome is Outcome.UNCONFIRMED
    assert receipt.reason.startswith("unreadable reply: a value of more than 4 levels")
    assert one(run, raw(b'{"id":ID,"result":[[[1]]]}'), options=options)[0].confirmed
