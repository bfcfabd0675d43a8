"""What goes on the wire, byte for byte as recorded from OpenSIPS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.event import Event, Params
from failover.protocol.encoding import Dialect

NAMED: Params = {"caller": "alice", "callee": "bob"}
VALUES: Params = ["alice", "bob"]

NOTIFICATIONS: list[tuple[str, dict[str, Any], Params, bytes]] = [
    ("named", {}, NAMED, b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"caller":"alice","callee":"bob"}}'),
    ("values", {}, VALUES, b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":["alice","bob"]}'),
    ("empty", {}, {}, b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{}}'),
    ("empty values", {}, [], b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":[]}'),
    ("none", {}, None, b'{"id":null,"jsonrpc":"2.0","method":"E_A"}'),
    (
        "no id",
        {"null_id": False},
        NAMED,
        b'{"jsonrpc":"2.0","method":"E_A","params":{"caller":"alice","callee":"bob"}}',
    ),
    ("no id, none", {"null_id": False}, None, b'{"jsonrpc":"2.0","method":"E_A"}'),
    (
        "duplicates",
        {},
        [("k", "1"), ("k", "2")],
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"k":"1","k":"2"}}',
    ),
    ("method", {"method": "my.method"}, [1], b'{"id":null,"jsonrpc":"2.0","method":"my.method","params":[1]}'),
    ("method to escape", {"method": 'a "b"/c d'}, None, rb'{"id":null,"jsonrpc":"2.0","method":"a \"b\"/c d"}'),
    (
        "event_param named",
        {"event_param": "event"},
        NAMED,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event":"E_A","caller":"alice","callee":"bob"}}',
    ),
    (
        "event_param values",
        {"event_param": "event"},
        VALUES,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":["E_A","alice","bob"]}',
    ),
    (
        "event_param empty",
        {"event_param": "event"},
        {},
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event":"E_A"}}',
    ),
    (
        "event_param empty values",
        {"event_param": "event"},
        [],
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":["E_A"]}',
    ),
    (
        "event_param none",
        {"event_param": "event"},
        None,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event":"E_A"}}',
    ),
    (
        "event_param beside a method",
        {"event_param": 'e"v', "method": "m"},
        {"a": 1},
        rb'{"id":null,"jsonrpc":"2.0","method":"m","params":{"e\"v":"E_A","a":1}}',
    ),
    (
        "id_param named",
        {"id_param": "event_id"},
        NAMED,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"caller":"alice","callee":"bob","event_id":"a84b-1"}}',
    ),
    (
        "id_param values",
        {"id_param": "event_id"},
        VALUES,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":["alice","bob",{"event_id":"a84b-1"}]}',
    ),
    (
        "id_param empty",
        {"id_param": "event_id"},
        {},
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event_id":"a84b-1"}}',
    ),
    (
        "id_param empty values",
        {"id_param": "event_id"},
        [],
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":[{"event_id":"a84b-1"}]}',
    ),
    (
        "id_param none",
        {"id_param": "event_id"},
        None,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event_id":"a84b-1"}}',
    ),
    (
        "id_param beside event_param",
        {"id_param": 'i"d', "event_param": "event"},
        {"a": 1},
        rb'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event":"E_A","a":1,"i\"d":"a84b-1"}}',
    ),
    (
        "id_param beside event_param, none",
        {"id_param": "event_id", "event_param": "event"},
        None,
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event":"E_A","event_id":"a84b-1"}}',
    ),
    (
        "id_param beside a param of that name",
        {"id_param": "event_id"},
        {"event_id": 7, "b": 1},
        b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":{"event_id":7,"b":1,"event_id":"a84b-1"}}',
    ),
    ("raw bytes", {}, [b"\xff"], b'{"id":null,"jsonrpc":"2.0","method":"E_A","params":["\xff"]}'),
]


@pytest.mark.parametrize(("case", "settings", "params", "wire"), NOTIFICATIONS, ids=[case[0] for case in NOTIFICATIONS])
def test_the_wire(case: str, settings: dict[str, Any], params: Params, wire: bytes) -> None:
    """Notifications and requests differ in their id alone."""
    dialect = Dialect(**settings)
    tail = dialect.tail(Event("E_A", params, id="a84b-1"))
    assert dialect.notification(tail) == wire, case
    request = wire.replace(b'{"id":null,', b"{", 1).replace(b"{", b'{"id":564536063,', 1)
    assert dialect.request(564536063, tail) == request
    assert dialect.tail(Event("E_A", params, id="a84b-1")) == tail


def test_dialects_do_not_share() -> None:
    """Two sockets with the same events and other settings each write their own."""
    event = Event("E_A", [1])
    plain, other = Dialect(), Dialect(method="m", event_param="e")
    assert plain.tail(event) != other.tail(event)
    assert plain.tail(event) == b',"jsonrpc":"2.0","method":"E_A","params":[1]}'


def test_event_names_are_escaped_and_not_mixed_up() -> None:
    """Each event has its own name as its method, also after thousands of names, which are not all kept."""
    dialect = Dialect()
    for number in range(3000):
        tail = dialect.tail(Event(f'E"{number}'))
        assert tail == rb',"jsonrpc":"2.0","method":"E\"%d"}' % number
        assert dialect.tail(Event(f'E"{number}', {})) == tail[:-1] + b',"params":{}}'
    assert len(dialect._heads) <= 1024  # pyright: ignore[reportPrivateUsage]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


PARAMS: st.SearchStrategy[Any] = st.none() | st.lists(st.integers()) | st.dictionaries(TEXT, st.text("ab"))


@given(TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | st.tuples(TEXT, TEXT), PARAMS)
def test_any_request_is_json(
    name: str, method: str | None, param: str | None, event_id: tuple[str, str] | None, params: Any
) -> None:
    """Whatever the names: one JSON object, its keys in order, the event's name first and its id last if asked for."""
    dialect = Dialect(method=method, event_param=param, id_param=None if event_id is None else event_id[0])
    event = Event(name, params, id=None if event_id is None else event_id[1])
    found: list[tuple[str, Any]] = json.loads(dialect.request(2**31 - 1, dialect.tail(event)), object_pairs_hook=list)
    expected: list[tuple[str, Any]] = [("id", 2**31 - 1), ("jsonrpc", "2.0"), ("method", method or name)]
    first = [] if param is None else [(param, name)]
    last = [] if event_id is None else [event_id]
    if isinstance(params, list):
        expected.append(("params", [*[name for _ in first], *params, *[[pair] for pair in last]]))
    elif params is not None or first or last:
        expected.append(("params", [*first, *dict(params or {}).items(), *last]))
    assert found == expected
