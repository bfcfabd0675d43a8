"""Who is examined, how, and what is learned of them before the first clause."""

from __future__ import annotations

from ssl import SSLContext

import attrs

from failover.errors import ConfigError
from failover.event import Event, Params

__all__ = ["DIALECTS", "Subject", "Traits"]

DIALECTS = ("both", "3.0", "3.1")
"""Whose notifications and events without params are sent: those of OpenSIPS up to 3.0, of 3.1 and newer, or both."""


def _positive(_subject: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ConfigError(f"{field.name} is {value} seconds; expected more than 0")


def _a_port(_subject: object, _field: attrs.Attribute[int], value: int) -> None:
    if not 1 <= value <= 65535:  # noqa: PLR2004  # TCP
        raise ConfigError(f"port is {value}; expected 1 to 65535")


def _a_dialect(_subject: object, _field: attrs.Attribute[str], value: str) -> None:
    if value not in DIALECTS:
        raise ConfigError(f"dialect is {value!r}; expected one of {', '.join(DIALECTS)}")


def _at_least_one(_subject: object, field: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigError(f"{field.name} is {value}; expected 1 or more")


@attrs.frozen(kw_only=True)
class Subject:
    """The subscriber to examine, and how.

    Args:
        host: Where it listens.
        port: Where it listens.
        method: A method that it confirms; it is really called, some 500 times, also with params it doesn't expect.
            None for one that it probably doesn't know: what only a confirmation shows is then skipped.
        params: What the method needs, as of an `Event`; clauses that try params of their own add them to these.
        timeout: Seconds that each reply may take.
        quiet: Seconds in which nothing may come where nothing is expected.
        idle: Seconds that a connection is left idle.
        within: Seconds for all clauses; those that aren't begun by then are skipped, and the examination isn't ok.
        dialect: Whose notifications are sent.
        event_param: The name under which OpenSIPS leads the params with the event's name.
        connections: How many are opened at a time, at most.
        unread: Bytes of requests that are sent, at most, while their replies aren't read.
        ssl: The TLS context for every connection; None for plain TCP.

    Raises:
        ConfigError: a time, a number or the port is out of its range.
        EventError: JSON can't carry the params.
    """

    host: str
    port: int = attrs.field(validator=_a_port)
    method: str | None = None
    params: Params = None
    timeout: float = attrs.field(default=1.0, validator=_positive)
    quiet: float = attrs.field(default=0.1, validator=_positive)
    idle: float = attrs.field(default=2.0, validator=_positive)
    within: float = attrs.field(default=300.0, validator=_positive)
    dialect: str = attrs.field(default="both", validator=_a_dialect)
    event_param: str = "event"
    connections: int = attrs.field(default=32, validator=_at_least_one)
    unread: int = attrs.field(default=16 * 2**20, validator=_at_least_one)
    ssl: SSLContext | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        Event(self.name, self.params)

    @property
    def name(self) -> str:
        """The method that is called."""
        return self.method or "E_CONFORMANCE"

    @property
    def socket(self) -> str:
        """Who it is, as a group takes it."""
        return f"jsonrpc:[{self.host}]:{self.port}" if ":" in self.host else f"jsonrpc:{self.host}:{self.port}"


@attrs.frozen(kw_only=True)
class Traits:
    """What one plain request shows, so that one peculiarity fails its own clause and not all of them.

    Args:
        answers: Whether it was answered at all.
        terminator: What must follow a request before it's read: nothing, or a newline.
        confirms: Whether the method was confirmed.
        echoes: Whether the result is the params, so that values can be compared.
        refusal: How it was refused, if it was.
    """

    answers: bool = True
    terminator: bytes = b""
    confirms: bool = False
    echoes: bool = False
    refusal: str = ""

    def notes(self, subject: Subject) -> tuple[str, ...]:
        """The same in sentences for who reads the report."""
        told: list[str] = []
        if not self.answers:
            told.append("A plain request wasn't answered: most clauses can't but fail.")
        if self.terminator:
            told.append(
                "It answers only after a newline, which OpenSIPS never sends: as it is, it can't be a subscriber."
                " To see the rest, every other clause sends a newline after each request."
            )
        if self.answers and not self.confirms:
            told.append(f"It refuses {subject.name} ({self.refusal}); name a method that it confirms to see more.")
        if self.echoes:
            told.append("It returns its params: values are compared.")
        return tuple(told)
