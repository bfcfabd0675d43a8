"""Events: what they refuse, what they keep, and what they become on the wire."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.errors import EventError
from failover.event import MAX_DEPTH, Event


class Pair(NamedTuple):
    """A tuple, but not a plain one."""

    name: str
    value: int


def nested(depth: int) -> Any:
    """A list of lists, `depth` levels in all."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def looped() -> list[Any]:
    """A list that holds itself."""
    loop: list[Any] = []
    loop.append(loop)
    return loop


LONE = "a\ud800b"
BAD: dict[str, tuple[Any, str]] = {
    "nan": ({"x": float("nan")}, r"event 'E_A': params\['x'\]: nan has no JSON form"),
    "infinity": ({"x": float("inf")}, r"params\['x'\]: inf has no JSON form"),
    "minus infinity": ([1, [float("-inf")]], r"params\[1\]\[0\]: -inf has no JSON form"),
    "set": ({"x": {1}}, r"params\['x'\]: set can't be carried by JSON; use str, int"),
    "frozenset": ([frozenset({1})], r"params\[0\]: frozenset can't be carried"),
    "tuple inside": ({"x": (1, 2)}, r"params\['x'\]: tuple can't be carried"),
    "tuple among values": ([("a", 1), 2], r"params\[0\]: tuple can't be carried"),
    "named tuple": ([Pair("a", 1)], r"params\[0\]: tests?\.?.*Pair can't be carried"),
    "object": ({"x": object()}, r"params\['x'\]: object can't be carried"),
    "complex": ([1j], r"params\[0\]: complex can't be carried"),
    "bytearray": ([bytearray(b"x")], r"params\[0\]: bytearray can't be carried"),
    "lone surrogate in a value": ({"x": LONE}, r"params\['x'\]: this string holds a lone surrogate \(U\+D800\)"),
    "lone surrogate in a name": ({LONE: 1}, r"params: name 'a\\ud800b' holds a lone surrogate \(U\+D800\)"),
    "lone surrogate deep down": ({"x": [{"y": LONE}]}, r"params\['x'\]\[0\]\['y'\]: this string holds"),
    "lone surrogate in a pair": ([(LONE, 1)], r"params: name 'a\\ud800b' holds a lone surrogate"),
    "number as a name": ({1: 2}, r"params: a name must be a string, not 1; JSON objects have no other keys"),
    "None as a name": ({"x": {None: 2}}, r"params\['x'\]: a name must be a string, not None"),
    "bytes as a name": ({b"x": 2}, r"params: a name must be a string, not b'x'"),
    "number as a pair's name": ([(1, 2)], r"params: a name must be a string, not 1"),
    "too deep": (nested(MAX_DEPTH + 1), "nested deeper than 64 levels"),
    "in a circle": ([looped()], "nested deeper than 64 levels"),
    "pair of three": ([("a", 1, 2)], r"params: a \(name, value\) tuple was expected, not \('a', 1, 2\)"),
    "pair of one": ([("a",)], r"a \(name, value\) tuple was expected"),
    "text as params": ("abc", "params must be a dict, a list of .* or None, not str"),
    "bytes as params": (b"abc", "params must be a dict, .* not bytes"),
    "number as params": (5, "params must be a dict, .* not int"),
    "set as params": ({1}, "params must be a dict, .* not set"),
    "generator as params": ((n for n in [1]), "params must be a dict, .* not generator"),
    "endless number": ({"x": 10**5000}, r"params\['x'\]: this integer has too many digits"),
    "endless number deep down": ([[10**5000]], r"params\[0\]\[0\]: this integer has too many digits"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_params_are_refused_when_the_event_is_made(case: str) -> None:
    """What JSON can't carry is one clear error that names the event, the place and the fault."""
    params, error = BAD[case]
    with pytest.raises(EventError, match=error) as caught:
        Event("E_A", params)
    assert str(caught.value).startswith("event 'E_A': params")


@pytest.mark.parametrize("name", ["", None, 5, b"E_A", ["E_A"]])
@pytest.mark.parametrize("params", [None, {}, {"a": 1}])
def test_bad_names_are_refused(name: Any, params: Any) -> None:
    """An event has a name, and it is text."""
    with pytest.raises(EventError, match="an event's name must be a non-empty string, not "):
        Event(name, params)


@pytest.mark.parametrize("params", [None, {}, {"a": 1}, {"a": [1]}, [1], [("a", 1)]])
def test_a_lone_surrogate_in_the_name_is_refused(params: Any) -> None:
    """Whatever the params: the name goes on the wire as the method."""
    with pytest.raises(EventError, match=r"event 'a\\ud800b': its name holds a lone surrogate \(U\+D800\)"):
        Event(LONE, params)


@pytest.mark.parametrize("identity", ["", 5, b"x", ["x"], False])
def test_bad_ids_are_refused(identity: Any) -> None:
    """An id is text or left out."""
    with pytest.raises(EventError, match="the id of event 'E_A' must be a non-empty string or None, not "):
        Event("E_A", id=identity)


def test_a_lone_surrogate_in_the_id_is_refused() -> None:
    """An id is written down elsewhere too: it has to have a form as bytes."""
    with pytest.raises(EventError, match=r"event 'E_A': its id holds a lone surrogate \(U\+D800\)"):
        Event("E_A", id=LONE)


def test_the_id_is_the_callers_or_its_own() -> None:
    """The same over the event's life; two events never share one by accident."""
    assert Event("E_A", id="a84b4c76e66710-1").id == "a84b4c76e66710-1"
    event, other = Event("E_A"), Event("E_A")
    assert event.id == event.id
    assert event.id != other.id
    assert len(event.id) == 32


GOOD: dict[str, tuple[Any, bytes | None]] = {
    "no params": (None, None),
    "empty names": ({}, b"{}"),
    "empty values": ([], b"[]"),
    "named": ({"caller": "alice", "callee": "bob"}, b'{"caller":"alice","callee":"bob"}'),
    "values": (["alice", "bob"], b'["alice","bob"]'),
    "tuple of values": ((3, 5), b"[3,5]"),
    "mixed": (
        {"name": "x", "num": 42, "neg": -7, "numstr": "42", "empty": ""},
        b'{"name":"x","num":42,"neg":-7,"numstr":"42","empty":""}',
    ),
    "the same name twice": ([("k", 1), ("k", 2), ("a", 0)], b'{"k":1,"k":2,"a":0}'),
    "one pair": ([("k", None)], b'{"k":null}'),
    "tuple of pairs": ((("k", 1), ("k", 1)), b'{"k":1,"k":1}'),
    "order kept": ({"z": 1, "a": 2, "m": 3}, b'{"z":1,"a":2,"m":3}'),
    "another mapping": (OrderedDict(b=1, a=2.5), b'{"b":1,"a":2.5}'),
    "constants": ([None, True, False], b"[null,true,false]"),
    "nested": ({"l": [1, [2, {}], {"k": []}]}, b'{"l":[1,[2,{}],{"k":[]}]}'),
    "deepest": (nested(MAX_DEPTH), b"[" * MAX_DEPTH + b"]" * MAX_DEPTH),
    "large numbers": ([2**70, -(2**63) - 1], b"[1180591620717411303424,-9223372036854775809]"),
    "a large number by name": ({"x": 2**64}, b'{"x":18446744073709551616}'),
    "floats": ([0.1, -2.5, 1e300, 5e-324], b"[0.1,-2.5,1e300,5e-324]"),
    "escapes": (['"\\\n\r\t\b\f'], rb'["\"\\\n\r\t\b\f"]'),
    "other control characters": (["\x00\x01\x0b\x1f"], rb'["\u0000\u0001\u000b\u001f"]'),
    "what passes raw": (["/\x7f\u2028\u2029\u00e9\U0001f600"], '["/\x7f\u2028\u2029\u00e9\U0001f600"]'.encode()),
    "names escaped like values": ({'a"\n\x01': 1}, rb'{"a\"\n\u0001":1}'),
    "bytes": ({"b": b"\xff\xfe/\x7f"}, b'{"b":"\xff\xfe/\x7f"}'),
    "bytes escaped": ([b'"\\\n\r\t\b\f\x00\x1f'], rb'["\"\\\n\r\t\b\f\u0000\u001f"]'),
    "bytes with names kept twice": ([("k", b"\x80"), ("k", b"")], b'{"k":"\x80","k":""}'),
}


@pytest.mark.parametrize("case", list(GOOD))
def test_the_bytes(case: str) -> None:
    """The params as OpenSIPS writes them: order, escapes, raw bytes, nothing between."""
    params, body = GOOD[case]
    assert Event("E_A", params).body == body


def test_later_changes_have_no_effect() -> None:
    """Params are encoded when the event is made."""
    inner = [1]
    params: dict[str, Any] = {"a": inner}
    event = Event("E_A", params)
    inner.append(2)
    params["b"] = 3
    assert event.body == b'{"a":[1]}'


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON, max_size=6) | st.lists(JSON, max_size=6))
def test_any_json_round_trips(params: Any) -> None:
    """Whatever JSON can carry arrives as it was given."""
    body = Event("E_A", params).body
    assert body is not None
    assert json.loads(body) == params


@given(st.lists(st.tuples(TEXT, JSON), min_size=1, max_size=6))
def test_any_pairs_round_trip(params: list[tuple[str, Any]]) -> None:
    """Pairs keep their order and their duplicates."""
    body = Event("E_A", params).body
    assert body is not None
    assert json.loads(body, object_pairs_hook=list)[: len(params)] == [
        (name, json.loads(json.dumps(value), object_pairs_hook=list)) for name, value in params
    ]


@given(st.binary())
def test_any_bytes_pass_raw(raw: bytes) -> None:
    """Read as one byte a character, a string of bytes is what was given; nothing else is changed than JSON needs."""
    body = Event("E_A", [raw]).body
    assert body is not None
    assert json.loads(body.decode("latin-1")) == [raw.decode("latin-1")]


@given(TEXT)
def test_bytes_and_text_agree(text: str) -> None:
    """UTF-8 given as bytes is on the wire what the text is."""
    assert Event("E_A", [text.encode()]).body == Event("E_A", [text]).body


def test_repr() -> None:
    """It shows what was given."""
    assert repr(Event("E_A")) == "Event('E_A')"
    assert repr(Event("E_A", {"a": 1}, id="x")) == "Event('E_A', {'a': 1}, id='x')"
