"""What a subscriber does with a request: replies that are odd, in their bytes, their number or their segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec
from attrs import field, frozen
from attrs.validators import instance_of

from failover.testing.actions import Action
from failover.testing.calls import Call
from failover.testing.delays import Delay, draw
from failover.testing.fields import is_count, is_delay

__all__ = [
    "Batch",
    "Garbage",
    "Huge",
    "Joined",
    "NoId",
    "Pretty",
    "Raw",
    "Split",
    "SplitUtf8",
    "StringId",
    "Twice",
    "WrongId",
]

_FAR: Final = 2**30  # from any id that is in flight: ids are given out one after the other


@frozen
class Twice(Action):
    """Does the work once and sends the reply twice.

    Args:
        pause: Seconds between the two, or a distribution of them.
    """

    pause: Delay = field(default=0.0, validator=is_delay)
    name: ClassVar[str] = "twice"

    def act(self, call: Call) -> None:
        """Handle, reply, reply."""
        call.handled()
        reply = call.confirmation()
        call.send(reply)
        call.line.later(draw(self.pause, call.rng), call.send, reply)


@frozen
class WrongId(Action):
    """Does the work and replies under an id that nobody gave out."""

    name: ClassVar[str] = "wrong_id"

    def act(self, call: Call) -> None:
        """Handle, reply."""
        call.handled()
        if call.raw_id is not None:
            call.send(call.confirmation(raw_id=_another(call.raw_id)))


def _another(raw_id: bytes) -> bytes:
    """An id that is not in flight: far from those that are, and positive in 31 bits."""
    value = msgspec.json.decode(raw_id)
    if isinstance(value, int):
        return b"%d" % (value ^ _FAR)
    return msgspec.json.encode(f"not {value}")


@frozen
class StringId(Action):
    """Does the work and replies with the id as a string, `"7"` for `7`."""

    name: ClassVar[str] = "string_id"

    def act(self, call: Call) -> None:
        """Handle, reply."""
        call.handled()
        raw_id = call.raw_id or b""
        call.send(call.confirmation(raw_id=raw_id if raw_id.startswith(b'"') else b'"%b"' % raw_id))


@frozen
class NoId(Action):
    """Does the work and replies without an id.

    Args:
        null: Whether the reply has `"id":null` rather than no id at all.
    """

    null: bool = False
    name: ClassVar[str] = "no_id"

    def act(self, call: Call) -> None:
        """Handle, reply."""
        call.handled()
        call.send(b'{"jsonrpc":"2.0","id":null,"result":"ok"}' if self.null else b'{"jsonrpc":"2.0","result":"ok"}')


@frozen
class Joined(Action):
    """Does the work and sends the replies of several requests in one segment, without anything between.

    Args:
        of: How many replies, >= 1.
        within: Seconds after which those that there are go out, although more were wanted.
    """

    of: int = field(default=2, validator=is_count)
    within: float = field(default=0.05, validator=is_delay)
    name: ClassVar[str] = "joined"

    def act(self, call: Call) -> None:
        """Handle, reply with others."""
        call.handled()
        if call.raw_id is not None:
            call.line.gather(self.name, call.confirmation(), of=self.of, within=self.within, join=self._join)

    @staticmethod
    def _join(replies: Sequence[bytes]) -> bytes:
        return b"".join(replies)


@frozen
class Batch(Joined):
    """Does the work and sends the replies of several requests as one JSON array, though nobody sent a batch.

    Args:
        of: How many replies, >= 1.
        within: Seconds after which those that there are go out, although more were wanted.
    """

    of: int = field(default=1, validator=is_count)
    name: ClassVar[str] = "batch"

    @staticmethod
    def _join(replies: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(replies) + b"]"


@frozen
class Garbage(Action):
    """Does the work and sends bytes that are no JSON: whoever reads them can't tell where the next reply begins.

    Args:
        data: The bytes.
    """

    data: bytes = field(default=b"\x00\xff<html>", validator=instance_of(bytes))
    name: ClassVar[str] = "garbage"

    def act(self, call: Call) -> None:
        """Handle, send."""
        call.handled()
        call.send(self.data)


@frozen
class Raw(Action):
    """Does the work and sends these bytes.

    Args:
        template: The bytes, with `ID` wherever the request's id shall stand.
    """

    template: bytes = field(default=b'{"id":ID}', validator=instance_of(bytes))
    name: ClassVar[str] = "raw"

    def act(self, call: Call) -> None:
        """Handle, send."""
        call.handled()
        call.send(self.template.replace(b"ID", call.raw_id or b"null"))


@frozen
class Split(Action):
    """Does the work and confirms in several segments.

    Args:
        at: Where to cut: offsets into the reply; `"random"`: one place drawn anew for each reply; `"everywhere"`.
        pause: Seconds between two pieces, or a distribution of them.
        result: The reply's result.
    """

    at: int | tuple[int, ...] | Literal["random", "everywhere"] = "random"
    pause: Delay = field(default=0.001, validator=is_delay)
    result: Any = "ok"
    name: ClassVar[str] = "split"

    def act(self, call: Call) -> None:
        """Handle, reply in pieces."""
        call.handled()
        reply = call.confirmation(self.result)
        if isinstance(self.at, str):
            places = range(1, len(reply)) if self.at == "everywhere" else [call.rng.randrange(1, len(reply))]
        else:
            places = sorted({place for place in _tuple(self.at) if 0 < place < len(reply)})
        call.send(*_with_pauses(reply, places, self.pause, call))


def _tuple(places: int | Sequence[int]) -> Sequence[int]:
    return (places,) if isinstance(places, int) else places


def _with_pauses(reply: bytes, places: Sequence[int], pause: Delay, call: Call) -> list[bytes | float]:
    parts: list[bytes | float] = []
    for start, end in zip((0, *places), (*places, len(reply)), strict=True):
        parts += [draw(pause, call.rng), reply[start:end]] if parts else [reply[start:end]]
    return parts


@frozen
class SplitUtf8(Action):
    """Does the work and confirms with a result in UTF-8, cut amid every character that has several bytes.

    Args:
        result: The reply's result, with such characters in it.
        pause: Seconds between two pieces, or a distribution of them.
    """

    result: str = "Zürich 東京 🙂"
    pause: Delay = field(default=0.001, validator=is_delay)
    name: ClassVar[str] = "split_utf8"

    def act(self, call: Call) -> None:
        """Handle, reply in pieces."""
        call.handled()
        reply = call.confirmation(self.result)
        places = [place for place in range(1, len(reply)) if reply[place] & 0xC0 == 0x80]  # noqa: PLR2004  # goes on
        call.send(*_with_pauses(reply, places, self.pause, call))


@frozen
class Huge(Action):
    """Does the work and confirms with a huge result.

    Args:
        size: Bytes of the result.
    """

    size: int = field(default=8 * 2**20, validator=is_count)
    name: ClassVar[str] = "huge"

    def act(self, call: Call) -> None:
        """Handle, reply."""
        call.handled()
        call.send(call.confirmation("x" * self.size))


@frozen
class Pretty(Action):
    """Does the work and confirms with a reply over several lines, with whitespace around it."""

    name: ClassVar[str] = "pretty"

    def act(self, call: Call) -> None:
        """Handle, reply."""
        call.handled()
        call.send(b"\r\n" + msgspec.json.format(call.confirmation({"stored": [1, 2]}), indent=4) + b"\r\n\t ")
