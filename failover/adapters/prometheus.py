"""Metrics for Prometheus: counted as events pass, put into its words when it scrapes. Needs the extra `prometheus`."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Final

from failover.adapters.lines import moved_on
from failover.adapters.series import Counts, Durations
from failover.adapters.watched import Watched
from failover.errors import ConfigError
from failover.outcome import Outcome
from failover.receipt import Attempt
from failover.records import (
    AttemptEnded,
    BadReply,
    ConnectionChanged,
    DeliveryEnded,
    LateConfirmation,
    Quarantined,
    Record,
    Reinstated,
    Silence,
)
from failover.sink import Status

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "failover.adapters.prometheus needs prometheus-client; install it with: pip install 'failover[prometheus]'",
        name=missing.name,
    ) from missing

__all__ = ["BUCKETS", "Metrics"]

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets for a delivery's time, seconds: from loopback to a round of timeouts."""

_log = logging.getLogger("failover")
_TRIES: Final = 8  # a status that is read while its loop changes it is read again, so often


class Metrics(Collector):
    """An observer and a collector: one for all groups of a registry, in any number of loops and threads.

    Records are counted as plain numbers under a lock that is never held for long; a scrape, from whichever thread,
    copies them. Labels are names that stand in declarations (group, sink, strategy), outcomes, and peers' addresses,
    never anything of an event: per group at most 17 samples for each of the 7 outcomes, and 13 for each sink. `most`
    bounds them even where addresses come and go: what comes after that is counted as `other`. A delivery of a group
    that is nested in another one counts for the outer group alone.

    Args:
        registry: Where it registers; prometheus_client's own by default, None for nowhere.
        buckets: Upper bounds for the time of a delivery, seconds, ascending.
        most: So many label sets per metric at most, 1 or more.

    Raises:
        ConfigError: the registry has these metrics already, `buckets` don't ascend, or a bound below 1.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = REGISTRY,
        *,
        buckets: Sequence[float] = BUCKETS,
        most: int = 1000,
    ) -> None:
        if not buckets or any(one >= after for one, after in itertools.pairwise(buckets)):
            raise ConfigError(f"buckets must ascend, at least one, not {buckets!r}")
        if type(most) is not int or most < 1:
            raise ConfigError(f"most must be an integer, 1 or more, not {most!r}")
        self._lock = Lock()
        self._watched: dict[str, Watched] = {}
        self._deliveries = Durations(("group", "outcome"), buckets, most)
        self._counts = {name: Counts(labels, most) for name, (labels, _) in _COUNTERS.items()}
        self._table: Mapping[type, Callable[[Any], None]] = {
            AttemptEnded: _counted_with_its_delivery,
            DeliveryEnded: self._delivery_ended,
            LateConfirmation: self._late_reply,
            Silence: self._silence,
            Quarantined: self._quarantined,
            Reinstated: self._reinstated,
            BadReply: self._bad_reply,
            ConnectionChanged: self._connection_changed,
        }
        if registry is not None:
            try:
                registry.register(self)
            except ValueError as twice:
                raise ConfigError(f"make one Metrics for all groups of a registry: {twice}") from None

    def __call__(self, record: Record) -> None:
        """Count a record."""
        count = self._table.get(type(record), self._other)
        with self._lock:
            count(record)

    def watch(self, *groups: Watched) -> None:
        """Tell with each scrape how these groups stand then; one that is watched by this name already is replaced."""
        with self._lock:
            self._watched |= {group.name: group for group in groups}

    def describe(self) -> list[Metric]:
        """The families without their numbers: what a registry checks for duplicates."""
        return [*self._families({}, {}), *_standing([])]

    def collect(self) -> Iterator[Metric]:
        """All that there is, for a scrape."""
        with self._lock:
            deliveries = {
                labels: (histogram.counts.copy(), histogram.total)
                for labels, histogram in self._deliveries.values.items()
            }
            counts = {name: series.values.copy() for name, series in self._counts.items()}
            watched = list(self._watched.values())
        yield from self._families(deliveries, counts)
        yield from _standing([(group.name, status) for group in watched if (status := _status(group)) is not None])

    def _families(
        self,
        deliveries: Mapping[tuple[str, ...], tuple[list[int], float]],
        counts: Mapping[str, Mapping[tuple[str, ...], int]],
    ) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "failover_delivery_seconds", "Seconds from the first choice of a sink to the receipt", labels=_GROUP_OUTCOME
        )
        bounds = [*map(str, map(float, self._deliveries.bounds)), "+Inf"]
        for labels, (numbers, total) in deliveries.items():
            cumulative = map(float, itertools.accumulate(numbers))
            family.add_metric(labels, buckets=list(zip(bounds, cumulative, strict=True)), sum_value=total)
        yield family
        for name, (labels, text) in _COUNTERS.items():
            counter = CounterMetricFamily(f"failover_{name}", text, labels=labels)
            for values, number in counts.get(name, {}).items():
                counter.add_metric(values, number)
            yield counter

    def _add(self, name: str, *labels: str, number: int = 1) -> None:
        self._counts[name].add(*labels, number=number)

    def _delivery_ended(self, record: DeliveryEnded) -> None:
        if record.part:
            return
        receipt = record.receipt
        group = record.group
        self._deliveries.add(group, _NAMES[receipt.outcome], seconds=receipt.ended - receipt.began)
        attempts = self._counts["attempts"]
        while len(receipt.children) == 1:  # as always while all are well: one attempt, below any number of strategies
            receipt = receipt.children[0]
        if not receipt.children:
            if isinstance(receipt, Attempt):
                attempts.add(group, receipt.sink, _NAMES[receipt.outcome])
            return
        for node in receipt.walk():
            if isinstance(node, Attempt):
                attempts.add(group, node.sink, _NAMES[node.outcome])
        if moved_on(receipt):
            self._add("moved_on", group)
        duplicates = receipt.possible_duplicates
        if duplicates:
            self._add("possible_duplicates", group, number=duplicates)

    def _late_reply(self, record: LateConfirmation) -> None:
        self._add("late_replies", record.group, record.sink, str(record.confirmed).lower())

    def _silence(self, record: Silence) -> None:
        self._add("silences", record.group, record.sink)

    def _quarantined(self, record: Quarantined) -> None:
        self._add("quarantines", record.group, record.strategy, record.child)

    def _reinstated(self, record: Reinstated) -> None:
        self._add("reinstatements", record.group, record.strategy, record.child)

    def _bad_reply(self, record: BadReply) -> None:
        self._add("bad_replies", record.peer)

    def _connection_changed(self, record: ConnectionChanged) -> None:
        self._add("connects" if record.connected else "disconnects", record.peer)

    def _other(self, record: object) -> None:
        self._add("other_records", type(record).__name__)


_NAMES: Final = {outcome: outcome.value for outcome in Outcome}  # reading one's `value` costs as much as counting it
_GROUP_OUTCOME: Final = ("group", "outcome")

_COUNTERS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "attempts": (("group", "sink", "outcome"), "Attempts on sockets, by how they ended"),
    "moved_on": (("group",), "Deliveries for which more than one sink was tried in turn"),
    "possible_duplicates": (("group",), "How many more times than intended events may have been processed, at most"),
    "late_replies": (("group", "sink", "confirmed"), "Replies that came after their attempt had ended"),
    "silences": (("group", "sink"), "Abandoned attempts without a reply within the sink's own timeout either"),
    "quarantines": (("group", "strategy", "sink"), "Times that a strategy took a child out of service, or kept it out"),
    "reinstatements": (
        ("group", "strategy", "sink"),
        "Times that a child came back before its time, because it answered",
    ),
    "bad_replies": (("peer",), "Replies that answer nothing"),
    "connects": (("peer",), "Connections made"),
    "disconnects": (("peer",), "Connections that failed or broke"),
    "other_records": (("kind",), "Records of other kinds"),
}


def _counted_with_its_delivery(record: AttemptEnded) -> None:
    """An attempt stands in its delivery's receipt too, where the group is known."""


