"""Options as they stand in an address, `name=value` with units: what each kind of value is, and what is wrong with one.

The kinds::

    time    = number ( "ms" | "s" | "m" | "h" ) | "0"
    share   = number "%"
    rate    = number ( "/s" | "/m" | "/h" )
    whole   = 1*DIGIT
    number  = 1*DIGIT [ "." 1*DIGIT ]
    boolean = "yes" | "no"
    text    = any characters; in quotes if there are blanks among them
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from failover.address import Span, check_text, one_of

__all__ = [
    "GROWTH",
    "PACE",
    "PART",
    "PERCENT",
    "PORTION",
    "RATE",
    "SHARE",
    "TEXT",
    "TIME",
    "TIME_OR_ZERO",
    "WHOLE",
    "YES_NO",
    "Given",
    "Kind",
    "Options",
    "choice",
    "number",
    "whole",
]

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_LONGEST: Final = 1e9
"""No number is larger, whatever it counts: some thirty years, or a slip of the finger."""
_SECONDS: Final = {"ms": (1, 1000), "s": (1, 1), "m": (60, 1), "h": (3600, 1)}  # as fractions: 200 ms are 0.2 s exactly
_PER_SECOND: Final = {"/s": (1, 1), "/m": (1, 60), "/h": (1, 3600)}


@frozen
class Kind:
    """One kind of value.

    Args:
        expected: What such a value looks like, with an example.
        read: Makes the value of its text; raises `span.error(…)`.
    """

    expected: str
    read: Callable[[Span], Any] = field(repr=False)


Options = Mapping[str, Kind]
"""The options that something knows, by name."""


@frozen
class Given:
    """The value of an option and where it stands.

    Args:
        value: What it means: seconds, a number, a word.
        place: Where it stands in the text.
    """

    value: Any
    place: Span


def number(
    expected: str,
    units: Mapping[str, tuple[int, int]],
    *,
    least: float = 0.0,
    most: float = _LONGEST,
    zero: bool,
    bare_zero: bool = False,
) -> Kind:
    """A kind of number.

    Args:
        expected: See `Kind`.
        units: What may follow the digits, and by which fraction the number is then multiplied.
        least: The smallest value.
        most: The largest value.
        zero: Whether it may be 0.
        bare_zero: Whether 0 needs no unit.
    """

    def read(span: Span) -> float:
        text = str(span)
        found = _NUMBER.match(text)
        if not found:
            raise span.error(0, f"{text!r} is no number", expected)
        unit = text[found.end() :]
        value = float(found[0])
        if unit not in units and not (bare_zero and value == 0 and not unit):
            raise span.error(found.end(), f"unknown unit {unit!r}" if unit else "no unit", expected)
        times, by = units.get(unit, (1, 1))
        value = value * times / by
        if value > most:
            raise span.error(0, f"{text} is too much", expected)
        if value < least or (value == 0 and not zero):
            raise span.error(0, f"{text} is too little", expected)
        return value

    return Kind(expected, read)


def whole(least: int) -> Kind:
    """Whole numbers.

    Args:
        least: The smallest that is allowed.
    """
    expected = f"a whole number from {least}"

    def read(span: Span) -> int:
        text = str(span)
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise span.error(0, f"{text!r} is none", expected)
        return int(text)

    return Kind(expected, read)


def choice(*words: str, other: Kind | None = None) -> Kind:
    """One of several words.

    Args:
        words: The words.
        other: What else it may be.
    """
    expected = one_of((*words, *([] if other is None else [other.expected])))

    def read(span: Span) -> Any:
        text = str(span)
        if text in words:
            return text
        if other is not None and text[:1].isdigit():
            return other.read(span)
        raise span.error(0, f"{text!r} is unknown", expected)

    return Kind(expected, read)


def _text(span: Span) -> str:
    if not str(span):
        raise span.error(0, "nothing after '='", TEXT.expected)
    check_text(span, "a value")
    return str(span)


def _yes_no(span: Span) -> bool:
    text = str(span)
    if text not in ("yes", "no"):
        raise span.error(0, f"{text!r} is neither", YES_NO.expected)
    return text == "yes"


TIME: Final = number("a time with its unit, such as 200ms, 1.5s, 2m or 1h", _SECONDS, zero=False)
"""Seconds, more than 0."""
TIME_OR_ZERO: Final = number("a time with its unit, such as 200ms, 30s, 5m or 0", _SECONDS, zero=True, bare_zero=True)
"""Seconds, 0 or more."""
SHARE: Final = number("a share such as 5%", {"%": (1, 100)}, zero=True, bare_zero=True)
"""A share, 5% being 0.05."""
PART: Final = number("a share from 0% to 100%", {"%": (1, 100)}, most=1.0, zero=True, bare_zero=True)
"""A part of a whole, which may be nothing."""
PORTION: Final = number("a share above 0%, at most 100%", {"%": (1, 100)}, most=1.0, zero=False)
"""A part of a whole that is something."""
RATE: Final = number("a rate such as 100/s, 30/m or 5/h", _PER_SECOND, zero=True, bare_zero=True)
"""Events per second."""
PACE: Final = number("a rate such as 100/s, 30/m or 5/h, more than 0", _PER_SECOND, zero=False)
"""Events per second, more than 0."""
GROWTH: Final = number("a number from 1, such as 2 or 1.5", {"": (1, 1)}, least=1.0, zero=False)
"""What something is multiplied with to grow."""
PERCENT: Final = number("a number above 0 and below 100, such as 95", {"": (1, 1)}, most=99.999, zero=False)
"""A percentile."""
WHOLE: Final = whole(1)
"""A whole number from 1."""
YES_NO: Final = Kind("yes or no", _yes_no)
"""A boolean."""
TEXT: Final = Kind("a name, in quotes if it has blanks", _text)
"""Any text that is not empty."""
