"""A connect in progress: the handshake, its retries, and what comes of it."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, Final

from failover.sim.channels import Channel
from failover.sim.rules import HOLD, PASS, RESET, Kind
from failover.sim.streams import Endpoint, system_error
from failover.sim.timers import Call

if TYPE_CHECKING:
    from failover.sim.hosts import Host, Process
    from failover.sim.links import Link
    from failover.sim.network import Network

__all__ = ["Attempt"]

TRIES: Final = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
"""When Linux sends the SYN again, in seconds after the first (`tcp_syn_retries` = 6)."""
GIVE_UP: Final = 127.0
"""When it gives up, with ETIMEDOUT."""


class Attempt:
    """A connect in progress.

    Args:
        network: The network.
        process: Who connects.
        host: The host it connects to.
        local: The address and port it connects from.
        remote: The address and port it connects to.
    """

    def __init__(
        self, network: Network, process: Process, host: Host, local: tuple[Any, ...], remote: tuple[Any, ...]
    ) -> None:
        self._network = network
        self._loop = network.loop
        self._process = process
        self._host = host
        self._local = local
        self._remote = remote
        self._forward = network.link(process.host.name, host.name)
        self._back = network.link(host.name, process.host.name)
        self._began = network.loop.now
        self._retry: Call | None = None
        self.established: asyncio.Future[Endpoint] = network.loop.create_future()

    def send(self) -> None:
        """Send the SYN, for the first time or again."""
        self._retry = None
        if self.established.done():
            return
        if self._loop.now >= self._began + GIVE_UP:
            self._fail(errno.ETIMEDOUT)
            return
        if self._pass(self._forward, Kind.SYN, self._local[1], self._remote[1], Call(self._arrive)) is RESET:
            self._loop.soon(Call(self._fail, errno.ECONNREFUSED))

    def _pass(self, link: Link, kind: Kind, source_port: int, destination_port: int, arrive: Call) -> object:
        """Send a packet of the handshake over a link; whatever becomes of it, someone goes on."""
        fate, delay = link.judge(kind, source_port, destination_port, b"")
        loop = self._loop
        if fate is PASS:
            loop.defer(link.arrival(loop.now, 0) + delay, arrive)
        elif fate is HOLD:
            link.held.append(lambda: loop.soon(arrive))
        elif fate is not RESET or kind is not Kind.SYN:
            self._lost()
        return fate

    def _lost(self) -> None:
        """A packet of the handshake got lost: the next SYN goes out when it is due."""
        if self._retry is None:
            tries = (self._began + after for after in TRIES)
            self._retry = Call(self.send)
            self._loop.defer(
                next((when for when in tries if when > self._loop.now), self._began + GIVE_UP), self._retry
            )

    def _arrive(self) -> None:
        """The SYN came to the host."""
        host = self._host
        if host.silent:
            self._lost()
            return
        listener = host.process.listener(self._remote)
        if listener is None or not listener.listening:
            self._pass(self._back, Kind.RST, self._remote[1], self._local[1], Call(self._fail, errno.ECONNREFUSED))
        elif listener.full:
            self._lost()
        else:
            answer = Call(self._answered)
            self._pass(self._back, Kind.SYN_ACK, self._remote[1], self._local[1], answer)

    def _answered(self) -> None:
        """The SYN-ACK came back: this end is connected, and the other will be when the ACK has come."""
        if self.established.done():
            return
        loop = self._loop
        process, server = self._process, self._host.process
        near = Endpoint(loop, process, self._local, self._remote)
        far = Endpoint(loop, server, self._remote, self._local)
        far.listener = server.listener(self._remote)
        near.outgoing = far.incoming = Channel(loop, self._forward, self._back, near, far)
        far.outgoing = near.incoming = Channel(loop, self._back, self._forward, far, near)
        if far.listener is None:  # closed or crashed since: the ACK will bring a RST
            far.vanish(reset=False)
        self.established.set_result(near)
        near.outgoing.send(Kind.ACK)

    def _fail(self, number: int) -> None:
        if self._retry is not None:
            self._retry.cancel()
        if not self.established.done():
            self.established.set_exception(system_error(number, f"Connect call failed {self._remote}"))
