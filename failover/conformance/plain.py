"""Group 1: a plain request, however it's written. Group 2: its id. Group 3: notifications."""

from __future__ import annotations

import msgspec

from failover.conformance.clauses import clause
from failover.conformance.exam import UNKNOWN, Exam, code_of
from failover.conformance.line import Doubt, Fault

__all__: list[str] = []

_REPLY = "a reply with the request's id"
_SILENCE = "no reply"
_NOTIFICATION = "JSON-RPC 2.0 section 4.1"
_ID = "JSON-RPC 2.0 sections 4 and 5: the id is the same value"


@clause("1.1-confirmed", "JSON-RPC 2.0 section 5; OpenSIPS event_jsonrpc, sync_mode", "a result with the request's id")
async def confirmed(exam: Exam) -> None:
    """An event is confirmed with a result."""
    exam.needs_confirmation()
    async with exam.line() as line:
        reply = await exam.ask(line)
    if (code := code_of(reply)) is not None:
        raise Fault(f"it was refused with {code}")


@clause("1.2-no-terminator", "OpenSIPS wire: nothing follows a request", _REPLY)
async def no_terminator(exam: Exam) -> None:
    """A request is read as soon as its last bracket has come."""
    asked = exam.id()
    async with exam.line() as line:
        await line.send(b'{"id":%d%b' % (asked, exam.tail()))
        await line.answer(asked)


@clause("1.3-key-order", "RFC 8259 section 4: members have no order", _REPLY)
async def key_order(exam: Exam) -> None:
    """The order of a request's members means nothing."""
    asked = exam.id()
    body = b"" if exam.body is None else b'"params":' + exam.body + b","
    method = msgspec.json.encode(exam.subject.name)
    async with exam.line() as line:
        await line.send(exam.wire(b'{%b"method":%b,"jsonrpc":"2.0","id":%d}' % (body, method, asked)))
        exam.understood(await line.answer(asked))


@clause("1.4-whitespace-within", "RFC 8259 section 2: whitespace between tokens", _REPLY)
async def whitespace_within(exam: Exam) -> None:
    """Spaces and tabs between the tokens of a request mean nothing."""
    asked = exam.id()
    body = b"" if exam.body is None else b' , "params" :\t' + exam.body
    method = msgspec.json.encode(exam.subject.name)
    async with exam.line() as line:
        text = b'{ "jsonrpc" : "2.0" ,\t"method" : %b%b , "id" : %d }' % (method, body, asked)
        await line.send(exam.wire(text))
        exam.understood(await line.answer(asked))


@clause("1.5-pretty-printed", "RFC 8259 section 2: newlines are whitespace", _REPLY)
async def pretty_printed(exam: Exam) -> None:
    """A request may be spread over lines."""
    asked = exam.id()
    pretty = msgspec.json.format(exam.spelled(b"%d" % asked, exam.body).strip(), indent=2)
    async with exam.line() as line:
        await line.send(exam.wire(pretty))
        exam.understood(await line.answer(asked))


@clause("1.6-escaped-method", "RFC 8259 section 7: escapes are the same characters", _REPLY)
async def escaped_method(exam: Exam) -> None:
    """A method that is written with escapes is the same method."""
    asked = exam.id()
    escaped = b'"' + b"".join(b"\\u%04x" % ord(char) for char in exam.subject.name if ord(char) < 65536) + b'"'  # noqa: PLR2004  # one unit
    async with exam.line() as line:
        await line.send(exam.spelled(b"%d" % asked, exam.body, method=escaped))
        exam.understood(await line.answer(asked))


@clause("1.7-stays-open", "OpenSIPS wire: one connection for all events", "a reply to each of 3 requests in turn")
async def stays_open(exam: Exam) -> None:
    """A connection serves one request after the other."""
    async with exam.line() as line:
        for number in range(3):
            try:
                await exam.ask(line)
            except Fault as fault:
                raise Fault(f"request {number + 1} of 3: {fault}") from None


