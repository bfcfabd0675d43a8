"""Group 4: params of every kind that OpenSIPS or JSON-RPC allows."""

from __future__ import annotations

from typing import Any

import msgspec

from failover.conformance.clauses import clause
from failover.conformance.exam import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, UNKNOWN_METHOD, Exam, code_of
from failover.conformance.line import Fault, expect_id

__all__: list[str] = []

_UNDERSTOOD = "a reply: confirmed, or refused for the params (-32602), but understood"
_PARAMS = "JSON-RPC 2.0 section 4.2"
_WIRE = "OpenSIPS wire"


async def _try(exam: Exam, params: bytes | None, echo: object) -> None:
    """Send params that are JSON already."""
    asked = exam.id()
    async with exam.line() as line:
        await line.send(exam.spelled(b"%d" % asked, params))
        exam.understood(await line.answer(asked), echo)


async def _with(exam: Exam, raw: bytes, value: object) -> None:
    """Send a param named `extra` behind those that the method needs, which has none: so values alone if they are so."""
    body = exam.body
    if body is None or len(body) == 2:  # noqa: PLR2004  # {} or []
        body = b"{}"
    own: Any = msgspec.json.decode(body)
    between = b"," if len(body) > 2 else b""  # noqa: PLR2004
    if body.startswith(b"["):
        await _try(exam, body[:-1] + between + raw + b"]", [*own, value])
    else:
        await _try(exam, body[:-1] + between + b'"extra":' + raw + b"}", {**own, "extra": value})


@clause("4.1-named", f"{_PARAMS}; {_WIRE}: named params are an object", _UNDERSTOOD)
async def named(exam: Exam) -> None:
    """Named params are read."""
    params: Any = exam.params(("caller", "alice"), ("num", 42), ("empty", ""))
    if params and not isinstance(params[0], tuple):
        params = [("caller", "alice"), ("num", 42), ("empty", "")]
    async with exam.line() as line:
        exam.understood(await exam.ask(line, params), dict(params))


@clause("4.2-positional", f"{_PARAMS}; {_WIRE}: params without names are an array", _UNDERSTOOD)
async def positional(exam: Exam) -> None:
    """Params without names are read."""
    values: Any = ["alice", "bob", 3]
    if exam.body is not None and exam.body.startswith(b"[") and exam.subject.params:
        values = exam.subject.params
    async with exam.line() as line:
        exam.understood(await exam.ask(line, values), values)


@clause("4.3-no-params", f"{_PARAMS}: may be omitted; {_WIRE} from 3.1 on", _UNDERSTOOD, dialect="3.1")
async def no_params(exam: Exam) -> None:
    """An event without params has no such member."""
    asked = exam.id()
    async with exam.line() as line:
        await line.send(exam.spelled(b"%d" % asked))
        exam.understood(await line.answer(asked))


@clause("4.4-empty-object", f"{_WIRE} up to 3.0: an event without params has empty ones", _UNDERSTOOD)
async def empty_object(exam: Exam) -> None:
    """Empty named params are read."""
    await _try(exam, b"{}", {})


@clause("4.5-empty-array", _PARAMS, _UNDERSTOOD)
async def empty_array(exam: Exam) -> None:
    """Empty params without names are read."""
    await _try(exam, b"[]", [])


@clause("4.6-values", "RFC 8259 sections 3 and 6", _UNDERSTOOD)
async def values(exam: Exam) -> None:
    """Every kind of JSON value is read."""
    value = [0, -7, 2147483648, 1.5, -2.5e-3, True, False, None, "", "42"]
    await _with(exam, msgspec.json.encode(value), value)


@clause("4.7-nested", "RFC 8259 section 4", _UNDERSTOOD)
async def nested(exam: Exam) -> None:
    """Nested lists and objects are read."""
    raw = b'{"a":[1,[2,{"b":{}}],[]],"c":{"d":[null]}}'
    await _with(exam, raw, msgspec.json.decode(raw))


