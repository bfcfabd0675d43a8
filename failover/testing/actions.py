"""What a subscriber does with a request: the actions that decide its outcome, as values.

Give one to a `ScriptedSubscriber`, to a timeline, or by its name to a drill. Unless its description says otherwise, the
work for the request is done (`Call.handled`) after the delay and before anything is written.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attrs import field, frozen

from failover.testing.calls import Call
from failover.testing.delays import Delay, draw
from failover.testing.fields import is_delay, one_of

__all__ = [
    "Action",
    "Close",
    "Confirm",
    "ConfirmUnhandled",
    "HandleThenDrop",
    "HandleThenRefuse",
    "Late",
    "Refuse",
    "Reset",
    "Silent",
]

When = Literal["before", "amid", "after"]
"""When a connection ends, seen from the reply."""
How = Literal["close", "reset", "silent"]


@frozen
class Action:
    """What a subscriber does with one request; derive from it to add your own.

    Args:
        delay: Seconds that the work takes, or a distribution of them.
    """

    delay: Delay = field(default=0.0, kw_only=True, validator=is_delay)

    name: ClassVar[str] = "action"
    """What it is called in a timeline, in a drill and in a history."""
    is_fault: ClassVar[bool] = True
    """Whether a history is told of it as a fault."""

    def act(self, call: Call) -> None:
        """Do it; the delay has passed."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of what it does: define act(self, call)")


@frozen
class Confirm(Action):
    """Does the work and confirms.

    Args:
        result: The reply's result, anything that JSON can tell.
    """

    result: Any = "ok"
    name: ClassVar[str] = "confirm"
    is_fault: ClassVar[bool] = False

    def act(self, call: Call) -> None:
        """Handle, reply."""
        call.handled()
        call.send(call.confirmation(self.result))


@frozen
class Refuse(Action):
    """Replies with an error; the work is not done.

    Args:
        code: The error's code.
        text: The error's text.
        data: The error's data; None leaves it out.
    """

    code: int = -32000
    text: str = "refused"
    data: Any = None
    name: ClassVar[str] = "error"

    def act(self, call: Call) -> None:
        """Reply."""
        call.send(call.refusal(self.code, self.text, self.data))


@frozen
class Silent(Action):
    """Does nothing and never replies."""

    name: ClassVar[str] = "silent"

    def act(self, call: Call) -> None:
        """Nothing."""


@frozen
class Late(Action):
    """Does the work at once (after `delay`) and confirms so much later; more than the sender's timeout makes it late.

    Args:
        after: Seconds from the work's end to the reply, or a distribution of them.
        result: The reply's result.
    """

    after: Delay = field(default=1.5, validator=is_delay)
    result: Any = "ok"
    name: ClassVar[str] = "late"

    def act(self, call: Call) -> None:
        """Handle, wait, reply."""
        call.handled()
        call.line.later(draw(self.after, call.rng), call.send, call.confirmation(self.result))


@frozen
class _Ending(Action):
    when: When = field(default="before", validator=one_of(When))

    def act(self, call: Call) -> None:
        """Handle and write as much as is due, then end it."""
        if self.when != "before":
            call.handled()
            reply = call.confirmation()
            call.send(reply if self.when == "after" else reply[: len(reply) // 2])
        self._end(call)

    def _end(self, call: Call) -> None:
        raise NotImplementedError


@frozen
class Close(_Ending):
    """The connection is closed by a FIN before, amid or after the reply.

    Args:
        when: `"before"`: nothing is done or written; `"amid"`: the work is done and half of the reply written;
            `"after"`: the work is done and the whole reply written.
    """

    name: ClassVar[str] = "close_on_request"

    def _end(self, call: Call) -> None:
        call.line.close()


@frozen
class Reset(_Ending):
    """The connection is reset by a RST before, amid or after the reply.

    Args:
        when: `"before"`: nothing is done or written; `"amid"`: the work is done and half of the reply written;
            `"after"`: the work is done and the whole reply written.
    """

    name: ClassVar[str] = "reset_on_request"

    def _end(self, call: Call) -> None:
        call.line.reset()


@frozen
class HandleThenDrop(Action):
    """Does the work, and then the connection ends without a reply: processed, and not confirmed.

    Args:
        how: `"close"`, `"reset"`, or `"silent"`: the connection stays and only the reply is missing.
    """

    how: How = field(default="close", validator=one_of(How))
    name: ClassVar[str] = "handle_then_drop"

    def act(self, call: Call) -> None:
        """Handle, drop."""
        call.handled()
        if self.how == "close":
            call.line.close()
        elif self.how == "reset":
            call.line.reset()


@frozen
class HandleThenRefuse(Refuse):
    """Does the work and replies with an error all the same: a subscriber that lies, which a checker finds."""

    name: ClassVar[str] = "handle_then_error"

    def act(self, call: Call) -> None:
        """Handle, refuse."""
        call.handled()
        super(HandleThenRefuse, self).act(call)  # noqa: UP008  # a class with slots is made twice


@frozen
class ConfirmUnhandled(Action):
    """Confirms and never does the work: a subscriber that lies, which a checker finds."""

    name: ClassVar[str] = "confirm_unhandled"

    def act(self, call: Call) -> None:
        """Reply."""
        call.send(call.confirmation())
