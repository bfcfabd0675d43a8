"""Params of an event, written as words on a command line."""

from __future__ import annotations

import os
import re
from typing import Any, Final

import msgspec

from failover.errors import EventError
from failover.event import Params

__all__ = ["parse_params"]

# A name is short of what JSON allows so that a SIP URI with parameters is a value and needs no quoting.
_WORD: Final = re.compile(r"(?P<name>[\w.-]*)(?P<sign>:?=)(?P<value>.*)", re.DOTALL)


def parse_params(words: list[str]) -> Params:
    """What the words mean: `name=text` and `name:=JSON` are named; `text`, `=text` and `:=JSON` are values alone.

    Args:
        words: As the shell gives them; bytes that aren't UTF-8 pass raw.

    Returns:
        Named params, values alone, or None without any words.

    Raises:
        EventError: named and plain ones are mixed, or something after `:=` is no JSON.
    """
    named: list[tuple[str, Any]] = []
    plain: list[Any] = []
    first_named = first_plain = ""
    for word in words:
        found = _WORD.fullmatch(word)
        value = _text(word) if found is None else _value(word, found["sign"], found["value"])
        if found is not None and found["name"]:
            named.append((found["name"], value))
            first_named = first_named or word
        else:
            plain.append(value)
            first_plain = first_plain or word
    if named and plain:
        raise EventError(
            f"{first_named!r} has a name and {first_plain!r} has none; name all params or none of them"
            f" (a value that has a '=' in it can be written as '={first_named}')"
        )
    return named or plain or None


def _value(word: str, sign: str, value: str) -> Any:
    if sign == "=":
        return _text(value)
    try:
        return msgspec.json.decode(os.fsencode(value))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError(f"{word!r}: what follows ':=' must be JSON ({error}); for text, write '=' instead") from None


def _text(value: str) -> str | bytes:
    """Text, or the raw bytes that the shell gave if they are no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return os.fsencode(value)
    return value
