"""Requests as they come and replies as they go: JSON-RPC 2.0, sans-I/O."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

__all__ = [
    "CALLS",
    "CLOSING",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "NO_ID",
    "PARSE_ERROR",
    "TIMED_OUT",
    "Call",
    "confirmation",
    "decode_params",
    "fault",
    "peer_name",
    "refusal",
    "request_id",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
CLOSING: Final = -32000  # ours, of the range that JSON-RPC leaves to servers
TIMED_OUT: Final = -32001
NO_ID: Final = b"null"

_ID_STARTS: Final = frozenset(b'"-0123456789')
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Call(msgspec.Struct, gc=False):
    """Any JSON object, as far as it may be a request; what it lacks is found out later, when its id is known."""

    jsonrpc: Any = None
    method: Any = None
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


CALLS: msgspec.json.Decoder[Call | list[msgspec.Raw]] = msgspec.json.Decoder(Call | list[msgspec.Raw])
"""Decodes a request or a batch, whose members stay raw: one that is none harms no other."""


def request_id(call: Call) -> bytes | None:
    """The id as it came; None for a notification, which has none or, from OpenSIPS, `null`.

    Raises:
        ValueError: it's something that can't be an id.
    """
    if call.id is msgspec.UNSET:
        return None
    raw = bytes(call.id)
    if raw[0] in _ID_STARTS:
        return raw
    if raw == NO_ID:
        return None
    raise ValueError("id is neither a string nor a number")


def fault(call: Call) -> str | None:
    """What keeps a call from being a request, or None. Source: JSON-RPC 2.0 section 4."""
    if call.jsonrpc != "2.0":
        return 'jsonrpc is not "2.0"'
    if type(call.method) is not str:
        return "method is not a string" if call.method is not None else "there is no method"
    return None


def decode_params(call: Call, *, replace: bool) -> Any:
    """The params: an object, an array, or None when there are none (or `null`).

    Args:
        call: The call.
        replace: Whether bytes that aren't UTF-8, which OpenSIPS passes on as they came from SIP, become U+FFFD.

    Raises:
        ValueError: they are something else, or not UTF-8.
        msgspec.DecodeError: they hold what Python can't, such as a number that is too big.
    """
    if call.params is msgspec.UNSET:
        return None
    try:
        params = _decode(call.params)
    except UnicodeDecodeError:
        if not replace:
            raise
        params = msgspec.json.decode(bytes(call.params).decode("utf-8", "replace"))
    if params is not None and not isinstance(params, dict | list):
        raise ValueError("params is neither an object nor an array")
    return cast("Any", params)


def confirmation(raw_id: bytes, result: object) -> bytes:
    """The reply that confirms; a result of None is told as `"ok"`.

    Raises:
        Exception: the result can't be told in JSON (what msgspec's encoder raises).
    """
    if result is None:
        return b'{"jsonrpc":"2.0","id":%b,"result":"ok"}' % raw_id
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (raw_id, _encode(result))


def refusal(raw_id: bytes, code: int, text: str, data: object = None) -> bytes:
    """The reply that refuses; `data` of None is left out.

    Raises:
        Exception: the data can't be told in JSON (what msgspec's encoder raises).
    """
    error: dict[str, object] = {"code": code, "message": text}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (raw_id, _encode(error))


def peer_name(name: tuple[object, ...] | str | None) -> str:
    """Print who is there as `host:port`, from what a transport tells."""
    if not isinstance(name, tuple):
        return str(name)
    host, port = str(name[0]), name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
