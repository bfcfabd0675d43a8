"""The words of an address, each with its place: what stands in quotes, what is an option, which parentheses count.

The grammar is `failover.grammar`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeVar

from attrs import frozen

from failover.address import Span
from failover.errors import AddressError

__all__ = ["Token", "quote", "tokens"]

T = TypeVar("T")

_BLANK: Final = re.compile(r"[ \t]")
_BLANKS: Final = re.compile(r"[ \t]*")
_WORD: Final = re.compile(r"[^ \t]+")
_OPTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*=")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\["\\])*"')
_TO_CLOSING: Final = re.compile(r'"(?:[^"\\]|\\["\\])*')
_ESCAPED: Final = re.compile(r'\\(["\\])')


@frozen
class Token:
    """A word of the text, or what begins or ends a strategy.

    Args:
        kind: Which of these.
        place: Where it stands; of an option, its value.
        name: Of an option, its name.
        quoted: Whether it stands in quotes, which belong to its place.
    """

    kind: Literal["(", ")", "word"]
    place: Span
    name: Span | None = None
    quoted: bool = False

    @classmethod
    def of(cls, name: str, value: str) -> Token:
        """The option of this name and value."""
        return cls("word", Span(value), Span(name))

    def read(self, parse: Callable[[Span], T]) -> T:
        """What its text means.

        Args:
            parse: Makes that of the text without its quotes; raises `span.error(…)`.

        Raises:
            AddressError: as `parse` does; the position is that in the whole text, in quotes too.
        """
        if not self.quoted:
            return parse(self.place)
        written = str(self.place)[1:-1]
        places: list[int] = []
        at = 0
        while at < len(written):
            places.append(at)
            at += 2 if written[at] == "\\" else 1
        places.append(len(written))
        try:
            return parse(Span(_ESCAPED.sub(r"\1", written)))
        except AddressError as error:
            raise self.place.error(1 + places[error.position], error.problem, error.expected) from None


def tokens(text: Span) -> list[Token]:
    """All words, in order.

    Raises:
        AddressError: a quote that doesn't end, or not where a word does.
    """
    found: list[Token] = []
    written, at = str(text), 0
    while (at := _end_of(_BLANKS, written, at)) < len(written):
        if written[at] == "(":
            found.append(Token("(", text.cut(at, at + 1)))
            at += 1
            continue
        option = _OPTION.match(written, at)
        name = None if option is None else text.cut(at, option.end() - 1)
        begin = at if option is None else option.end()
        quoted = written[begin : begin + 1] == '"'
        end = _closing_quote(text, begin) if quoted else _end_of(_WORD, written, begin)
        found.append(Token("word", text.cut(begin, end), name, quoted))
        at = end
        while quoted and written[at : at + 1] == ")":
            found.append(Token(")", text.cut(at, at + 1)))
            at += 1
        if quoted and at < len(written) and not _BLANK.match(written, at):
            raise text.error(at, f"{written[at]!r} right after a quote", "a blank, or a ')'")
    if any(token.kind == "(" for token in found):
        return [part for token in found for part in _apart(token)]
    return found


def _apart(token: Token) -> Iterable[Token]:
    """A word, and each `)` at its end."""
    text = str(token.place)
    length = len(text) if token.kind != "word" or token.quoted else len(text.rstrip(")"))
    if length or token.name is not None:
        yield Token(token.kind, token.place.cut(0, length), token.name, token.quoted)
    for at in range(length, len(text)):
        yield Token(")", token.place.cut(at, at + 1))


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _closing_quote(text: Span, begin: int) -> int:
    """Where what is in quotes ends."""
    written = str(text)
    if found := _QUOTED.match(written, begin):
        return found.end()
    stop = _end_of(_TO_CLOSING, written, begin)
    if stop == len(written):
        raise text.error(stop, "no closing quote", f"one for that at position {text.start + begin}")
    raise text.error(stop, "a backslash by itself", "'\\\\' or '\\\"': in quotes it has to be doubled")


def quote(text: str, *, closing: bool) -> str:
    """The text, in quotes if it would be read as something else without.

    Args:
        text: What is to be read.
        closing: Whether a `)` at the end of a word ends a strategy.
    """
    if not (_BLANK.search(text) or text.startswith('"') or (closing and text.endswith(")"))):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
