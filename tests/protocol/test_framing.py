"""The framer: the same facts from the same bytes, however they were cut, at a bounded cost."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from failover.errors import ConfigError, FramingError
from failover.protocol.framing import Framer, Malformed
from tests.examples import examples


class Reply(msgspec.Struct):
    """A value as the tests expect it."""

    id: int
    result: Any = None


DECODER = msgspec.json.Decoder(Reply)
ONE = b'{"id":1,"result":"ok"}'
Facts = tuple[list[Reply | Malformed], str | None, int]


def facts(pieces: Iterable[bytes], *, max_frame: int = 4 * 2**20, max_depth: int = 64) -> Facts:
    """Feed the pieces and return everything that a framer tells."""
    framer = Framer(DECODER, max_frame=max_frame, max_depth=max_depth)
    found: list[Reply | Malformed] = []
    for piece in pieces:
        assert framer.broken is None or framer.feed(piece) == []
        found += framer.feed(piece) if framer.broken is None else []
        assert framer.buffered <= max_frame
    return found, None if framer.broken is None else str(framer.broken), framer.buffered


def single(stream: bytes) -> list[bytes]:
    """Cut into single bytes."""
    return [stream[index : index + 1] for index in range(len(stream))]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut at the places, which may be any numbers."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[low:high] for low, high in itertools.pairwise(edges)]


def reference(  # noqa: C901, PLR0912 - one plain loop is what makes it easy to believe
    stream: bytes, max_frame: int, max_depth: int
) -> tuple[list[bytes], tuple[str, int] | None]:
    """Cut a stream slowly, byte by byte, written for nothing but clarity: the frames, and the first fault."""
    frames: list[bytes] = []
    start: int | None = None
    stack: list[int] = []
    in_string = escaped = False
    word = b"-+.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for index, byte in enumerate(stream):
        if start is not None and not stack and not in_string and byte not in word:  # a word has ended
            text = stream[start:index]
            try:
                json.loads(text)
            except ValueError:
                return frames, ("begin", start)
            if text in (b"NaN", b"Infinity", b"-Infinity"):
                return frames, ("begin", start)
            frames.append(text)
            start = None
        if start is None:
            if byte in b" \t\r\n":
                continue
            if byte not in b'{["-0123456789tfn':
                return frames, ("begin", index)
            start = index
        elif index - start >= max_frame:
            return frames, ("bytes", index)
        if in_string:
            if escaped:
                escaped = False
            elif byte == ord("\\"):
                escaped = True
            elif byte == ord('"'):
                in_string = False
        elif byte == ord('"'):
            in_string = True
        elif byte in b"{[":
            if len(stack) == max_depth:
                return frames, ("levels", index)
            stack.append(ord("}") if byte == ord("{") else ord("]"))
        elif byte in b"}]" and stack:
            if stack.pop() != byte:
                return frames, ("close", index)
        elif not stack:
            continue  # inside a word
        if not stack and not in_string:
            frames.append(stream[start : index + 1])
            start = None
    return frames, None


def decoded(frame: bytes) -> Reply | Malformed:
    """Say what a frame on its own should become."""
    try:
        return DECODER.decode(frame)
    except (msgspec.DecodeError, ValueError) as error:
        return Malformed(frame[:256], len(frame), str(error))


def agrees(stream: bytes, told: Facts, max_frame: int = 4 * 2**20, max_depth: int = 64) -> None:
    """Check what a framer told of a stream against the slow reference."""
    frames, fault = reference(stream, max_frame, max_depth)
    found, broken, _ = told
    assert found == [decoded(frame) for frame in frames]
    if fault is None:
        assert broken is None
    else:
        assert broken is not None
        assert fault[0] in broken
        assert f"after {fault[1]} bytes" in broken


# What msgspec does, because the fast way rests on it.


def test_decode_lines_needs_no_lines() -> None:
    """Concatenated objects, with any JSON whitespace between them, are decoded by msgspec at once."""
    assert DECODER.decode_lines(ONE + ONE + b" \r\n\t" + ONE + b"\n") == [Reply(1, "ok")] * 3
    assert DECODER.decode_lines(b" \n") == []


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(ONE + b'{"id":2', id="a truncated tail"),
        pytest.param(ONE + b'{"id":"two"}' + ONE, id="one of the wrong type"),
        pytest.param(ONE + b"[" + ONE + b"]", id="an array among them"),
        pytest.param(ONE + b"," + ONE, id="a comma between"),
        pytest.param(ONE + b"\x0b" + ONE, id="whitespace that isn't JSON's"),
        pytest.param(ONE + b'{"id":1,}' + ONE, id="one with a syntax error"),
    ],
)
def test_decode_lines_is_all_or_nothing(stream: bytes) -> None:
    """One value that isn't whole and right costs msgspec's caller the whole batch."""
    with pytest.raises(msgspec.DecodeError):
        DECODER.decode_lines(stream)


def test_very_deep_values_are_a_recursion_error_of_msgspec() -> None:
    """Depth without a bound of ours would be an exception of another kind."""
    deep = b'{"id":1,"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(RecursionError):
        DECODER.decode_lines(deep)


# Values.

TABLE = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b" \r\n\t ", [], id="whitespace"),
    pytest.param(ONE, [Reply(1, "ok")], id="one"),
    pytest.param(ONE * 3, [Reply(1, "ok")] * 3, id="no separator"),
    pytest.param(
        ONE + b"\n" + ONE + b"\r\n" + ONE + b" \t " + ONE + b"\n", [Reply(1, "ok")] * 4, id="whitespace between"
    ),
    pytest.param(
        b'{\n  "id": 1,\n  "result": {\n    "a": [\n    ]\n  }\n}\n', [Reply(1, {"a": []})], id="pretty-printed"
    ),
    pytest.param(rb'{"id":1,"result":"}{\"}{\\"}', [Reply(1, '}{"}{\\')], id="brackets and escapes in strings"),
    pytest.param('{"id":1,"result":"é€😀"}'.encode(), [Reply(1, "é€😀")], id="UTF-8"),
    pytest.param(ONE * 500, [Reply(1, "ok")] * 500, id="more than a run"),
    pytest.param(b'{"id":1,"result":[{}]}' * 500, [Reply(1, [{}])] * 500, id="many nested"),
    pytest.param(b'{"id":1,"result":[' + b"{}," * 500 + b"{}]}", [Reply(1, [{}] * 501)], id="many brackets in one"),
    pytest.param(b'{"id":1,"result":"' + b"x" * 5000 + b'"}' + ONE, [Reply(1, "x" * 5000), Reply(1, "ok")], id="long"),
]


@pytest.mark.parametrize(("stream", "expected"), TABLE)
def test_values_come_whole_and_byte_by_byte(stream: bytes, expected: list[Reply]) -> None:
    """The same values come from one piece and from single bytes, and nothing stays behind."""
    assert facts([stream]) == (expected, None, 0)
    assert facts(single(stream)) == (expected, None, 0)
    agrees(stream, facts([stream]))


TRICKY = (
    ' {"id":1,"result":"a\\\\\\"}{\\u00e9é€😀"}\r\n{"id":2,"result":{"k":[[],{"":"]"},"\\\\"]}}[{"id":3}]12 -1.5e3\t'
    '"}{" {"id":"4"}true null{"id":5,"result":"\\n"}{"id":6}{"id" : 7 }\n\n{"id":8'
).encode()


def test_every_split_of_a_tricky_stream() -> None:
    """Escapes, UTF-8, nesting and neighbours of the wrong shape survive a cut at any place, or any two."""
    expected = facts([TRICKY])
    assert [value.id for value in expected[0] if isinstance(value, Reply)] == [1, 2, 5, 6, 7]
    assert [value.frame for value in expected[0] if isinstance(value, Malformed)] == [
        b'[{"id":3}]',
        b"12",
        b"-1.5e3",
        b'"}{"',
        b'{"id":"4"}',
        b"true",
        b"null",
    ]
    assert expected[2] == len(b'{"id":8')
    agrees(TRICKY, expected)
    assert facts(single(TRICKY)) == expected
    for first in range(len(TRICKY)):
        for second in (first, *range(first + 1, min(first + 7, len(TRICKY)))):
            assert facts(cut(TRICKY, (first, second))) == expected


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (b'{"id":"x"}', "Expected `int`, got `str` - at `$.id`"),
        (b"{}", "missing required field `id`"),
        (b'{"id":}', "malformed"),
        (b'{"id":1 "result":2}', "malformed"),
        (b'{"id":1,"result":"\xff"}', "utf-8"),
        (b'{"id":1,"result":"\x00"}', "malformed"),
        (b'{"id":1,"result":"\\q"}', "malformed"),
        (b'{"id":1e999999}', "at `$.id`"),
        (b'{"id":' + b"9" * 5000 + b"}", "range"),
        (b"[" + ONE + b"]", "Expected `object`, got `array`"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"' + ONE.replace(b'"', b'\\"') + b'"', "Expected `object`, got `str`"),
        (b"12 ", "Expected `object`, got `int`"),
        (b"-0.5E+7\n", "Expected `object`, got `float`"),
        (b"null ", "Expected `object`, got `null`"),
        (b"false ", "Expected `object`, got `bool`"),
    ],
)
def test_a_bad_value_harms_no_other(frame: bytes, problem: str) -> None:
    """What the decoder refuses is told in its place, and its neighbours on both sides come through."""
    stream = ONE * 2 + frame + ONE
    for pieces in ([stream], single(stream), cut(stream, (len(ONE) * 2 + 1,))):
        found, broken, buffered = facts(pieces)
        assert [type(value) for value in found] == [Reply, Reply, Malformed, Reply]
        bad = found[2]
        assert isinstance(bad, Malformed)
        assert problem in bad.problem
        assert (bad.frame, bad.size) == (frame.rstrip()[:256], len(frame.rstrip()))
        assert (broken, buffered) == (None, 0)


# Faults.


@pytest.mark.parametrize(
    ("tail", "problem", "offset"),
    [
        (b"," + ONE, "',' where a JSON value should begin", 0),
        (b"}", "'}' where a JSON value should begin", 0),
        (b"HTTP/1.1 400 Bad Request\r\n", "'H' where a JSON value should begin", 0),
        (b"\x15\x03\x03\x00\x02", "'\\x15' where a JSON value should begin", 0),
        (b"\xef\xbb\xbf" + ONE, "'\\xef' where a JSON value should begin", 0),
        (b"\x00" + ONE, "'\\x00' where a JSON value should begin", 0),
        (b"nothing here", "b'nothing' where a JSON value should begin", 0),
        (b"012 ", "b'012' where a JSON value should begin", 0),
        (b'{"a":[1}' + ONE, "'}' where ']' should close", 7),
        (b'{"a":{]}' + ONE, "']' where '}' should close", 6),
        (b"[" * 65, "a value of more than 64 levels", 64),
        (b'{"id":1,"result":' + b"[" * 64 + b"]" * 64 + b"}" + ONE, "a value of more than 64 levels", 80),
        (b'{"id":1,"a":' + b"[" * 9999 + b"]" * 9999 + b"}" + ONE, "a value of more than 64 levels", 75),
    ],
)
def test_a_fault_breaks_the_stream_after_what_came_before(tail: bytes, problem: str, offset: int) -> None:
    """Where no boundary can be trusted any more, values before the fault are returned and none after it."""
    stream = ONE * 2 + tail
    expected: Facts = ([Reply(1, "ok")] * 2, f"{problem} after {len(ONE) * 2 + offset} bytes of the stream", 0)
    assert facts([stream]) == expected
    assert facts(single(stream)) == expected
    agrees(stream, expected)


def test_depth_is_allowed_up_to_its_bound() -> None:
    """A value of just the allowed depth passes, one level more breaks; neighbours and strings don't count."""
    for levels, right in ((3, True), (4, False)):
        value = b'{"id":1,"result":' + b"[" * (levels - 1) + b'"]]]{"' + b"]" * (levels - 1) + b"}"
        for stream in (value, ONE * 9 + value + ONE, value * 40):
            for pieces in ([stream], single(stream)):
                found, broken, _ = facts(pieces, max_depth=3)
                assert (broken is None) is right
                agrees(stream, (found, broken, 0), max_depth=3)


