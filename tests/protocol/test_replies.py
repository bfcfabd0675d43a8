"""Replies: whatever stands in an error, it is one, and nothing in it breaks the reading of others."""

from __future__ import annotations

import pytest

from failover.protocol.replies import REPLIES
from failover.receipt import ErrorReply


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (b'{"code":-32600,"message":"no"}', ErrorReply(-32600, "no")),
        (b'{"code":-3,"message":"no","data":[1]}', ErrorReply(-3, "no", [1])),
        (b'{"code":-3,"message":"caf\xe9"}', ErrorReply(-3, "caf\ufffd")),
        (b'{"code":"-3"}', ErrorReply(None, '{"code":"-3"}')),
        (b'"no \xff"', ErrorReply(None, '"no \ufffd"')),
        (b'"no"', ErrorReply(None, '"no"')),
        (b"false", ErrorReply(None, "false")),
        (b'{"code":-3,"data":1e999}', ErrorReply(None, '{"code":-3,"data":1e999}')),
    ],
)
def test_any_error_can_be_told(error: bytes, expected: ErrorReply) -> None:
    """Bytes that aren't UTF-8 keep their code, and what can't be decoded at all is told as it came; none raises."""
    reply = REPLIES.decode(b'{"id":1,"error":%b}' % error)
    assert reply.failed
    assert reply.error_reply() == expected