def _status(group: Watched) -> Status | None:
    """How a group stands; None, and a word in the log, if it can't be read: that must not cost the other metrics."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return group.status()
        except Exception:  # noqa: BLE001  # in a scrape's thread, its loop changes what is being read: then once more
            if not tries_left:
                _log.exception("the status of group %r can't be read", group.name)
    return None


def _standing(groups: Sequence[tuple[str, Status]]) -> Iterator[Metric]:
    """Gauges of how groups and their sockets stand; sockets of one name in one group are taken together."""
    up = GaugeMetricFamily("failover_group_up", "Whether the next event would be tried", labels=("group",))
    in_flight = GaugeMetricFamily("failover_in_flight", "Events given to it without a receipt yet", labels=("group",))
    in_service = GaugeMetricFamily(
        "failover_sink_in_service", "Whether it is connected and in no quarantine", labels=("group", "sink")
    )
    for name, status in groups:
        up.add_metric((name,), status.up)
        in_flight.add_metric((name,), status.in_flight)
        sinks: dict[str, bool] = {}
        for leaf in _leaves(status):
            sinks[leaf.name] = sinks.get(leaf.name, True) and leaf.up
        for sink, serves in sinks.items():
            in_service.add_metric((name, sink), serves)
    yield from (up, in_flight, in_service)


def _leaves(status: Status) -> Iterator[Status]:
    for child in status.children:
        if child.children:
            yield from _leaves(child)
        else:
            yield child