def test_size_is_allowed_up_to_its_bound() -> None:
    """A value of just the allowed size passes, one byte more breaks; neighbours don't count."""
    fits = b'{"id":1,"result":"' + b"x" * 80 + b'"}'
    found, broken, _ = facts([ONE + fits + ONE], max_frame=100)
    assert (len(fits), len(found), broken) == (100, 3, None)
    for pieces in ([ONE + fits + b" " + ONE], single(ONE + fits + ONE)):
        found, broken, _ = facts(pieces, max_frame=99)
        assert found == [Reply(1, "ok")]
        assert broken == f"a value of more than 99 bytes after {len(ONE) + 99} bytes of the stream"


def test_numbers_and_literals_are_bounded_too() -> None:
    """A number that fits is told when the byte after it comes; one that is too long breaks the stream."""
    assert facts([b"1" * 10], max_frame=10) == ([], None, 10)
    assert facts([b"1" * 10 + b"{"], max_frame=10)[0] == [decoded(b"1" * 10)]
    assert facts([b"1" * 11], max_frame=10)[1] == "a value of more than 10 bytes after 10 bytes of the stream"
    assert facts(single(b"1" * 11), max_frame=10) == facts([b"1" * 11], max_frame=10)


def test_a_depth_that_msgspec_can_not_take_breaks_the_stream() -> None:
    """A bound set beyond the decoder's own ends in a broken stream and not in an exception."""
    stream = b'{"id":1,"a":' + b"[" * 99_999 + b"]" * 99_999 + b"}"
    found, broken, _ = facts([ONE + stream + ONE], max_depth=1_000_000)
    assert found == [Reply(1, "ok")]
    assert broken == f"a value nested too deep to be decoded after {len(ONE)} bytes of the stream"


