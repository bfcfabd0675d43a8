"""Busy polling: after a write the loop looks for the reply again at once instead of sleeping, where that has helped."""

from __future__ import annotations

import asyncio
from typing import Final

from failover.protocol.pipeline import Pipeline

__all__ = ["BusyPoll"]

_RAREST: Final = 5
"""After so many failures in a row it tries at every 1,024th write and no less often."""


class BusyPoll:
    """Keeps a loop awake for some turns after a write: something callable at once is all that it takes.

    A reply that comes meanwhile is worth the next try. After each try without one, four times as many writes pass until
    the next, so that a peer that is far away or slow costs next to nothing.

    Args:
        loop: The loop.
        pipeline: Where replies come.
        turns: For how many turns of the loop after a write, 1 or more.

    Source: the idea of growing and shrinking is KVM's halt polling (Linux, Documentation/virt/kvm/halt-polling.rst).
    """

    __slots__ = ("_answered", "_failures", "_left", "_loop", "_passing", "_pipeline", "_turns")

    def __init__(self, loop: asyncio.AbstractEventLoop, pipeline: Pipeline, turns: int) -> None:
        self._loop = loop
        self._pipeline = pipeline
        self._turns = turns
        self._left = 0  # of the turns of this try
        self._answered = 0  # how many replies had come when it began, or was last worth going on
        self._failures = 0  # tries without a reply, in a row
        self._passing = 0  # so many writes pass without a try

    def wrote(self) -> None:
        """Begin a try, or go on with one that has brought a reply."""
        answered = self._pipeline.answered
        if self._left:
            if answered == self._answered:  # else writing would keep the loop awake for a peer that doesn't answer
                return
            self._failures = 0
        elif self._passing:
            self._passing -= 1
            return
        else:
            self._loop.call_soon(self._turn)
        self._left = self._turns
        self._answered = answered

    def _turn(self) -> None:
        self._left = self._left - 1 if self._pipeline.pending else 0
        if self._left:
            self._loop.call_soon(self._turn)
        else:
            self._failures = 0 if self._pipeline.answered > self._answered else min(self._failures + 1, _RAREST)
            self._passing = 4**self._failures - 1
