"""The simulated network: hosts by name, a link each way between any two, and the faults that are active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from failover.errors import ConfigError
from failover.sim.faults import Faults
from failover.sim.hosts import Host, Process, Start
from failover.sim.links import Latency, Link
from failover.sim.names import address_of, numeric
from failover.sim.records import Observer, Record

if TYPE_CHECKING:
    from failover.sim.loop import SimulatedLoop

__all__ = ["Network"]


class Network(Faults):
    """Hosts and links; `Simulation` makes one.

    What is not set for a pair of hosts by `link` is as given here. On the way from a host to itself nothing takes time
    and nothing is cut or lost unless `link` says so.

    Args:
        seed: Of all that is random on it.
        latency: Seconds one way, or a function that draws them: `uniform(...)`, `log_normal(...)`.
        bandwidth: Bytes per second and link; None for no bound.
        cut: Probability, 0 to 1, that a write arrives in more than one piece.
        loss: Probability, 0 to 1, that a datagram is lost.
        buffer: Bytes of a connection, each way, that may be written and not yet read.

    Attributes:
        hosts: By name.
        observers: Called with a `Record` of everything that happens; add yours. They must not touch the network.
    """

    def __init__(
        self,
        seed: int,
        *,
        latency: Latency = 0.0005,
        bandwidth: float | None = None,
        cut: float = 0.0,
        loss: float = 0.0,
        buffer: int = 262_144,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.hosts: dict[str, Host] = {}
        self.observers: list[Observer] = []
        self.loop: SimulatedLoop
        self._defaults: dict[str, Any] = {
            "latency": latency,
            "bandwidth": bandwidth,
            "cut": cut,
            "loss": loss,
            "buffer": buffer,
        }
        self._links: dict[tuple[str, str], Link] = {}
        self._addresses: dict[str, Host] = {}
        Link(self, "", "", **self._defaults)  # numbers out of range are refused here, not at the first packet

    def host(self, name: str, *, address: str | None = None, start: Start | None = None) -> Host:
        """The host of that name; made on the first call.

        Args:
            name: What `getaddrinfo` finds it by.
            address: Its address, if it shall have a certain one.
            start: Runs on it as soon as the simulation does, and again at every restart.

        Returns:
            The host, the same one for the same name.

        Raises:
            ConfigError: the name is numeric or `localhost`, or the address is not numeric, or taken.
        """
        name = name.lower()
        host = self.hosts.get(name)
        if host is None:
            if not name or name == "localhost" or numeric(name) is not None:
                raise ConfigError(f"host {name!r}: expected a name that is no address, and not localhost")
            host = Host(self, name, *address_of(len(self.hosts) + 1))
            if address is not None:
                wanted = numeric(address)
                if wanted is None or wanted in self._addresses:
                    raise ConfigError(f"host {name!r}: address={address!r}: expected a numeric address of its own")
                if ":" in wanted:
                    host.address6 = wanted
                else:
                    host.address = wanted
            self.hosts[name] = host
            self._addresses[host.address] = self._addresses[host.address6] = host
        elif address is not None:
            raise ConfigError(f"host {name!r} has the address {host.address} already")
        if start is not None:
            host.boot(start)
        return host

    def at(self, address: str, process: Process) -> Host | None:
        """The host that a process reaches under a numeric address, or None."""
        return process.host if process.host.owns(address) else self._addresses.get(address)

    def link(self, source: str, destination: str, **settings: Any) -> Link:
        """The link from one host to another.

        Args:
            source: A host's name.
            destination: A host's name.
            settings: What to change: `latency`, `bandwidth`, `cut`, `loss`, `buffer`, as of the class.

        Returns:
            The link.
        """
        link = self._links.get((source, destination))
        if link is None:
            defaults = dict(self._defaults)
            if source == destination:
                defaults.update(latency=0.0, bandwidth=None, cut=0.0, loss=0.0)
            link = self._links[source, destination] = Link(self, source, destination, **defaults)
            link.rules = self.rules_of(link)
        if settings:
            link.configure(**settings)
        return link

    def links(self) -> Sequence[Link]:
        """Every link that was used or set, in the order of first use."""
        return tuple(self._links.values())

    def tell(self, what: str, fate: str, source: str, destination: str = "", data: bytes = b"") -> None:
        """Tell the observers."""
        if self.observers:
            record = Record(self.loop.now, what, fate, source, destination, data)
            for observer in self.observers:
                observer(record)