def test_a_broken_framer_stays_broken() -> None:
    """Nothing comes out of a stream after its fault, and the first fault stays the reason."""
    framer = Framer(DECODER)
    assert framer.feed(ONE + b"?") == [Reply(1, "ok")]
    fault = framer.broken
    assert isinstance(fault, FramingError)
    assert fault.offset == len(ONE)
    assert framer.feed(ONE) == []
    assert framer.broken is fault


def test_a_fault_keeps_nothing_alive() -> None:
    """What broke a stream is kept, and must not keep the frames in which it happened, with all they had at hand."""
    framer = Framer(DECODER)
    framer.feed(b"?")
    assert isinstance(framer.broken, FramingError)
    assert framer.broken.__traceback__ is None


@pytest.mark.parametrize("bounds", [{"max_frame": 0}, {"max_depth": 0}])
def test_a_bound_below_one_is_refused(bounds: dict[str, int]) -> None:
    """A framer that could hold nothing is a mistake of its maker."""
    with pytest.raises(ConfigError, match="expected 1 or more"):
        Framer(DECODER, **bounds)


def test_decoders_of_arrays_get_them() -> None:
    """What is a value is the decoder's choice: one that takes arrays gets batches."""
    framer = Framer(cast("msgspec.json.Decoder[Reply | list[Reply]]", msgspec.json.Decoder(Reply | list[Reply])))
    assert framer.feed(b"[" + ONE + b"]" + ONE + b"[]") == [[Reply(1, "ok")], Reply(1, "ok"), []]


