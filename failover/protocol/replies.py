"""Replies: what a peer may answer, and what each answer means."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from failover.receipt import ErrorReply

__all__ = ["REPLIES", "Reply"]


class Reply(msgspec.Struct, gc=False):
    """One JSON object from the peer that has an integer id; result and error stay undecoded.

    Source: JSON-RPC 2.0 section 5. `jsonrpc` is not asked for, as OpenSIPS doesn't.
    """

    id: int
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def failed(self) -> bool:
        """Whether it carries an error; `"error":null` is none."""
        return self.error is not msgspec.UNSET and bytes(self.error) != b"null"

    def error_reply(self) -> ErrorReply:
        """The error, decoded leniently: whatever stands there is an error."""
        raw = bytes(self.error) if self.error is not msgspec.UNSET else b"null"
        whole = raw.decode("utf-8", "replace")  # a text in another encoding must not cost us the code
        try:
            error = msgspec.json.decode(whole)
        except (msgspec.MsgspecError, ValueError, RecursionError):  # no JSON value after all: an error all the same
            return ErrorReply(None, whole)
        if not isinstance(error, dict):
            return ErrorReply(None, whole)
        members = cast("dict[str, Any]", error)
        code = members.get("code")
        text = members.get("message")
        return ErrorReply(
            code if type(code) is int else None,
            text if isinstance(text, str) else whole,
            members.get("data"),
        )


REPLIES = msgspec.json.Decoder(Reply)
"""The decoder of replies, shared by all connections."""
