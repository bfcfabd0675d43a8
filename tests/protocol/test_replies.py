"""Replies: what is one, what it means, and that its parts stay as they came."""

from __future__ import annotations

import msgspec
import pytest

from failover.protocol.replies import REPLIES
from failover.receipt import ErrorReply


@pytest.mark.parametrize(
    ("wire", "request_id", "failed"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":true}', 1, False),
        (b'{"id":1,"result":null}', 1, False),
        (b'{"result":{"a":[1]},"id":2147483647,"more":1}', 2147483647, False),
        (b'{"id":1}', 1, False),
        (b'{"id":1,"error":null}', 1, False),
        (b'{"id":1,"result":1,"error":null}', 1, False),
        (b'{"id":1,"error": null }', 1, False),
        (b'{"id":1,"error":{}}', 1, True),
        (b'{"id":1,"error":false}', 1, True),
        (b'{"id":1,"error":0}', 1, True),
        (b'{"id":1,"error":""}', 1, True),
        (b'{"id":1,"result":1,"error":{"code":1}}', 1, True),
        (b'{"id":1,"ERROR":{"code":1}}', 1, False),
        (b'{"id":-7,"result":1}', -7, False),
    ],
)
def test_what_fails(wire: bytes, request_id: int, *, failed: bool) -> None:
    """An error that is not null fails, whatever it is; another key, or null, is none."""
    reply = REPLIES.decode(wire)
    assert (reply.id, reply.failed) == (request_id, failed)


@pytest.mark.parametrize("wire", [b"{}", b'{"id":null}', b'{"id":"1"}', b'{"id":1.0}', b'{"id":true}', b"[]", b"1"])
def test_what_is_no_reply(wire: bytes) -> None:
    """Without an integer id there is nothing to match."""
    with pytest.raises(msgspec.ValidationError):
        REPLIES.decode(wire)


@pytest.mark.parametrize(
    ("error", "code", "text", "data"),
    [
        (b'{"code":-32601,"message":"Method not found"}', -32601, "Method not found", None),
        (b'{"code":-32000,"message":"later","data":{"in":[5]}}', -32000, "later", {"in": [5]}),
        (b'{"code":"E1","message":"text"}', None, "text", None),
        (b'{"code":true,"message":"text"}', None, "text", None),
        (b'{"code":1.5,"message":"text"}', None, "text", None),
        (b'{"code":5}', 5, '{"code":5}', None),
        (b'{"code":5,"message":7}', 5, '{"code":5,"message":7}', None),
        (b"{}", None, "{}", None),
        (b'"refused"', None, '"refused"', None),
        (b"[1, 2]", None, "[1, 2]", None),
        (b"false", None, "false", None),
        (b'{"code":5,"message":"caf\xe9"}', 5, "caf\ufffd", None),
        (b'"no \xff"', None, '"no \ufffd"', None),
        (b'{"code":-3,"data":1e999}', None, '{"code":-3,"data":1e999}', None),
        (b'{"code":1e999}', None, '{"code":1e999}', None),
    ],
)
def test_any_error_is_read(error: bytes, code: int | None, text: str, data: object) -> None:
    """Whatever stands under `error` is told as well as it can be, and never raises."""
    reply = REPLIES.decode(b'{"id":1,"error":%b}' % error)
    assert reply.failed
    assert reply.error_reply() == ErrorReply(code, text, data)


def test_no_error() -> None:
    """Asked for all the same, it is null."""
    assert REPLIES.decode(b'{"id":1,"result":1}').error_reply() == ErrorReply(None, "null")


def test_results_stay_as_they_came() -> None:
    """Not decoded until they are asked for."""
    reply = REPLIES.decode(b'{"id":1,"result": {"a" : "\xff"} }')
    assert isinstance(reply.result, msgspec.Raw)
    assert bytes(reply.result).strip() == b'{"a" : "\xff"}'