# Properties.

SPACE = st.text(alphabet=" \t\r\n", max_size=3).map(str.encode)
STRINGS = st.text(alphabet='ab{}[]",:\\/\n é€😀', max_size=12)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Make one value of the stream, mostly right ones."""
    shape = draw(st.integers(0, 9))
    value = {"id": draw(st.integers(0, 2**31)), "result": draw(ANY)} if shape < 7 else draw(ANY)
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 0, 2])), allow_nan=False
    )
    return text.encode()


PLACES = st.lists(st.integers(0, 2**16), max_size=12)


@examples(300)
@given(values=st.lists(st.tuples(frames(), SPACE), max_size=12), repeat=st.integers(1, 40), places=PLACES)
def test_values_come_in_order_whatever_the_segmentation(
    values: list[tuple[bytes, bytes]], repeat: int, places: list[int]
) -> None:
    """Any values, with any whitespace between them and cut anywhere, come back in order, each right or told as bad."""
    words = b"-0123456789tfn"
    stream = b"".join(frame + (space or (b" " if frame[0] in words else b"")) for frame, space in values) * repeat
    expected = [decoded(frame) for frame, _ in values] * repeat
    assert facts([stream]) == (expected, None, 0)
    assert facts(cut(stream, places)) == (expected, None, 0)
    if len(stream) < 2000:
        assert facts(single(stream)) == (expected, None, 0)


NOISE = st.lists(
    st.sampled_from(
        [ONE, b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\n", b"1", b"true", b"x", b",", b'{"id":', b"}{"]
    )
    | st.binary(max_size=3),
    max_size=40,
).map(b"".join)


@examples(500)
@given(stream=NOISE | st.binary(max_size=60), places=PLACES, max_frame=st.integers(1, 60), max_depth=st.integers(1, 4))
@example(stream=b'{"id":1}}{', places=[], max_frame=1, max_depth=1)
@example(stream=b'{"id":1,"result":"}{"}{"id":2}', places=[], max_frame=30, max_depth=1)
def test_any_bytes_give_facts_and_never_an_exception(
    stream: bytes, places: list[int], max_frame: int, max_depth: int
) -> None:
    """Noise under tight bounds gives what a slow and simple reading gives, for every segmentation."""
    for depth, size in ((max_depth, max_frame), (64, 4 * 2**20)):
        told = facts([stream], max_frame=size, max_depth=depth)
        agrees(stream, told, size, depth)
        assert facts(single(stream), max_frame=size, max_depth=depth) == told
        assert facts(cut(stream, places), max_frame=size, max_depth=depth) == told


# Cost.


class Counting:
    """A decoder that counts the bytes that it was given."""

    def __init__(self) -> None:
        self.bytes = 0

    def decode(self, data: bytes) -> Reply:
        """Decode one value."""
        self.bytes += len(data)
        return DECODER.decode(data)

    def decode_lines(self, data: bytes) -> list[Reply]:
        """Decode many values."""
        self.bytes += len(data)
        return DECODER.decode_lines(data)


LONG = b'{"id":1,"result":"' + b'x\\"' * 40_000 + b'"}'
DEEP = b'{"id":1,"result":[' + b'{"a":[{"b":"}{"}]},' * 10_000 + b"0]}"
STREAMS = {
    "long string": LONG,
    "many brackets": DEEP,
    "wrong values": b'{"id":"}{"}' * 5_000,
    "odd whitespace": (ONE + b" \t ") * 4_000,
    "pretty-printed": b'{\n "id": 1,\n "result": [\n {}]\n}\n' * 5_000,
    "unclosed": LONG[:-2],
    "arrays": b"[]" * 5_000,
    "words": b"1 " * 5_000,
}


@pytest.mark.parametrize("step", [64, 1000, 65536, 2**20])
@pytest.mark.parametrize("name", STREAMS)
def test_no_byte_is_decoded_again_and_again(name: str, step: int) -> None:
    """Whatever comes, in whatever pieces, the decoder is given each byte at most twice."""
    stream = STREAMS[name]
    counting = Counting()
    framer = Framer(cast("msgspec.json.Decoder[Reply]", counting))
    for start in range(0, len(stream), step):
        framer.feed(stream[start : start + step])
    assert framer.broken is None
    assert counting.bytes <= 2 * len(stream)


def calls(work: Callable[[], object]) -> int:
    """Count the calls, of Python and of C, that the work makes."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", STREAMS)
