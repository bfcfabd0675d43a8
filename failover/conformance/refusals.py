"""Group 5: what must be refused, and how; none of it may end the subscriber."""

from __future__ import annotations

import contextlib

import msgspec

from failover.conformance.clauses import clause
from failover.conformance.exam import INVALID_REQUEST, PARSE_ERROR, UNKNOWN, UNKNOWN_METHOD, Exam, code_of
from failover.conformance.line import Doubt, Fault, Line, expect_id

__all__: list[str] = []

_CODES = "JSON-RPC 2.0 section 5.1"
_REQUEST = "JSON-RPC 2.0 section 4"
_BROKEN = b'{"id":1,"jsonrpc":"2.0","method":"E_A","params":{"a":bad}}'
_GARBAGE = b"\x16\x03\x01\x02\x00\x01 GET / HTTP/1.1\r\n}}]{\x00\xff"


@clause("5.1-unknown-method", _CODES, "error -32601 with the request's id")
async def unknown_method(exam: Exam) -> None:
    """A method that nobody has is refused."""
    async with exam.line() as line:
        reply = await exam.ask(line, method=UNKNOWN)
    if code_of(reply) is None:
        raise Doubt(f"{UNKNOWN} was confirmed: an event that nobody knows is lost, unless all are meant to be taken")
    exam.refused(reply, UNKNOWN_METHOD)


@clause("5.2-unknown-goes-on", "OpenSIPS wire: one connection for all events", "a reply to the request that follows")
async def unknown_goes_on(exam: Exam) -> None:
    """After a refusal the connection goes on."""
    async with exam.line() as line:
        await exam.ask(line, method=UNKNOWN)
        await exam.ask(line)


async def _invalid(exam: Exam, body: bytes, asked: int) -> None:
    async with exam.line() as line:
        await line.send(exam.wire(body))
        exam.refused(await line.reply(), INVALID_REQUEST, id=asked)


@clause("5.3-no-method", _REQUEST, "error -32600 with the request's id or null")
async def no_method(exam: Exam) -> None:
    """A request without a method is refused."""
    asked = exam.id()
    await _invalid(exam, b'{"id":%d,"jsonrpc":"2.0","params":{}}' % asked, asked)


@clause("5.4-method-no-string", _REQUEST, "error -32600 with the request's id or null")
async def method_no_string(exam: Exam) -> None:
    """A method that is no string is refused."""
    for raw in (b"1", b"null", b"{}"):
        asked = exam.id()
        await _invalid(exam, b'{"id":%d,"jsonrpc":"2.0","method":%b,"params":{}}' % (asked, raw), asked)


@clause("5.5-version", f'{_REQUEST}: exactly "2.0"', "error -32600 with the request's id or null", should=True)
async def version(exam: Exam) -> None:
    """A request of no version, or of another one, is refused."""
    method = msgspec.json.encode(exam.subject.name)
    for member in (b"", b'"jsonrpc":"1.0",', b'"jsonrpc":2.0,'):
        asked = exam.id()
        await _invalid(exam, b'{"id":%d,%b"method":%b,"params":{}}' % (asked, member, method), asked)


@clause("5.6-id-no-scalar", f"{_REQUEST}: a string, a number or null", "error -32600 with the id null", should=True)
async def id_no_scalar(exam: Exam) -> None:
    """A request whose id is an object, an array or a boolean is refused."""
    for raw in (b"{}", b"[1]", b"true"):
        async with exam.line() as line:
            await line.send(exam.spelled(raw, exam.body))
            reply = await line.reply()
            exam.refused(reply, INVALID_REQUEST)
            expect_id(reply, None)


@clause("5.7-invalid-goes-on", "OpenSIPS wire: one connection for all events", "a reply to the request that follows")
async def invalid_goes_on(exam: Exam) -> None:
    """After an object that is no request the connection goes on."""
    async with exam.line() as line:
        await line.send(exam.wire(b'{"jsonrpc":"2.0","id":1,"method":1}'))
        await line.reply()
        await exam.ask(line)


@clause("5.8-parse-error", _CODES, "error -32700 with the id null")
async def parse_error(exam: Exam) -> None:
    """An object that is no JSON is refused."""
    async with exam.line() as line:
        await line.send(exam.wire(_BROKEN))
        reply = await line.reply()
        exam.refused(reply, PARSE_ERROR)
        expect_id(reply, None)


@clause("5.9-parse-error-goes-on", "where it ends is known by its brackets", "a reply to what follows", should=True)
async def parse_error_goes_on(exam: Exam) -> None:
    """After an object that is no JSON the connection goes on."""
    async with exam.line() as line:
        await line.send(exam.wire(_BROKEN))
        await line.reply()
        await exam.ask(line)


@clause("5.10-garbage-refused", _CODES, "error -32700 with the id null, and then the end or silence", should=True)
async def garbage_refused(exam: Exam) -> None:
    """Bytes that are no JSON at all are refused before the connection is closed."""
    async with exam.line() as line:
        await line.send(exam.wire(b"this is no JSON at all {{{"))
        reply = await line.reply()
        exam.refused(reply, PARSE_ERROR)
        expect_id(reply, None)


@clause("5.11-garbage-survived", "robustness", "the server goes on, and so do other connections")
async def garbage_survived(exam: Exam) -> None:
    """Bytes that are no JSON at all harm nobody else."""
    async with exam.line() as other:
        await exam.ask(other)
        for garbage in (_GARBAGE, b"\x00" * 4096, b"]" * 100, b'"' + b"x" * 4096, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            line: Line
            async with exam.line() as line:
                await line.send(garbage)
                await line.done()
        await exam.others(other, "garbage")
    await exam.alive("garbage")


@clause("5.12-bottomless", "robustness: depth is bounded", "the server goes on, and so do other connections")
async def bottomless(exam: Exam) -> None:
    """A request nested 20,000 levels deep harms nobody else."""
    depth = 20_000
    async with exam.line() as other:
        await exam.ask(other)
        async with exam.line() as line:
            await line.send(exam.spelled(b"1", b"[" * depth + b"]" * depth))
            with contextlib.suppress(Fault):  # silence, closed, refused: it's about the others
                await line.value()
        await exam.others(other, "20,000 levels")
    await exam.alive("20,000 levels")
