"""What a connection may cost and how it is kept: the options shared by all sinks that use it."""

from __future__ import annotations

from typing import Any, Final

from attrs import Attribute, field, fields, frozen
from tenacity.wait import wait_base, wait_exponential

from failover.errors import ConfigError
from failover.pacing import WaitPolicy
from failover.protocol.pipeline import MAX_ID
from failover.sink import check_seconds

__all__ = ["ConnectionOptions"]


_MAX_TURNS: Final = 10_000  # some ten milliseconds: a longer wait is better slept through


def _seconds(_: object, attribute: Attribute[Any], value: float) -> None:
    check_seconds(attribute.name, value)


def _count(_: object, attribute: Attribute[Any], value: int) -> None:
    if type(value) is not int or not 1 <= value <= MAX_ID:
        raise ConfigError(f"{attribute.name} must be a whole number of 1 or more, not {value!r}")


def _turns(_: object, __: Attribute[Any], value: int) -> None:
    if type(value) is not int or not 0 <= value <= _MAX_TURNS:
        raise ConfigError(f"busy_poll must be a whole number of turns, 0 to {_MAX_TURNS:,}, not {value!r}")


def _keepalive(_: object, __: Attribute[Any], value: float | None) -> None:
    if value is not None and check_seconds("keepalive", value) < 1:
        raise ConfigError(
            f"keepalive must be 1 second or more, or None, not {value!r}; the kernel counts whole seconds"
        )


def _shown(policy: WaitPolicy) -> str:
    """What makes two policies the same, as text; tenacity's are compared by identity, and shown so."""
    return f"{type(policy).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(policy).items())})"


def _policy(_: object, __: Attribute[Any], value: WaitPolicy) -> None:
    if not isinstance(value, wait_base):
        raise ConfigError(f"reconnect must be a wait policy of tenacity, e.g. wait_exponential(max=10), not {value!r}")


def _exponential() -> WaitPolicy:
    return wait_exponential(multiplier=0.1, max=10.0)


@frozen
class ConnectionOptions:
    """Bounds and habits of one connection.

    Args:
        in_flight: How many requests may be unanswered at once, 1 or more.
        waiting: How many deliveries may wait for a slot or for the connection; more are skipped at once.
        write_buffer: Bytes that may wait for the peer to read before no more is written.
        connect_timeout: Seconds for resolving, connecting and TLS together.
        reconnect: tenacity wait policy that paces reconnects in the background; a delivery never waits for it. Its
            delays are stretched at random by up to a tenth, so that clients of one peer don't come back together.
        keepalive: Seconds of silence after which the kernel probes the peer; None never.
        max_frame: Bytes of the longest reply that is read.
        max_depth: Deepest nesting of a reply that is read.
        busy_poll: For so many turns of its loop after a write it looks for replies again at once instead of sleeping
            until one comes, where that has helped before; 0 always sleeps. Waking up takes longer than a near peer
            does. A turn of an idle loop takes 1 to 3 us, and all of a core while it lasts.

    Raises:
        ConfigError: an option out of its range.
    """

    in_flight: int = field(default=1024, validator=_count)
    waiting: int = field(default=16 * 1024, validator=_count)
    write_buffer: int = field(default=64 * 1024, validator=_count)
    connect_timeout: float = field(default=0.5, validator=_seconds)
    reconnect: WaitPolicy = field(factory=_exponential, validator=_policy, eq=_shown, repr=_shown)
    keepalive: float | None = field(default=15.0, validator=_keepalive)
    max_frame: int = field(default=4 * 2**20, validator=_count)
    max_depth: int = field(default=64, validator=_count)
    busy_poll: int = field(default=64, validator=_turns)

    def unlike(self, other: ConnectionOptions) -> str:
        """The options in which another one differs, as text: `in_flight=1024, not 64`."""
        told: list[str] = []
        for option in fields(ConnectionOptions):
            show = option.repr if callable(option.repr) else repr
            here, there = show(getattr(self, option.name)), show(getattr(other, option.name))
            if here != there:
                told.append(f"{option.name}={here}, not {there}")
        return "; ".join(told)