def test_twice_the_stream_is_twice_the_work(name: str) -> None:
    """The number of steps grows with the stream's length and not with its square."""

    def read(times: int) -> int:
        pieces = cut(STREAMS[name], range(0, len(STREAMS[name]), 512))
        framer = Framer(DECODER, max_frame=2**30)
        return calls(lambda: [framer.feed(piece) for piece in pieces * times])

    read(1)
    assert read(4) <= 4.1 * read(1) + 100


@pytest.mark.parametrize(
    ("piece", "broken"),
    [
        pytest.param(b"[" * 2**20, "levels", id="openers"),
        pytest.param(b'{"id":1,"a":"' + b"x" * 2**20, "bytes", id="an unclosed string"),
        pytest.param(b'"\\' * 2**19, "bytes", id="quotes and backslashes"),
        pytest.param(b'{"a":"' + b'\\"' * 2**19, "bytes", id="escaped quotes"),
        pytest.param(b"[],[]," * 2**17, "begin", id="arrays with commas"),
        pytest.param(b"[" + b"[]," * 2**18, "bytes", id="an endless array"),
        pytest.param(b"1" * 2**20, "bytes", id="an endless number"),
        pytest.param(b" " * 2**20, None, id="whitespace"),
        pytest.param(b"}{" * 2**19, "begin", id="boundaries"),
        pytest.param(b'{"id":1,"a":"' + b"}{" * 2**19, "bytes", id="boundaries in a string"),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in pieces"])
def test_a_hostile_stream_costs_bounded_memory_and_time(piece: bytes, broken: str | None, whole: bool) -> None:  # noqa: FBT001
    """64 MiB of the worst end early with a clear fault, or are never kept; no second is spent on any of them."""
    framer = Framer(DECODER, max_frame=2**20)
    began = time.process_time()
    if whole:
        framer.feed(piece * 64)
        assert framer.buffered <= 2**20
    else:
        for start in range(0, 2**20, 4096):
            framer.feed(piece[start : start + 4096])
            assert framer.buffered <= 2**20
        for _ in range(63):
            framer.feed(piece)
    assert (broken or "None") in str(framer.broken)
    assert framer.buffered == 0
    assert time.process_time() - began < 5


def test_a_long_value_byte_by_byte_is_linear() -> None:
    """64 KiB in single bytes take a few steps a byte."""
    stream = LONG[: 2**16]
    framer = Framer(DECODER)
    pieces = single(stream)
    assert calls(lambda: [framer.feed(piece) for piece in pieces]) <= 16 * len(stream)
