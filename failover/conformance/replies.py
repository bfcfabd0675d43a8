"""Group 10: what replies look like."""

from __future__ import annotations

import re
from typing import Any, cast

from failover.conformance.clauses import clause
from failover.conformance.exam import UNKNOWN, Exam
from failover.conformance.line import Fault, Skipped

__all__: list[str] = []

_RESPONSE = "JSON-RPC 2.0 section 5"
_ERROR = "JSON-RPC 2.0 section 5.1"
_SMALL = 10_000  # bytes


async def _both(exam: Exam) -> list[dict[str, Any]]:
    """A reply to the method, and one to an unknown one."""
    async with exam.lines(2) as (one, other):
        return [await exam.ask(one), await exam.ask(other, method=UNKNOWN)]


async def _refusal(exam: Exam) -> dict[str, Any]:
    """A reply that is an error."""
    for reply in await _both(exam):
        if reply.get("error") is not None:
            return reply
    raise Skipped(f"no error came, not even for {UNKNOWN}")


@clause("10.1-once", _RESPONSE, "one reply, and nothing after it")
async def once(exam: Exam) -> None:
    """A request is answered once."""
    async with exam.line() as line:
        await exam.ask(line)
        await line.silence()


@clause("10.2-one-after-the-other", _RESPONSE, "objects, one after the other, with whitespace between at the most")
async def one_after_the_other(exam: Exam) -> None:
    """Nothing stands before, between and after replies."""
    ids = [exam.id() for _ in range(5)]
    async with exam.line() as line:
        await line.send(b"".join(exam.request(asked) for asked in ids))
        await line.answers(ids)
        await line.silence()
        if not line.raw.lstrip().startswith(b"{"):
            raise Fault("there is something before the first reply")


@clause("10.3-no-whitespace", "OpenSIPS 2.4 and 3.0 end with a newline behind a reply", "no whitespace", should=True)
async def no_whitespace(exam: Exam) -> None:
    """Nothing follows a reply, not even a newline."""
    async with exam.line() as line:
        await exam.ask(line)
        await line.silence()
        if re.search(rb"\A\s|\s\Z", line.raw):
            raise Fault("there is whitespace before or after the reply")


@clause("10.4-version", _RESPONSE, '"jsonrpc":"2.0" in results and errors')
async def version(exam: Exam) -> None:
    """Replies say which version they are."""
    for reply in await _both(exam):
        if reply.get("jsonrpc") != "2.0":
            raise Fault(f"jsonrpc is {reply.get('jsonrpc')!r}" if "jsonrpc" in reply else "there is no jsonrpc")


@clause(
    "10.5-result-or-error", f"{_RESPONSE}; OpenSIPS takes any error, also null, for a failure", "exactly one of them"
)
async def result_or_error(exam: Exam) -> None:
    """A reply has a result or an error, not both, also not as null."""
    for reply in await _both(exam):
        if "result" in reply and "error" in reply:
            raise Fault("there are a result and an error, of which null is one, too")
        if "error" in reply and reply["error"] is None:
            raise Fault("error is null, and there is no result")


@clause("10.6-error-object", _ERROR, "an object with an integer code")
async def error_object(exam: Exam) -> None:
    """An error is an object, and its code is an integer."""
    error = (await _refusal(exam))["error"]
    if not isinstance(error, dict):
        raise Fault(f"the error is {error!r}")
    code = cast("dict[str, Any]", error).get("code")
    if type(code) is not int:
        raise Fault(f"the error's code is {code!r}")


@clause("10.7-error-text", f"{_ERROR}: member message", "a string")
async def error_text(exam: Exam) -> None:
    """An error says in words what was wrong."""
    error = (await _refusal(exam))["error"]
    if isinstance(error, dict) and not isinstance(text := cast("dict[str, Any]", error).get("message"), str):
        raise Fault(f"the error's text is {text!r}")


@clause("10.8-error-members", f"{_ERROR}: code, message, data", "no others", should=True)
async def error_members(exam: Exam) -> None:
    """An error has no other members."""
    error = (await _refusal(exam))["error"]
    if isinstance(error, dict) and (more := sorted(cast("dict[str, Any]", error).keys() - {"code", "message", "data"})):
        raise Fault(f"the error also has {', '.join(more)}")


@clause("10.9-members", f"{_RESPONSE}: jsonrpc, result or error, id", "no others", should=True)
async def members(exam: Exam) -> None:
    """A reply has no other members."""
    for reply in await _both(exam):
        if more := sorted(reply.keys() - {"jsonrpc", "result", "error", "id"}):
            raise Fault(f"the reply also has {', '.join(more)}")


@clause("10.10-small", "OpenSIPS 2.4 and 3.0 end with a reply of 10 kB", "less than 10,000 bytes", should=True)
async def small(exam: Exam) -> None:
    """The reply to a small request is small."""
    async with exam.line() as line:
        await exam.ask(line)
        if len(line.raw) >= _SMALL:
            raise Fault(f"the reply has {len(line.raw)} bytes or more")
