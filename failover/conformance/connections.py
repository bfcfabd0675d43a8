"""Group 8: big requests. Group 9: connections that come, go, break and idle. Group 11: replies that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import msgspec

from failover.conformance.clauses import clause
from failover.conformance.exam import UNKNOWN, Exam
from failover.conformance.line import ClosedFault, Doubt, Fault, Line, StalledFault

__all__: list[str] = []

_SURVIVES = "the server goes on, and so do other connections"
_UNREAD = "robustness: a sender that doesn't read its replies"
_LONG = 16 * 1024  # bytes of an id, and so of its reply
_CHUNK = 64 * 1024


async def _big(exam: Exam, size: int) -> None:
    params = exam.params(("extra", "x" * size))
    asked = exam.id()
    async with exam.line() as line:
        await line.send(exam.request(asked, params), within=5 * exam.subject.timeout)
        exam.understood(await line.answer(asked, within=5 * exam.subject.timeout))


@clause("8.1-64-kib", "OpenSIPS wire: params are as long as SIP made them", "a reply with the request's id")
async def kib_64(exam: Exam) -> None:
    """A request of 64 KiB is read."""
    await _big(exam, 64 * 1024)


@clause("8.2-1-mib", "RFC 8259 section 9: limits may be set", "a reply with the request's id", should=True)
async def mib_1(exam: Exam) -> None:
    """A request of 1 MiB is read."""
    await _big(exam, 2**20)


@clause("8.3-1-mib-survived", "robustness: size is bounded", _SURVIVES)
async def mib_1_survived(exam: Exam) -> None:
    """A request of 1 MiB harms nobody else, taken or not."""
    async with exam.line() as other:
        await exam.ask(other)
        async with exam.line() as line:
            try:
                await line.send(exam.request(exam.id(), exam.params(("extra", "x" * 2**20))))
                await line.value()
            except Fault:  # refused or closed: it's about the others
                pass
        await exam.others(other, "a request of 1 MiB")
    await exam.alive("a request of 1 MiB")


@clause("9.1-many", "OpenSIPS: a connection for each of its processes", "a reply on every connection")
async def many(exam: Exam) -> None:
    """Many connections at a time are served."""
    number = exam.subject.connections
    async with exam.lines(number) as lines:
        ids = [exam.id() for _ in lines]
        for line, asked in zip(lines, ids, strict=True):
            await line.send(exam.request(asked))
        for count, (line, asked) in enumerate(zip(lines, ids, strict=True)):
            try:
                await line.answer(asked)
            except Fault as fault:
                raise Fault(f"connection {count + 1} of {number}: {fault}") from None


@clause("9.2-reconnecting", "OpenSIPS reconnects with the next event after a close", "a reply on every connection")
async def reconnecting(exam: Exam) -> None:
    """One connection straight after the other is served."""
    for number in range(20):
        try:
            async with exam.line() as line:
                await exam.ask(line)
        except Fault as fault:
            raise Fault(f"connection {number + 1} of 20: {fault}") from None


@clause("9.3-connect-and-leave", "robustness", _SURVIVES)
async def connect_and_leave(exam: Exam) -> None:
    """Connections on which nothing is sent, closed or reset, harm nobody."""
    for number in range(10):
        line = await exam.connect()
        if number % 2:
            line.reset()
        await line.aclose()
    await exam.alive("10 connections that sent nothing")


@clause("9.4-half-closed", "RFC 9293 section 3.6: one side may close, and still receive", "the replies", should=True)
async def half_closed(exam: Exam) -> None:
    """A sender that closes its side after two requests still gets the replies."""
    ids = [exam.id(), exam.id()]
    async with exam.line() as line:
        await line.send(exam.request(ids[0]) + exam.request(ids[1]))
        line.finish()
        await line.answers(ids)


@clause("9.5-closed-after", "robustness", "the connection is closed at the other end, too", should=True)
async def closed_after(exam: Exam) -> None:
    """A connection that the sender has closed isn't kept."""
    async with exam.line() as line:
        await exam.ask(line)
        line.finish()
        if not await line.closed():
            raise Fault(f"it was still open {exam.subject.timeout:g} s after the sender had closed")


@clause("9.6-closed-amid", "robustness", _SURVIVES)
async def closed_amid(exam: Exam) -> None:
    """A connection that is closed amid a request harms nobody."""
    await _amid(exam, reset=False)


@clause("9.7-reset-amid", "robustness", _SURVIVES)
async def reset_amid(exam: Exam) -> None:
    """A connection that is reset amid a request harms nobody."""
    await _amid(exam, reset=True)


