"""Who owns connections: one pipelined connection per peer, shared by all sinks and groups of a loop."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from random import Random
from types import TracebackType
from typing import Final, Self
from weakref import ReferenceType, WeakKeyDictionary, ref

from failover.errors import ClosedError, ConfigError, WrongLoopError
from failover.net.options import ConnectionOptions
from failover.net.peer import Lease, Peer, PeerKey
from failover.net.sweep import Sweep
from failover.pacing import is_random
from failover.records import Observer
from failover.sink import check_seconds

__all__ = ["CURRENT", "Peers"]

CURRENT: Final[ContextVar[Peers | None]] = ContextVar("failover.net.peers.CURRENT", default=None)
"""Overrides the loop's own peers for all that runs in a context, e.g. on one host of a simulated network."""

# Leases keep their peers alive; a strong reference here would keep the loop alive, and with it this entry, for ever.
_OF_LOOP: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, ReferenceType[Peers]]] = WeakKeyDictionary()


class Peers:
    """The connections of one loop (or of one simulated host), each kept for as long as some sink has a lease on it.

    Args:
        rng: For first request ids and jitter.
        linger: Seconds for which a connection outlives its last lease, 0 or more. With a linger, close it with
            `aclose` before the loop ends.

    Raises:
        ConfigError: a negative linger.
        RuntimeError: no loop is running.
    """

    def __init__(self, *, rng: Random | None = None, linger: float = 0.0) -> None:
        # What each peer would otherwise keep for itself.
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.sweep = Sweep(self.loop)
        self.rng = Random() if rng is None else rng  # ids and jitter, no secrets
        self.linger = check_seconds("linger", linger, zero=True)
        self._peers: dict[PeerKey, Peer] = {}
        self._dedicated: dict[Peer, None] = {}
        self.closed = False
        """Whether they give no more leases."""

    @classmethod
    def current(cls) -> Peers:
        """The peers of this context, else the running loop's own.

        Raises:
            RuntimeError: no loop is running.
        """
        peers = CURRENT.get()
        if peers is None:
            loop = asyncio.get_running_loop()
            known = _OF_LOOP.get(loop)
            peers = None if known is None else known()
            if peers is None or peers.closed:
                peers = cls()
                _OF_LOOP[loop] = ref(peers)
        return peers

    def lease(
        self,
        key: PeerKey,
        options: ConnectionOptions,
        *,
        observers: tuple[Observer, ...] = (),
        lazy: bool = False,
        dedicated: bool = False,
    ) -> Lease:
        """Claim the connection to a peer.

        Args:
            key: Which peer.
            options: How the connection is kept; the same for all who share it.
            observers: Who is told about it.
            lazy: Connect with the first event instead of now.
            dedicated: A connection of its own, shared with nobody.

        Raises:
            ConfigError: the connection is shared already, with other options; or, in a simulation, a reconnect policy
                whose waits come from Python's global generator.
            ClosedError: these peers are closed.
            WrongLoopError: they belong to another loop.
        """
        if self.closed:
            raise ClosedError("these peers are closed; open the group with others")
        if asyncio.get_running_loop() is not self.loop:
            raise WrongLoopError("peers belong to the loop they were made on; make others on this one")
        if getattr(self.loop, "simulated", False) and is_random(options.reconnect):
            raise ConfigError(
                f"the reconnect policy for {key} waits at random, which no seed repeats; in a simulation take one that"
                " doesn't, e.g. wait_exponential(max=10): connections add a jitter of their own"
            )
        if dedicated:
            peer = self._make(key, options)
            self._dedicated[peer] = None
            return peer.lease(observers, lazy=lazy)
        shared = self._peers.get(key)
        if shared is None:
            shared = self._peers[key] = self._make(key, options)
        elif shared.options != options:
            raise ConfigError(
                f"the connection to {key} is shared and already has other options ({shared.options.unlike(options)});"
                " use the same, or dedicated=True for a connection of its own"
            )
        return shared.lease(observers, lazy=lazy)

    async def aclose(self) -> None:
        """Close all connections; what is in flight over them gets its receipt. Idempotent."""
        self.closed = True
        for peer in [*self._peers.values(), *self._dedicated]:
            await peer.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _make(self, key: PeerKey, options: ConnectionOptions) -> Peer:
        return Peer(key, options, self)

    def drop(self, peer: Peer) -> None:
        """Forget a peer that is closed."""
        self._dedicated.pop(peer, None)
        if self._peers.get(peer.key) is peer:
            del self._peers[peer.key]
