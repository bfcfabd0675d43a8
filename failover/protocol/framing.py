"""Cuts a stream of concatenated JSON into values, whatever its segmentation, within bounds of size and depth.

Two ways through, the same facts from both. A chunk that seems to be whole values is given to msgspec's `decode_lines`,
which is as fast as it gets but all or nothing. What that refuses goes to a scanner that knows brackets and strings
only: it stops and resumes anywhere, finds each value's end, and so keeps one bad value from harming another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Generic, TypeVar, cast

import attrs
import msgspec

from failover.errors import ConfigError, FramingError

__all__ = ["Framer", "Malformed"]

T = TypeVar("T")

_EXCERPT: Final = 256  # bytes of a bad value that are kept
_RUN: Final = 4096  # bytes decoded at once; fewer where brackets are so many that counting them proves nothing
_SHORT_RUN: Final = 256


def _scanner(pattern: bytes) -> Callable[[bytes, int, int], re.Match[bytes]]:
    """Compile what always matches, if only an empty stretch."""
    return cast("Callable[[bytes, int, int], re.Match[bytes]]", re.compile(pattern, re.DOTALL).match)


def _skipper(levels: int) -> bytes:
    """Write the pattern that passes whole strings, whole brackets of so many levels, and all between them."""
    pattern = rb'(?:[^\[\]{}"]++|"(?:[^"\\]++|\\.)*+")*+'
    for _ in range(levels):
        pattern = rb'(?:[^\[\]{}"]++|"(?:[^"\\]++|\\.)*+"|\{' + pattern + rb"\}|\[" + pattern + rb"\])*+"
    return pattern


_space: Final = _scanner(rb"[ \t\r\n]*+")
_word: Final = _scanner(rb"[-+.0-9A-Za-z]*+")
_string_rest: Final = _scanner(rb'(?:[^"\\]++|\\.)*+')
_skip: Final = [_scanner(_skipper(levels)) for levels in range(4)]
_SCALAR: Final = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_CLOSERS: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_WORD_STARTS: Final = frozenset(b"-0123456789tfn")
_WORD_BYTES: Final = frozenset(b"-+.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BETWEEN: Final = (b"}{", b"}\n{", b"}\r\n{")  # inside valid JSON these stand in strings only
_ENDS: Final = (b"}", b"}\n", b"}\r\n")


@attrs.frozen
class Malformed:
    """One value of the stream that isn't what was expected; where it ends is known, so its neighbours are unharmed.

    Args:
        frame: Its first bytes, at most 256.
        size: All of its bytes, counted.
        problem: What the decoder found wrong.
    """

    frame: bytes
    size: int
    problem: str


class Framer(Generic[T]):
    """Turns bytes, in pieces of any size, into decoded values; the same values whatever the pieces.

    Values may follow each other directly or with JSON whitespace between, and may be pretty-printed.

    Args:
        decoder: Decodes one value; it should accept objects or arrays only.
        max_frame: Bytes that one value may have.
        max_depth: Levels of brackets that one value may have; `{}` has one.

    Raises:
        ConfigError: a bound below 1.
    """

    __slots__ = (
        "_closers",
        "_decoder",
        "_escaped",
        "_held",
        "_in_string",
        "_max_depth",
        "_max_frame",
        "_offset",
        "_run",
        "broken",
        "refused",
    )

    broken: FramingError | None
    """Why nothing can be read any more; set once, at the first byte whose meaning can't be known."""

    def __init__(self, decoder: msgspec.json.Decoder[T], *, max_frame: int = 4 * 2**20, max_depth: int = 64) -> None:
        if max_frame < 1:
            raise ConfigError(f"max_frame is {max_frame} bytes; expected 1 or more")
        if max_depth < 1:
            raise ConfigError(f"max_depth is {max_depth} levels; expected 1 or more")
        self.broken = None
        self.refused = 0
        """How many values were malformed so far."""
        self._decoder = decoder
        self._max_frame = max_frame
        self._max_depth = max_depth
        self._run = min(_RUN, max_frame)
        self._offset = 0  # bytes of the stream before the piece at hand
        # Most connections never see half a value: these two are made when the first one comes.
        self._held: bytearray | None = None  # the incomplete value; while there is one only the scanner runs
        self._closers: bytearray | None = None  # the brackets it still needs, outermost first
        self._in_string = False
        self._escaped = False  # the last byte was a backslash in a string

    @property
    def buffered(self) -> int:
        """Bytes of the incomplete value that is held; never more than `max_frame`."""
        return len(self._held) if self._held else 0

    def feed(self, data: bytes) -> list[T | Malformed]:
        """Take the next bytes of the stream and return the values that they complete, in the stream's order.

        Values before a fault are returned also when the fault sets `broken`; afterwards there are none.

        Args:
            data: The next piece, of any size.

        Returns:
            Decoded values, and a `Malformed` in the place of each that the decoder refused.
        """
        if self.broken is not None:
            return []
        size = len(data)
        found: list[T | Malformed] = []
        tried = 0  # up to here, only the scanner
        if size <= self._run and not self._held and data.endswith(b"}"):  # what usually comes
            values = self._whole(data)
            if values is not None:
                self._offset += size
                return values
            tried = size
        position = 0
        try:
            while position < size:
                if self._held or position < tried:
                    position = self._scan(data, position, found)
                    continue
                tried = self._cut(data, position)
                values = self._whole(data[position:tried])
                if values is not None:
                    found += values
                    position = tried
        except FramingError as fault:
            self.broken = fault.with_traceback(None)  # it would keep all that the callers had at hand
            self._held = None
        self._offset += size
        return found

    def _whole(self, chunk: bytes) -> list[T | Malformed] | None:
        """Decode a chunk of whole, right and provably small values at once, or say None: look closer."""
        if len(chunk) > self._max_frame or not chunk.endswith(_ENDS):
            return None
        try:
            values = self._decoder.decode_lines(chunk)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        # A value of depth d has d openers and each other value has one, so this many can't be too deep.
        openers = chunk.count(b"{") + (chunk.count(b"[") if b"[" in chunk else 0)  # `in` is far faster
        if openers >= len(values) + self._max_depth:
            if len(values) > 1 and self._run > _SHORT_RUN:
                self._run //= 2
            return None
        return cast("list[T | Malformed]", values)

    def _cut(self, data: bytes, start: int) -> int:
        """Guess where a run of whole values from `start` ends: about a run's length, doubled for bigger values.

        A wrong guess costs time and nothing else. The scanner passes at least what was looked at here, so the time
        stays linear.
        """
        size = len(data)
        low, high = start, start + self._run
        if high >= size and data.endswith(_ENDS):
            return size
        while True:
            for between in _BETWEEN:
                found = data.rfind(between, low, high)
                if found >= 0:
                    return found + 1
            if high >= size or high - start > self._max_frame:
                return min(high, size)
            low, high = max(start, high - len(_BETWEEN[-1])), high + (high - start)

    def _scan(self, data: bytes, start: int, found: list[T | Malformed]) -> int:
        """Read on in the value that is held, or from `start` to the end of the next one; return where that is."""
        held = self._held
        if not held:
            start = _space(data, start, len(data)).end()
            if start == len(data):
                return start
        stop = min(len(data), start + self._max_frame - self.buffered)
        first = held[0] if held else data[start]
        if first in _CLOSERS or first == _QUOTE:
            end = self._end_of_structure(data, start, stop)
        elif first in _WORD_STARTS:
            end = self._end_of_word(data, start, stop)
        else:
            raise FramingError(f"{_shown(first)} where a JSON value should begin", self._offset + start)
        if end < 0:
            if stop < len(data):
                raise FramingError(f"a value of more than {self._max_frame} bytes", self._offset + stop)
            if held:
                held += data[start:]
            else:
                self._held = bytearray(data[start:])
            return stop
        if held:
            held += data[start:end]
            frame = bytes(held)
            self._held = None
        else:
            frame = data[start:end]
        if first in _WORD_STARTS and _SCALAR.fullmatch(frame) is None:
            problem = f"{frame[:_EXCERPT]!r} where a JSON value should begin"
            raise FramingError(problem, self._offset + end - len(frame))
        found.append(self._one(frame, end))
        return end

    def _one(self, frame: bytes, end: int) -> T | Malformed:
        """Decode one whole value on its own."""
        try:
            return self._decoder.decode(frame)
        except RecursionError:
            raise FramingError("a value nested too deep to be decoded", self._offset + end - len(frame)) from None
        except (msgspec.DecodeError, ValueError) as error:
            self.refused += 1
            return Malformed(frame[:_EXCERPT], len(frame), str(error))

    def _end_of_word(self, data: bytes, start: int, stop: int) -> int:
        """Find the end of a number or literal, which is known by the byte after it; -1 if there is none yet."""
        end = _word(data, start, stop).end()
        if end < stop or (stop < len(data) and data[stop] not in _WORD_BYTES):
            return end
        return -1

    def _end_of_structure(self, data: bytes, start: int, stop: int) -> int:
        """Find the end of an object, array or string, from where the last piece left off; -1 if it isn't here."""
        position = start
        closers = self._closers
        if closers is None:
            closers = self._closers = bytearray()
        while position < stop:
            if self._in_string:
                position = self._past_string(data, position, stop)
            else:
                if closers:
                    position = _skip[min(self._max_depth - len(closers), 3)](data, position, stop).end()
                    if position == stop:
                        return -1
                self._structural(closers, data[position], position)
                position += 1
            if not self._in_string and not closers:
                return position
        return -1

    def _past_string(self, data: bytes, position: int, stop: int) -> int:
        """Read on in an open string; return what comes after it, or `stop`."""
        if self._escaped:
            self._escaped = False
            position += 1
        position = _string_rest(data, position, stop).end()
        if position == stop:
            return stop
        self._escaped = self._in_string = data[position] == _BACKSLASH  # with nothing after it, or else the quote
        return position + 1

    def _structural(self, closers: bytearray, byte: int, position: int) -> None:
        """Open a string, open a bracket or close one."""
        if byte == _QUOTE:
            self._in_string = True
        elif byte in _CLOSERS:
            if len(closers) == self._max_depth:
                raise FramingError(f"a value of more than {self._max_depth} levels", self._offset + position)
            closers.append(_CLOSERS[byte])
        elif byte == closers[-1]:
            del closers[-1]
        else:
            raise FramingError(f"{_shown(byte)} where {_shown(closers[-1])} should close", self._offset + position)


def _shown(byte: int) -> str:
    """Print a byte so that it can be read."""
    return repr(bytes((byte,)))[1:]