async def _amid(exam: Exam, *, reset: bool) -> None:
    doing = f"a {'reset' if reset else 'close'} amid a request"
    async with exam.line() as other:
        await exam.ask(other)
        for part in (0.1, 0.5, 0.9):
            text = exam.request(exam.id())
            line = await exam.connect()
            await line.send(text[: int(len(text) * part)])
            if reset:
                line.reset()
            await line.aclose()
        await exam.others(other, doing)
    await exam.alive(doing)


@clause("9.8-gone-before-reply", "robustness", _SURVIVES)
async def gone_before_reply(exam: Exam) -> None:
    """A sender that resets while its replies are being written harms nobody."""
    async with exam.line() as other:
        await exam.ask(other)
        for _ in range(5):
            line = await exam.connect()
            await line.send(b"".join(exam.request(exam.id()) for _ in range(5)))
            line.reset()
        await exam.others(other, "a sender that was gone before its replies")
    await exam.alive("a sender that was gone before its replies")


@clause("9.9-half-a-request", "robustness: nobody waits for another's request", "a reply on the other connection")
async def half_a_request(exam: Exam) -> None:
    """A connection that has sent half a request holds up no other."""
    async with exam.line() as slow, exam.line() as other:
        asked = exam.id()
        text = exam.request(asked)
        await slow.send(text[:-10])
        await exam.others(other, "half a request")
        await exam.alive("half a request")
        await slow.send(text[-10:])
        await slow.answer(asked)


@clause("9.10-idle", "OpenSIPS keeps its connection between events", "it's still open, and answers", should=True)
async def idle(exam: Exam) -> None:
    """A connection that is idle stays open."""
    async with exam.line() as line:
        await exam.ask(line)
        await asyncio.sleep(exam.subject.idle)
        try:
            await exam.ask(line)
        except Fault as fault:
            raise Fault(f"after {exam.subject.idle:g} s without events: {fault}") from None


async def _flood(exam: Exam, line: Line, most: int) -> tuple[set[str], bool]:
    """Send requests with long ids, whose replies nobody reads: the ids, and whether the subscriber stopped reading."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # so that it's the subscriber's buffers that are measured
        line.socket.setsockopt(socket.SOL_SOCKET, option, _CHUNK)
    ids: set[str] = set()
    size = 0
    while size < most:
        chunk = bytearray()
        while len(chunk) < _CHUNK:
            asked = f"{exam.id()}-".ljust(_LONG, "x")
            ids.add(asked)
            chunk += exam.spelled(msgspec.json.encode(asked), method=msgspec.json.encode(UNKNOWN))
        size += len(chunk)
        try:
            await line.send(bytes(chunk))
        except StalledFault:
            return ids, True
        except Fault as fault:
            raise Doubt(f"after {size} bytes whose replies weren't read, {fault}") from None
    return ids, False


@clause("11.1-unread-others", _UNREAD, "a reply on another connection")
async def unread_others(exam: Exam) -> None:
    """A sender that doesn't read its replies holds up no other."""
    async with exam.line() as line, exam.line() as other:
        await exam.ask(other)
        with contextlib.suppress(Doubt):  # it was cut off, which holds up nobody
            await _flood(exam, line, exam.subject.unread // 2)
        await exam.others(other, "replies that nobody reads")
        line.reset()
    await exam.alive("a sender that didn't read its replies")


@clause("11.2-unread-answered", _UNREAD, "all replies, once they are read")
async def unread_answered(exam: Exam) -> None:
    """What was sent without reading the replies is answered all the same."""
    async with exam.line() as line:
        missing, _ = await _flood(exam, line, exam.subject.unread // 2)
        total = len(missing)
        while missing:
            try:
                reply = await line.reply()
            except ClosedFault as fault:
                raise Doubt(f"{len(missing)} of {total} replies are missing: {fault}") from None
            except Fault as fault:
                raise Fault(f"{len(missing)} of {total} replies are missing: {fault}") from None
            if reply.get("id") not in missing:
                raise Fault("a reply came twice, or to an id that wasn't asked")
            missing.discard(reply["id"])


@clause("11.3-unread-pushed-back", _UNREAD, "the subscriber stops reading: its memory is bounded", should=True)
async def unread_pushed_back(exam: Exam) -> None:
    """A sender that doesn't read its replies is stopped at some time."""
    async with exam.line() as line:
        _, stopped = await _flood(exam, line, exam.subject.unread)
        line.reset()
    await exam.alive("a sender that didn't read its replies")
    if not stopped:
        raise Fault(
            f"{exam.subject.unread} bytes of requests were taken, by it and its kernel, while no reply was read"
        )
