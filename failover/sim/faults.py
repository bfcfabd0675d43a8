"""The verbs: what can go wrong on the network, each one a rule or an act upon connections."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from failover.errors import ConfigError
from failover.sim.links import Latency, Link
from failover.sim.rules import DROP, HOLD, PASS, RESET, Deliver, Kind, Packet, Rule, Verdict
from failover.sim.seeds import derive

if TYPE_CHECKING:
    from failover.sim.hosts import Host
    from failover.sim.loop import SimulatedLoop
    from failover.sim.streams import Endpoint

__all__ = ["Fault", "Faults", "Hosts"]

Hosts = str | Iterable[str] | None
"""A host's name, several, or None for all."""


class Fault:
    """A rule that is active on some links until it is repaired; also a context manager that repairs it.

    Args:
        network: Where.
        name: What observers are told.
        rule: What it does.
        source: The hosts whose packets it sees.
        destination: The hosts that these packets go to.
        port: The port at the destination; None for all.
        both: Whether it sees the way back as well.
    """

    def __init__(
        self, network: Faults, name: str, rule: Rule, *, source: Hosts, destination: Hosts, port: int | None, both: bool
    ) -> None:
        self.name = name
        self.active = True
        self._network = network
        self._rule = rule
        self._source = names(source)
        self._destination = names(destination)
        self._port = port
        self._both = both

    def __repr__(self) -> str:
        return f"<Fault {self.name} {'active' if self.active else 'repaired'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.repair()

    def repair(self) -> None:
        """End the fault. What it held goes on at once; what it dropped is sent again when TCP would."""
        if self.active:
            self.active = False
            self._network.withdraw(self)

    def _forward(self, source: str, destination: str) -> bool:
        return within(source, self._source) and within(destination, self._destination)

    def rule_for(self, link: Link) -> Rule | None:
        """What it does on a link, or None if the link is not concerned."""
        forward = self._forward(link.source, link.destination)
        back = self._both and self._forward(link.destination, link.source)
        rule, port = self._rule, self._port
        if not forward and not back:
            return None
        if port is None:
            return rule

        def at_port(packet: Packet) -> Verdict:
            if (forward and packet.destination_port == port) or (back and packet.source_port == port):
                return rule(packet)
            return PASS

        return at_port


def names(hosts: Hosts) -> frozenset[str] | None:
    """The names in the form they are compared in."""
    if hosts is None:
        return None
    return frozenset(host.lower() for host in ((hosts,) if isinstance(hosts, str) else hosts))


def within(name: str, hosts: frozenset[str] | None) -> bool:
    """Whether a host is one of them."""
    return hosts is None or name in hosts


def title(verb: str, source: Hosts, destination: Hosts, port: int | None, detail: object = "") -> str:
    """A fault in one line, the same in every process."""
    ends = [
        "*" if hosts is None else hosts if isinstance(hosts, str) else "+".join(sorted(hosts))
        for hosts in (source, destination)
    ]
    return f"{verb} {ends[0]} > {ends[1]}{'' if port is None else f':{port}'}{f' {detail}' if detail != '' else ''}"


def drop(_packet: Packet) -> Verdict:
    """Everything is lost."""
    return DROP


def hold(_packet: Packet) -> Verdict:
    """Everything waits."""
    return HOLD