async def _echoed(exam: Exam, raw: bytes, value: object) -> None:
    async with exam.line() as line:
        await line.send(exam.spelled(raw, exam.body))
        exam.understood(await line.answer(value))


@clause("2.1-small-id", _ID, "a reply with the id 1")
async def small_id(exam: Exam) -> None:
    """A small integer comes back as it was."""
    await _echoed(exam, b"1", 1)


@clause("2.2-large-id", f"{_ID}; OpenSIPS ids have 31 bits", "a reply with the id 2147483647")
async def large_id(exam: Exam) -> None:
    """The largest id of OpenSIPS comes back as it was."""
    await _echoed(exam, b"2147483647", 2**31 - 1)


@clause("2.3-huge-id", _ID, "a reply with the id 9007199254740993", should=True)
async def huge_id(exam: Exam) -> None:
    """An id that no double can hold comes back as it was."""
    await _echoed(exam, b"9007199254740993", 2**53 + 1)


@clause("2.4-string-id", _ID, 'a reply with the id "7", a string')
async def string_id(exam: Exam) -> None:
    """A string comes back as a string, also one of digits."""
    await _echoed(exam, b'"7"', "7")


@clause("2.5-escaped-id", _ID, 'a reply with the id "a\\"b\\\\é", however it is escaped')
async def escaped_id(exam: Exam) -> None:
    """A string with escapes and more than ASCII comes back as the same characters."""
    await _echoed(exam, rb'"a\"b\\\u00e9"', 'a"b\\é')


@clause("2.6-id-per-connection", "OpenSIPS wire: ids are unique on one connection only", "a reply on each connection")
async def id_per_connection(exam: Exam) -> None:
    """The same id on two connections at a time is two requests."""
    asked = exam.id()
    async with exam.lines(2) as (one, other):
        await one.send(exam.request(asked))
        await other.send(exam.request(asked))
        await one.answer(asked)
        await other.answer(asked)


async def _unanswered(exam: Exam, notification: bytes) -> None:
    """Send it and wait: nothing may come, and a request behind it is answered."""
    async with exam.line() as line:
        await line.send(notification)
        await line.silence()
        try:
            await exam.ask(line)
        except Fault as fault:
            raise Fault(f"the request after the notification: {fault}") from None


@clause("3.1-null-id", "OpenSIPS wire up to 3.0: an event that needs no reply has a null id", _SILENCE, dialect="3.0")
async def null_id(exam: Exam) -> None:
    """A notification of OpenSIPS 3.0, with `"id":null`, gets no reply."""
    await _unanswered(exam, exam.notification(null_id=True))


@clause("3.2-no-id", f"{_NOTIFICATION}; OpenSIPS wire from 3.1 on", _SILENCE, dialect="3.1")
async def no_id(exam: Exam) -> None:
    """A notification, which has no id, gets no reply."""
    await _unanswered(exam, exam.notification(null_id=False))


@clause("3.3-failing-notification", f"{_NOTIFICATION}: not even errors are told", _SILENCE)
async def failing_notification(exam: Exam) -> None:
    """A notification that fails, by an unknown method, gets no reply either."""
    await _unanswered(exam, exam.notification(null_id=exam.subject.dialect == "3.0", method=UNKNOWN))


@clause("3.4-many-notifications", _NOTIFICATION, "a reply to the request that follows, and no other")
async def many_notifications(exam: Exam) -> None:
    """A burst of notifications in one segment is taken, and what follows is answered."""
    asked = exam.id()
    burst = exam.notification(null_id=exam.subject.dialect != "3.1") * 50
    async with exam.line() as line:
        await line.send(burst + exam.request(asked))
        reply = await line.reply()
        if reply.get("id") != asked:
            raise Fault(f"a reply came to a notification, with id {reply.get('id')!r}")
        if exam.traits.confirms and code_of(reply) is not None:
            raise Doubt(f"the request after 50 notifications was refused with {code_of(reply)}")
        await line.silence()