@clause("4.8-deep", "RFC 8259 section 9: limits may be set", "a reply; 32 levels aren't many", should=True)
async def deep(exam: Exam) -> None:
    """Params of 32 levels are read."""
    raw = b"[" * 32 + b"]" * 32
    await _with(exam, raw, msgspec.json.decode(raw))


@clause("4.9-duplicate-names", f"{_WIRE}: the same name twice is sent twice, in order", _UNDERSTOOD)
async def duplicate_names(exam: Exam) -> None:
    """A name that comes twice doesn't make the request unreadable."""
    async with exam.line() as line:
        exam.understood(await exam.ask(line, [*_pairs(exam), ("k", 1), ("k", 2)]))


@clause("4.10-unicode", "RFC 8259 section 8.1: UTF-8", _UNDERSTOOD)
async def unicode(exam: Exam) -> None:
    """Text in UTF-8 is read, of two, three and four bytes a character."""
    value = "Zoë — 電話 📞 \u2028"
    await _with(exam, msgspec.json.encode(value), value)


@clause("4.11-escapes", f"RFC 8259 section 7; {_WIRE}: escapes what it must", _UNDERSTOOD)
async def escapes(exam: Exam) -> None:
    """Every escape is read, surrogate pairs and control characters too."""
    raw = rb'"\" \\ \/ \b \f \n \r \t \u0001 \u00e9 \u0000 \ud83d\udcde }{ ]["'
    await _with(exam, raw, msgspec.json.decode(raw))


@clause("4.12-brackets-in-text", "RFC 8259 section 7", _UNDERSTOOD)
async def brackets_in_text(exam: Exam) -> None:
    """Brackets and quotes within text don't end a request."""
    value = '}{"id":1}]\\"}}}'
    await _with(exam, msgspec.json.encode(value), value)


@clause("4.13-raw-bytes", f"{_WIRE}: bytes of SIP that aren't UTF-8 pass raw", "a reply, and the connection goes on")
async def raw_bytes(exam: Exam) -> None:
    """Text that isn't UTF-8 is read somehow, or refused, and doesn't end the connection."""
    asked = exam.id()
    async with exam.line() as line:
        await line.send(exam.request(asked, [*_pairs(exam), ("from", b"caf\xe9 \xff\xfe")]))
        reply = await line.reply()
        if reply.get("id") is not None:
            expect_id(reply, asked)
        code = code_of(reply)
        if code not in {None, PARSE_ERROR, INVALID_PARAMS, INVALID_REQUEST} and exam.traits.confirms:
            raise Fault(f"refused with {code}; for such text {INVALID_PARAMS} or {PARSE_ERROR} are to be expected")
        await exam.ask(line)


@clause("4.14-event-param", f"{_WIRE}, parameter event_param: the event's name leads the params", _UNDERSTOOD)
async def event_param(exam: Exam) -> None:
    """Params that are led by the event's name are read."""
    asked = exam.id()
    tail = exam.tail(event_param=exam.subject.event_param)
    async with exam.line() as line:
        await line.send(exam.wire(b'{"id":%d%b' % (asked, tail)))
        exam.understood(await line.answer(asked))


@clause(
    "4.15-unstructured", f"{_PARAMS}: an object or an array", "error -32600 or -32602 with the request's id or null"
)
async def unstructured(exam: Exam) -> None:
    """Params that are neither an object nor an array are refused."""
    codes = [INVALID_REQUEST, INVALID_PARAMS] + ([] if exam.traits.confirms else [UNKNOWN_METHOD])
    for raw in (b'"text"', b"7", b"true"):
        asked = exam.id()
        async with exam.line() as line:
            await line.send(exam.spelled(b"%d" % asked, raw))
            exam.refused(await line.reply(), *codes, id=asked)


def _pairs(exam: Exam) -> list[tuple[str, Any]]:
    """What the method needs, if that has names."""
    params: Any = exam.params()
    return params if params and isinstance(params[0], tuple) else []
