"""Group 6: requests arrive in any segmentation. Group 7: in batches."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from failover.conformance.clauses import clause
from failover.conformance.exam import INVALID_REQUEST, UNKNOWN, Exam
from failover.conformance.line import Fault, Line, expect_id

__all__: list[str] = []

_STREAM = "RFC 9293: TCP is a stream of bytes, not of segments"
_CONCATENATED = "OpenSIPS wire: nothing stands between requests"
_BATCH = "JSON-RPC 2.0 section 6"
_EACH = "one reply to each, in any order"
_PAUSE = 0.001  # seconds, so that a piece is a segment of its own


@clause("6.1-pipelined", _STREAM, _EACH)
async def pipelined(exam: Exam) -> None:
    """8 requests in one segment are each answered once."""
    ids = [exam.id() for _ in range(8)]
    async with exam.line() as line:
        await line.send(b"".join(exam.request(asked) for asked in ids))
        await line.answers(ids)
        await line.silence()


@clause("6.2-concatenated", _CONCATENATED, _EACH)
async def concatenated(exam: Exam) -> None:
    """2 requests with nothing between them are two requests."""
    ids = [exam.id(), exam.id()]
    async with exam.line() as line:
        await line.send(exam.wire(b"".join(b'{"id":%d%b' % (asked, exam.tail()) for asked in ids)))
        await line.answers(ids)
        await line.silence()


@clause("6.3-many-pipelined", _STREAM, _EACH)
async def many_pipelined(exam: Exam) -> None:
    """200 requests in one go are each answered once."""
    ids = [exam.id() for _ in range(200)]
    async with exam.line() as line:
        await line.send(b"".join(exam.request(asked) for asked in ids))
        await line.answers(ids)
        await line.silence()


@clause("6.4-whitespace-between", "RFC 8259 section 2", _EACH)
async def whitespace_between(exam: Exam) -> None:
    """Newlines, spaces and tabs before, between and after requests mean nothing."""
    ids = [exam.id() for _ in range(4)]
    one, two, three, four = (exam.request(asked) for asked in ids)
    async with exam.line() as line:
        await line.send(b" \r\n" + one + b"\n" + two + b"\r\n\r\n" + three + b" \t" + four + b"\n")
        await line.answers(ids)
        await line.silence()


@clause("6.5-every-byte", _STREAM, "a reply with the request's id")
async def every_byte(exam: Exam) -> None:
    """A request may come one byte at a time."""
    asked = exam.id()
    text = exam.request(asked)
    async with exam.line() as line:
        await _in_pieces(line, [text[at : at + 1] for at in range(len(text))])
        exam.understood(await line.answer(asked))


@clause("6.6-every-split", _STREAM, _EACH)
async def every_split(exam: Exam) -> None:
    """A request may be cut in two at any place."""
    size = len(exam.request(exam.id()))
    async with exam.line() as line:
        for at in range(1, size):
            asked = exam.id()
            text = exam.request(asked)
            await _in_pieces(line, [text[:at], text[at:]])
            try:
                await line.answer(asked)
            except Fault as fault:
                raise Fault(f"cut after byte {at} of {len(text)}: {fault}") from None


@clause("6.7-split-utf8", _STREAM, "a reply, the text unharmed")
async def split_utf8(exam: Exam) -> None:
    """A character of several bytes may be cut by segments."""
    params: Any = exam.params(("extra", "電📞"))
    text = exam.request(asked := exam.id(), params)
    start = text.index("電".encode())
    cuts = [start + 1, start + 2, start + 4, start + 5, start + 6]
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    async with exam.line() as line:
        await _in_pieces(line, pieces)
        named = isinstance(params[0], tuple)
        exam.understood(await line.answer(asked), dict(params) if named else params)


@clause("6.8-odd-pieces", _STREAM, _EACH)
async def odd_pieces(exam: Exam) -> None:
    """Segments that end amid a request and begin the next one are read."""
    ids = [exam.id() for _ in range(12)]
    text = b"".join(exam.request(asked) for asked in ids)
    async with exam.line() as line:
        await _in_pieces(line, [text[at : at + 97] for at in range(0, len(text), 97)])
        await line.answers(ids)
        await line.silence()


@clause("6.9-slow-sender", _STREAM, "a reply with the request's id")
async def slow_sender(exam: Exam) -> None:
    """A request may take longer to come than its reply may take."""
    asked = exam.id()
    text = exam.request(asked)
    cut = [text[: len(text) // 3], text[len(text) // 3 : -2], text[-2:]]
    async with exam.line() as line:
        await _in_pieces(line, cut, pause=0.6 * exam.subject.timeout)
        await line.answer(asked)


async def _in_pieces(line: Line, pieces: list[bytes], *, pause: float = _PAUSE) -> None:
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(pause)
        await line.send(piece)


def _member(exam: Exam, asked: int) -> bytes:
    return b'{"id":%d%b' % (asked, exam.tail())


async def _batch(exam: Exam, line: Line, members: list[bytes], ids: list[int | None]) -> None:
    """Send a batch and check that an array with exactly these ids comes."""
    await line.send(exam.wire(b"[" + b",".join(members) + b"]"))
    value: Any = await line.value()
    if isinstance(value, dict):
        raise Fault("a batch was not answered with an array")
    found = [cast("dict[str, Any]", each).get("id", "none") if isinstance(each, dict) else each for each in value]
    if sorted(map(repr, found)) != sorted(map(repr, ids)):
        raise Fault(f"the replies have the ids {found}; expected {ids}")


@clause("7.1-batch", _BATCH, "an array of one reply to each, in any order", should=True)
async def batch(exam: Exam) -> None:
    """A batch is answered with an array."""
    ids = [exam.id() for _ in range(3)]
    async with exam.line() as line:
        await _batch(exam, line, [_member(exam, asked) for asked in ids], [*ids])


@clause("7.2-batch-with-notification", _BATCH, "an array of the replies to the requests alone", should=True)
async def batch_with_notification(exam: Exam) -> None:
    """Notifications within a batch get no reply."""
    ids = [exam.id(), exam.id()]
    silent = b'{"jsonrpc":"2.0","method":"%b"}' % UNKNOWN.encode()
    async with exam.line() as line:
        await _batch(exam, line, [_member(exam, ids[0]), silent, _member(exam, ids[1])], [*ids])


@clause("7.3-batch-of-notifications", f"{_BATCH}: nothing at all is returned", "no reply, not even []", should=True)
async def batch_of_notifications(exam: Exam) -> None:
    """A batch of notifications gets no reply."""
    silent = b'{"jsonrpc":"2.0","method":"%b"}' % UNKNOWN.encode()
    async with exam.line() as line:
        await line.send(exam.wire(b"[" + silent + b"," + silent + b"]"))
        await line.silence()
        await exam.ask(line)


@clause("7.4-empty-batch", _BATCH, "one error -32600 with the id null, in no array", should=True)
async def empty_batch(exam: Exam) -> None:
    """An empty batch is an invalid request."""
    async with exam.line() as line:
        await line.send(exam.wire(b"[]"))
        reply = await line.reply()
        exam.refused(reply, INVALID_REQUEST)
        expect_id(reply, None)


@clause(
    "7.5-invalid-member", _BATCH, "an array: error -32600 with the id null, and the reply to the other", should=True
)
async def invalid_member(exam: Exam) -> None:
    """What is no request harms no other member of its batch."""
    asked = exam.id()
    async with exam.line() as line:
        await _batch(exam, line, [b"1", _member(exam, asked)], [None, asked])


@clause("7.6-batch-survived", "robustness", "the server goes on, and answers the next connection")
async def batch_survived(exam: Exam) -> None:
    """A batch harms nobody, supported or not."""
    for raw in (b"[]", b"[1,2]", b"[[]]", b"[" + _member(exam, exam.id()) + b"]"):
        async with exam.line() as line:
            await line.send(exam.wire(raw))
            await line.done()
    await exam.alive("batches")
