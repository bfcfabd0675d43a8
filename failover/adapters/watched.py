"""What adapters can ask at any time: how a group stands."""

from __future__ import annotations

from typing import Protocol

from failover.sink import Status

__all__ = ["Watched"]


class Watched(Protocol):
    """What can be asked how it stands: a group."""

    @property
    def name(self) -> str:
        """By which records know it."""
        ...

    def status(self) -> Status:
        """How it stands now."""
        ...