class Faults:
    """The part of `Network` that breaks it. Every verb that lasts returns a `Fault`, to repair or to use in `with`."""

    seed: int
    loop: SimulatedLoop
    hosts: dict[str, Host]
    links: Callable[[], Sequence[Link]]
    tell: Callable[..., None]

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbered = 0

    # -- one rule type -------------------------------------------------------------------------------------------

    def fault(
        self,
        name: str,
        rule: Rule,
        *,
        source: Hosts = None,
        destination: Hosts = None,
        port: int | None = None,
        both: bool = False,
    ) -> Fault:
        """Add a rule of your own; all verbs are made of this.

        Args:
            name: What observers are told.
            rule: Sees each packet and says `PASS`, `Deliver(delay)`, `DROP`, `HOLD` or `RESET`.
            source: Whose packets; None for all.
            destination: To whom; None for all.
            port: At the destination; None for all.
            both: Whether the way back is meant too.

        Returns:
            The fault, active from now on.
        """
        source = source if source is None or isinstance(source, str) else tuple(source)
        destination = destination if destination is None or isinstance(destination, str) else tuple(destination)
        added = Fault(
            self,
            title(name, source, destination, port),
            rule,
            source=source,
            destination=destination,
            port=port,
            both=both,
        )
        self._faults.append(added)
        self._refresh()
        self.tell("fault", added.name, "network")
        return added

    def withdraw(self, fault: Fault) -> None:
        """Take a fault's rule out; `Fault.repair` is how one says it."""
        self._faults.remove(fault)
        self._refresh()
        self.tell("repair", fault.name, "network")
        for link in self.links():
            if link.held:
                link.release()

    def repair_all(self) -> None:
        """End every fault that is active, oldest first."""
        for fault in tuple(self._faults):
            fault.repair()

    def rules_of(self, link: Link) -> tuple[Rule, ...]:
        """The rules that packets on a link meet, oldest first."""
        found = (fault.rule_for(link) for fault in self._faults)
        return tuple(rule for rule in found if rule is not None)

    def _refresh(self) -> None:
        for link in self.links():
            link.rules = self.rules_of(link)

    # -- verbs that last -----------------------------------------------------------------------------------------

    def refuse(self, destination: Hosts, port: int | None = None, *, source: Hosts = None) -> Fault:
        """New connections are refused, as by a port that nobody listens on; those that exist stay."""

        def rule(packet: Packet) -> Verdict:
            return RESET if packet.kind is Kind.SYN else PASS

        return self.fault("refuse", rule, source=source, destination=destination, port=port)

    def black_hole(self, destination: Hosts, port: int | None = None, *, source: Hosts = None) -> Fault:
        """Nothing gets there and nothing comes back: a connect hangs, a connection falls silent."""
        return self.fault("black-hole", drop, source=source, destination=destination, port=port, both=True)

    def partition(self, source: Hosts, destination: Hosts, *, one_way: bool = False) -> Fault:
        """The network between two sides is cut; one way, packets from `source` to `destination` alone are lost."""
        name = "partition-one-way" if one_way else "partition"
        return self.fault(name, drop, source=source, destination=destination, both=not one_way)

    def hold(self, source: Hosts, destination: Hosts, *, port: int | None = None, one_way: bool = True) -> Fault:
        """Packets wait, in order, until the fault is repaired; then all of them come at once."""
        return self.fault("hold", hold, source=source, destination=destination, port=port, both=not one_way)

    def latency(
        self,
        extra: Latency,
        destination: Hosts,
        port: int | None = None,
        *,
        source: Hosts = None,
        one_way: bool = False,
    ) -> Fault:
        """Packets take longer, by a number of seconds or by one drawn from a distribution (that is jitter)."""
        generator = derive(self.seed, "fault", str(self._number()))

        def rule(_packet: Packet) -> Verdict:
            return Deliver(extra(generator) if callable(extra) else extra)

        return self.fault("latency", rule, source=source, destination=destination, port=port, both=not one_way)

    def jitter(self, most: float, destination: Hosts, port: int | None = None, *, source: Hosts = None) -> Fault:
        """Each packet takes longer by anything up to `most` seconds; datagrams overtake each other, streams don't."""
        return self.latency(lambda generator: generator.uniform(0.0, most), destination, port, source=source)

    def loss(self, probability: float, destination: Hosts, port: int | None = None, *, source: Hosts = None) -> Fault:
        """Packets are lost at random, both ways: datagrams for good, streams until TCP sends them again."""
        if not 0 <= probability <= 1:
            raise ConfigError(f"loss({probability!r}): expected a probability, 0 to 1")
        generator = derive(self.seed, "fault", str(self._number()))

        def rule(_packet: Packet) -> Verdict:
            return DROP if generator.random() < probability else PASS

        return self.fault("loss", rule, source=source, destination=destination, port=port, both=True)

    def bandwidth(self, rate: float, destination: Hosts, port: int | None = None, *, source: Hosts = None) -> Fault:
        """All packets there share a bound in bytes per second, and so do all packets back."""
        if rate <= 0:
            raise ConfigError(f"bandwidth({rate!r}): expected bytes per second, > 0")
        free: dict[str, float] = {}

        def rule(packet: Packet) -> Verdict:
            begin = max(packet.time, free.get(packet.destination, 0.0))
            free[packet.destination] = end = begin + len(packet.data) / rate
            return Deliver(end - packet.time)

        return self.fault("bandwidth", rule, source=source, destination=destination, port=port, both=True)

    def _number(self) -> int:
        self._numbered += 1
        return self._numbered

    # -- acts ----------------------------------------------------------------------------------------------------

    def reset(self, host: str, port: int | None = None, *, peer: str | None = None) -> int:
        """Reset every open connection of a host now: both ends get a RST.

        Args:
            host: Whose connections.
            port: Those at this port of the host; None for all.
            peer: Those with this host; None for all.

        Returns:
            How many.
        """
        found = self._connections(host, port, peer)
        self.tell("fault", title("reset", peer, host, port, len(found)), "network")
        for endpoint in found:
            other = endpoint.outgoing.destination
            endpoint.reset()
            other.reset()
        return len(found)

    def half_open(self, host: str, port: int | None = None, *, peer: str | None = None) -> int:
        """A host loses its connections, as when it times out behind a dead path, and its peers are not told.

        The host's programs see ETIMEDOUT; a peer goes on to believe in the connection, and what it sends brings a RST.

        Args:
            host: Who loses them.
            port: Those at this port of the host; None for all.
            peer: Those with this host; None for all.

        Returns:
            How many.
        """
        found = self._connections(host, port, peer)
        self.tell("fault", title("half-open", peer, host, port, len(found)), "network")
        for endpoint in found:
            endpoint.fail(errno.ETIMEDOUT)
        return len(found)

    def _connections(self, host: str, port: int | None, peer: str | None) -> list[Endpoint]:
        if host.lower() not in self.hosts:
            raise ConfigError(f"host {host!r}: the simulated network has {', '.join(self.hosts) or 'none'}")
        process = self.hosts[host.lower()].process
        return [
            endpoint
            for endpoint in process.endpoints
            if (port is None or endpoint.local[1] == port)
            and (peer is None or endpoint.outgoing.destination.process.host.name == peer.lower())
        ]
