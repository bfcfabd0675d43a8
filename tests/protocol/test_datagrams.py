"""Datagrams byte for byte as recorded from OpenSIPS's `event_datagram`, and what that leaves open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.event import Event
from failover.protocol.datagrams import JSONRPC_LIMIT, TEXT_LIMIT, DatagramFormat, Datagrams

AOR: dict[str, Any] = {"domain": "location", "aor": "alice@127.0.0.1"}

TEXTS: list[tuple[str, Any, bytes]] = [
    ("E_UL_AOR_INSERT", {"aor": "alice"}, b"E_UL_AOR_INSERT\naor::alice\n\n"),
    ("E_X", None, b"E_X\n\n"),
    ("E_X", {}, b"E_X\n\n"),
    ("E_X", [], b"E_X\n\n"),
    ("E_X", ["value", 3], b"E_X\nvalue\n3\n\n"),
    ("E_X", {"path": ""}, b"E_X\npath::\n\n"),
    ("E_X", {"n": 5, "m": -7, "big": 10**30}, b"E_X\nn::5\nm::-7\nbig::1000000000000000000000000000000\n\n"),
    ("E_NL", ['l1\nl2 "q" \\ end'], b'E_NL\n"l1\nl2 \\"q\\" \\ end"\n\n'),
    ("E_X", {"a": 'no "break"'}, b'E_X\na::no "break"\n\n'),
    ("E_X", ["k::v", '"'], b'E_X\nk::v\n"\n\n'),
    ("E_X", [("k", "1"), ("k", "2")], b"E_X\nk::1\nk::2\n\n"),
    ("E_X", {"raw": b"\xff\xfe \n\x00"}, b'E_X\nraw::"\xff\xfe \n\x00"\n\n'),
    ("E_X", {"u": "ž\U0001f600\r\t"}, "E_X\nu::ž\U0001f600\r\t\n\n".encode()),
    ("E_X", [None, True, False, 1.5, 1e300], b"E_X\n\ntrue\nfalse\n1.5\n1e300\n\n"),
    (
        "E_X",
        {"deep": {"a": [1, "x\ny", None], "b": {}}, "raw": [b"\xff]"], "after": 1},
        b'E_X\ndeep::{"a":[1,"x\\ny",null],"b":{}}\nraw::["\xff]"]\nafter::1\n\n',
    ),
    ("E_X", {"::": "x", "a::b": "y"}, b"E_X\n::::x\na::b::y\n\n"),
]

NOTIFICATIONS: list[tuple[str, Any, bytes]] = [
    (
        "E_UL_AOR_INSERT",
        AOR,
        b'{"jsonrpc":"2.0","method":"E_UL_AOR_INSERT","params":{"domain":"location","aor":"alice@127.0.0.1"}}',
    ),
    ("E_X", None, b'{"jsonrpc":"2.0","method":"E_X"}'),
    ("E_X", ["a", 3, None, ""], b'{"jsonrpc":"2.0","method":"E_X","params":["a",3,null,""]}'),
    ("E_X", {"received": None}, b'{"jsonrpc":"2.0","method":"E_X","params":{"received":null}}'),
    ("E_X", [("k", 1), ("k", 2)], b'{"jsonrpc":"2.0","method":"E_X","params":{"k":1,"k":2}}'),
    ("E_X", [b"\xff"], b'{"jsonrpc":"2.0","method":"E_X","params":["\xff"]}'),
]


@pytest.mark.parametrize(("name", "params", "wire"), TEXTS)
def test_text(name: str, params: Any, wire: bytes) -> None:
    """As OpenSIPS 2.4 and 3.0 write it; only a value with a line break is quoted, only its quotes are escaped."""
    assert Datagrams("text").encode(Event(name, params)) == wire


@pytest.mark.parametrize(("name", "params", "wire"), NOTIFICATIONS)
def test_jsonrpc(name: str, params: Any, wire: bytes) -> None:
    """As OpenSIPS 3.1 and newer write it: a notification with no id at all."""
    assert Datagrams("jsonrpc").encode(Event(name, params)) == wire


def test_the_id_of_an_event_is_the_last_param() -> None:
    """In both formats, if it is asked for."""
    event = Event("E_X", {"a": 1}, id="x\ny")
    assert Datagrams("text", id_param="ref").encode(event) == b'E_X\na::1\nref::"x\ny"\n\n'
    assert Datagrams("jsonrpc", id_param="ref").encode(event).endswith(b'"params":{"a":1,"ref":"x\\ny"}}')
    assert Datagrams("text", id_param="ref").encode(Event("E_X", id="x")) == b"E_X\nref::x\n\n"


@pytest.mark.parametrize(("format", "limit"), [("text", TEXT_LIMIT), ("jsonrpc", JSONRPC_LIMIT)])
def test_what_is_too_large_is_refused(format: DatagramFormat, limit: int) -> None:
    """Up to its limit, to the byte, an event is written whole; beyond it not at all."""
    datagrams = Datagrams(format)
    room = limit - len(datagrams.encode(Event("E_X", [""])))
    assert len(datagrams.encode(Event("E_X", ["x" * room]))) == limit == {"text": 16_384, "jsonrpc": 65_457}[format]
    with pytest.raises(ValueError, match=f"{limit + 1} bytes as {format}, and a datagram has at most {limit}"):
        datagrams.encode(Event("E_X", ["x" * (room + 1)]))


@pytest.mark.parametrize("event", [Event("E\nX"), Event("E_X", {"a\nb": 1})])
def test_a_name_with_a_line_break(event: Event) -> None:
    """Text has no way to write it and refuses; JSON-RPC has."""
    with pytest.raises(ValueError, match="has a line break"):
        Datagrams("text").encode(event)
    assert b"\\n" in Datagrams("jsonrpc").encode(event)


def test_params_as_they_were() -> None:
    """What is written is what the params were when the event was made."""
    params = {"a": 1}
    event = Event("E_X", params)
    params["a"] = 2
    assert Datagrams("text").encode(event) == b"E_X\na::1\n\n"


PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\n":'))
SCALAR: st.SearchStrategy[Any] = (
    PLAIN | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)
ANY: st.SearchStrategy[Any] = st.recursive(
    SCALAR | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text("ab[]{},"), inner), max_leaves=5
)


@given(st.lists(st.tuples(PLAIN, ANY)))
def test_any_params_read_back_from_text(pairs: list[tuple[str, Any]]) -> None:
    """Each param has a line; what was a string reads as itself, anything else as its JSON, null as nothing."""
    written = Datagrams("text").encode(Event("E_X", pairs)).decode()
    assert written.startswith("E_X\n")
    assert written.endswith("\n\n")
    lines = written[len("E_X\n") : -1].split("\n")[:-1]
    assert len(lines) == len(pairs)
    for line, (name, value) in zip(lines, pairs, strict=True):
        read, _, told = line.partition("::")
        assert read == name
        if value is None or isinstance(value, str):
            assert told == (value or "")
        else:
            assert json.loads(told) == value
