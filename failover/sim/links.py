"""A link: how long packets take from one host to another, where they are cut, and what rules they meet."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from failover.errors import ConfigError
from failover.sim.rules import PASS, Deliver, Fate, Kind, Packet, Rule
from failover.sim.seeds import derive

if TYPE_CHECKING:
    from failover.sim.network import Network

__all__ = ["Latency", "Link", "log_normal", "uniform"]

Latency = float | Callable[[random.Random], float]
"""Seconds one way: a number, or a function that draws one."""


def uniform(low: float, high: float) -> Latency:
    """Latency anywhere between two bounds.

    Args:
        low: Seconds, >= 0.
        high: Seconds, >= low.
    """
    if not 0 <= low <= high:
        raise ConfigError(f"uniform({low}, {high}): expected 0 <= low <= high, in seconds")
    return lambda generator: generator.uniform(low, high)


def log_normal(median: float, sigma: float = 0.5) -> Latency:
    """Latency with a long tail, as measured networks have.

    Args:
        median: Seconds, > 0.
        sigma: Width of the logarithm, >= 0; at 0.5 one packet in a hundred takes over three times the median.
    """
    if median <= 0 or sigma < 0:
        raise ConfigError(f"log_normal({median}, {sigma}): expected median > 0, in seconds, and sigma >= 0")
    return lambda generator: median * math.exp(generator.gauss(0.0, sigma))


class Link:
    """The way from one host to another; the way back is another link. Made by `Network.link`.

    Args:
        network: The network.
        source: Name of the sending host.
        destination: Name of the receiving host.
        latency: Seconds one way, or a function that draws them.
        bandwidth: Bytes per second, shared by all that goes this way; None for no bound.
        cut: Probability, 0 to 1, that a write arrives in more than one piece.
        loss: Probability, 0 to 1, that a datagram is lost. (Streams: the fault `loss`.)
        buffer: Bytes of one connection that may be written and not yet read at the other end, > 0.
    """

    def __init__(
        self,
        network: Network,
        source: str,
        destination: str,
        *,
        latency: Latency,
        bandwidth: float | None,
        cut: float,
        loss: float,
        buffer: int,
    ) -> None:
        self.network = network
        self.source = source
        self.destination = destination
        self.observers = network.observers
        self.rules: tuple[Rule, ...] = ()
        self.held: list[Callable[[], None]] = []
        self.configure(latency=latency, bandwidth=bandwidth, cut=cut, loss=loss, buffer=buffer)
        self._free_at = 0.0
        self._latencies = derive(network.seed, "latency", source, destination)
        self._cuts = derive(network.seed, "cut", source, destination)
        self._losses = derive(network.seed, "loss", source, destination)

    def configure(
        self,
        *,
        latency: Latency | None = None,
        bandwidth: float | None = None,
        cut: float | None = None,
        loss: float | None = None,
        buffer: int | None = None,
    ) -> None:
        """Change what is given and leave the rest as it is; arguments as the class's.

        Raises:
            ConfigError: a number out of its range.
        """
        if latency is not None:
            if not callable(latency) and not 0 <= latency < float("inf"):
                raise ConfigError(f"latency={latency!r}: expected seconds >= 0, or a function that draws them")
            self.latency = latency
            self.fixed = None if callable(latency) else float(latency)
        for name, value in (("cut", cut), ("loss", loss)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name}={value!r}: expected a probability, 0 to 1")
        if bandwidth is not None and bandwidth <= 0:
            raise ConfigError(f"bandwidth={bandwidth!r}: expected bytes per second, > 0")
        if buffer is not None and buffer <= 0:
            raise ConfigError(f"buffer={buffer!r}: expected bytes, > 0")
        self.bandwidth = bandwidth if bandwidth is not None else getattr(self, "bandwidth", None)
        self.cut = cut if cut is not None else self.cut
        self.loss = loss if loss is not None else self.loss
        self.buffer = buffer if buffer is not None else self.buffer

    cut: float = 0.0
    loss: float = 0.0
    buffer: int = 1

    def arrival(self, now: float, size: int) -> float:
        """When a packet of this size arrives that is sent now.

        Args:
            now: Virtual time, in seconds.
            size: Bytes.

        Returns:
            Virtual time, in seconds.
        """
        if self.bandwidth is not None:
            self._free_at = now = max(now, self._free_at) + size / self.bandwidth
        if self.fixed is not None:
            return now + self.fixed
        latency = self.latency
        return now + max(0.0, latency(self._latencies)) if callable(latency) else now + latency

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut what one call wrote, at random places, into what is sent as separate segments."""
        generator = self._cuts
        if len(data) < 2 or generator.random() >= self.cut:  # noqa: PLR2004  one byte can't be cut
            return [data]
        places = sorted({generator.randrange(1, len(data)) for _ in range(generator.randint(1, 3))})
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]

    def gap(self) -> float:
        """Seconds between two pieces of one write: without one they would be read together."""
        return self._cuts.uniform(1e-6, 1e-4)

    def loses(self) -> bool:
        """Whether the next datagram is lost."""
        return self.loss > 0 and self._losses.random() < self.loss

    def judge(self, kind: Kind, source_port: int, destination_port: int, data: bytes) -> tuple[Fate, float]:
        """Ask the rules, and tell the observers.

        Returns:
            What becomes of the packet, and how many seconds it is late.
        """
        network = self.network
        delay = 0.0
        fate = PASS
        if self.rules:
            packet = Packet(kind, self.source, source_port, self.destination, destination_port, data, network.loop.now)
            for rule in self.rules:
                verdict = rule(packet)
                if isinstance(verdict, Deliver):
                    delay += verdict.delay
                elif verdict is not PASS:
                    fate = verdict
                    break
        if self.observers:
            network.tell(
                kind.value, fate.value, f"{self.source}:{source_port}", f"{self.destination}:{destination_port}", data
            )
        return fate, delay

    def release(self) -> None:
        """Let go of what was held; what a rule still holds is held again."""
        held, self.held = self.held, []
        for resume in held:
            resume()
