"""Metrics: what a scrape of a real registry shows after real deliveries, also from another thread."""

from __future__ import annotations

import asyncio
import re
from threading import Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from failover.adapters.prometheus import BUCKETS, Metrics
from failover.errors import ConfigError
from failover.event import Event
from failover.group import Group
from failover.interface import EventInterface
from failover.outcome import Outcome
from failover.records import DeliveryEnded
from failover.sink import Status
from failover.sinks.callable import CallableSink
from failover.strategies import Failover, Parallel, RoundRobin
from tests.adapters.records import EVENT, EVERY, NEW, STRANGE, attempt, deliver, receipt
from tests.doubles import DOWN, SILENT, STOP, YES, FastSink, run

ORDER = ("group", "strategy", "sink", "outcome", "confirmed", "peer", "kind")


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """The samples of an exposition, as Prometheus itself parses it, without those of buckets."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        f"{sample.name}{{{','.join(sample.labels[name] for name in ORDER if name in sample.labels)}}}": sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_deliveries() -> None:
    """Attempts, deliveries with their time, what moved on and what may be there twice."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    tree = Failover(FastSink("a", SILENT.after(0.2)), FastSink("b", YES.after(0.05)), quarantine=30)
    deliver(metrics, tree, events=3)
    assert {name: value for name, value in scraped(registry).items() if value} == {
        "failover_delivery_seconds_count{cdr,confirmed}": 3,
        "failover_delivery_seconds_sum{cdr,confirmed}": pytest.approx(0.35),
        "failover_attempts_total{cdr,a,unconfirmed}": 1,
        "failover_attempts_total{cdr,b,confirmed}": 3,
        "failover_moved_on_total{cdr}": 1,
        "failover_possible_duplicates_total{cdr}": 1,
        "failover_quarantines_total{cdr,Failover,a}": 1,
    }


def test_the_exposition() -> None:
    """The names are stable: dashboards and alerts are written against them."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, buckets=(0.001, 0.01))
    for record in [*EVERY, NEW, STRANGE]:
        metrics(record)
    text = generate_latest(registry).decode()
    assert re.findall(r"^# TYPE (.*)$", text, re.MULTILINE) == [
        "failover_delivery_seconds histogram",
        "failover_attempts_total counter",
        "failover_moved_on_total counter",
        "failover_possible_duplicates_total counter",
        "failover_late_replies_total counter",
        "failover_silences_total counter",
        "failover_quarantines_total counter",
        "failover_reinstatements_total counter",
        "failover_bad_replies_total counter",
        "failover_connects_total counter",
        "failover_disconnects_total counter",
        "failover_other_records_total counter",
        "failover_group_up gauge",
        "failover_in_flight gauge",
        "failover_sink_in_service gauge",
    ]
    for line in (
        'failover_delivery_seconds_bucket{group="cdr",le="0.001",outcome="confirmed"} 0.0',
        'failover_delivery_seconds_bucket{group="cdr",le="0.01",outcome="confirmed"} 1.0',
        'failover_delivery_seconds_bucket{group="cdr",le="+Inf",outcome="confirmed"} 2.0',
        'failover_late_replies_total{confirmed="true",group="cdr",sink="a"} 1.0',
        'failover_late_replies_total{confirmed="false",group="cdr",sink="a"} 1.0',
        'failover_silences_total{group="cdr",sink="Failover"} 1.0',
        'failover_reinstatements_total{group="cdr",sink="a",strategy="Failover"} 1.0',
        'failover_bad_replies_total{peer="10.0.0.5:8080"} 1.0',
        'failover_connects_total{peer="10.0.0.5:8080"} 1.0',
        'failover_disconnects_total{peer="10.0.0.5:8080"} 1.0',
        'failover_other_records_total{kind="Recovering"} 1.0',
        'failover_other_records_total{kind="object"} 1.0',
    ):
        assert line in text.splitlines(), text
    assert "call-1" not in text, "an event's id would be a series per event"
    assert "secret" not in text


def test_a_nested_group_is_counted_once() -> None:
    """A delivery that is a part of another one is the outer group's, with all its attempts."""
    registry = CollectorRegistry()
    inner = Group("inner", Failover(FastSink("a", DOWN), FastSink("b")))
    deliver(Metrics(registry), Failover(inner, FastSink("c")))
    counted = scraped(registry)
    assert counted["failover_attempts_total{cdr,a,unreachable}"] == 1
    assert counted["failover_moved_on_total{cdr}"] == 1
    assert "inner" not in str(counted)


def test_two_groups_with_children_of_the_same_name() -> None:
    """Standing, late replies and silences are told apart by their group as well, the outermost one."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    async def main() -> None:
        for name in ("cdr", "alarms"):
            slow = FastSink("a", YES.after(2), SILENT)
            tree = Parallel(Group("inner", Failover(slow)), FastSink("b"), require="any")
            async with Group(name, tree, observers=[metrics]) as group:
                await group.deliver(EVENT)
                await asyncio.sleep(3)
                await group.deliver(EVENT)
                await asyncio.sleep(3)

    run(main())
    assert {name: value for name, value in scraped(registry).items() if "late" in name or "quarantine" in name} == {
        "failover_late_replies_total{cdr,inner,true}": 1,
        "failover_late_replies_total{alarms,inner,true}": 1,
        "failover_quarantines_total{cdr,Failover,a}": 1,
        "failover_quarantines_total{alarms,Failover,a}": 1,
    }


def test_standing_is_read_when_scraped() -> None:
    """Groups that are watched tell with each scrape what is in service and in flight; closed ones that they are."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    async def main() -> None:
        tree = Failover(
            FastSink("a", DOWN), Parallel(FastSink("b", YES.after(1)), FastSink("c"), name="P"), quarantine=30
        )
        group = Group("cdr", tree, observers=[metrics])
        metrics.watch(group, Group("bare", FastSink("x")))
        async with group:
            delivery = asyncio.ensure_future(group.deliver(EVENT))
            await asyncio.sleep(0.5)
            assert standing() == {
                "failover_group_up{cdr}": 1,
                "failover_group_up{bare}": 0,
                "failover_in_flight{cdr}": 1,
                "failover_in_flight{bare}": 0,
                "failover_sink_in_service{cdr,a}": 0,
                "failover_sink_in_service{cdr,b}": 1,
                "failover_sink_in_service{cdr,c}": 1,
            }
            await delivery
            await asyncio.sleep(31)
            assert standing()["failover_sink_in_service{cdr,a}"] == 1
            assert standing()["failover_in_flight{cdr}"] == 0
        assert standing()["failover_group_up{cdr}"] == 0
        assert "failover_sink_in_service{cdr,a}" not in standing()

    def standing() -> dict[str, float]:
        return {
            name: value
            for name, value in scraped(registry).items()
            if name.startswith(("failover_group", "failover_in", "failover_sink"))
        }

    run(main())


def test_sockets_of_one_name_are_taken_together() -> None:
    """Names are unique among siblings only; a series twice would cost the whole scrape."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    async def main() -> None:
        one = Failover(FastSink("a", DOWN), FastSink("b"), name="one")
        other = RoundRobin(FastSink("b"), FastSink("a"), name="other")
        async with Group("cdr", Parallel(one, other), observers=[metrics]) as group:
            metrics.watch(group)
            await group.deliver(EVENT)
            counted = scraped(registry)
            assert counted["failover_sink_in_service{cdr,a}"] == 0
            assert counted["failover_sink_in_service{cdr,b}"] == 1
            assert counted["failover_attempts_total{cdr,b,confirmed}"] == 2
        assert generate_latest(registry).count(b'_count{group="cdr"') == 1

    run(main())


class _Restless:
    """A group whose status changes while it is read, as often as given; then it raises something else, or doesn't."""

    name = "restless"

    def __init__(self, times: int) -> None:
        self.times = times

    def status(self) -> Status:
        """Fail as a dict does that changes while it is iterated over."""
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError("dictionary changed size during iteration")
        return Status(self.name, up=True)


def test_a_status_that_changes_while_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """It is read again; one that can't be read at all costs its own gauges alone, and is logged."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.watch(_Restless(3))
    assert scraped(registry)["failover_group_up{restless}"] == 1
    assert not caplog.records
    metrics.watch(_Restless(100))
    metrics(DeliveryEnded("cdr", attempt()))
    counted = scraped(registry)
    assert "failover_group_up{restless}" not in counted
    assert counted["failover_attempts_total{cdr,a,confirmed}"] == 1
    assert "the status of group 'restless' can't be read" in caplog.text


def test_scraped_from_another_thread_while_events_pass() -> None:
    """Each scrape is whole, counters only rise, and at the end nothing is missing."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, most=50)
    seen: list[float] = []
    failures: list[BaseException] = []
    ended = False

    def scrape() -> None:
        try:
            while not ended:
                counted = scraped(registry)
                seen.append(sum(value for name, value in counted.items() if name.startswith("failover_attempts")))
        except BaseException as failure:  # noqa: BLE001  # a thread's failure must be this test's
            failures.append(failure)

    thread = Thread(target=scrape)
    thread.start()
    try:
        for number in range(3000):
            metrics(DeliveryEnded("cdr", receipt(attempt(f"sink {number % 60}"), outcome=Outcome.CONFIRMED)))
    finally:
        ended = True
        thread.join()
    assert not failures
    assert seen == sorted(seen)
    counted = scraped(registry)
    assert counted["failover_delivery_seconds_count{cdr,confirmed}"] == 3000
    assert sum(value for name, value in counted.items() if name.startswith("failover_attempts")) == 3000


def test_bounded() -> None:
    """However many addresses come and go, there are so many series and one for the others."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, most=2)
    for number in range(10):
        metrics(DeliveryEnded(f"group {number}", attempt(f"sink {number}", Outcome.REJECTED)))
    counted = scraped(registry)
    assert {name: value for name, value in counted.items() if name.startswith("failover_attempts")} == {
        "failover_attempts_total{group 0,sink 0,rejected}": 1,
        "failover_attempts_total{group 1,sink 1,rejected}": 1,
        "failover_attempts_total{other,other,other}": 8,
    }
    assert counted["failover_delivery_seconds_count{other,other}"] == 8


def test_events_raised_by_the_interface() -> None:
    """Each subscriber is a group by its socket's name."""
    registry = CollectorRegistry()

    async def main() -> None:
        async with EventInterface(observers=[Metrics(registry)]) as events:
            events.subscribe("E_A", CallableSink(lambda _: 1 / 0, name="broken"))
            events.subscribe("E_A", CallableSink(lambda _: "yes", name="works"))
            await events.raise_event(Event("E_A"))

    run(main())
    counted = scraped(registry)
    assert counted["failover_delivery_seconds_count{broken,rejected}"] == 1
    assert counted["failover_attempts_total{works,works,confirmed}"] == 1


def test_a_refusal_is_an_outcome() -> None:
    """An event that is at fault is settled and not confirmed: it counts as rejected."""
    registry = CollectorRegistry()
    deliver(Metrics(registry), Failover(FastSink("a", STOP), FastSink("b")))
    assert scraped(registry)["failover_delivery_seconds_count{cdr,rejected}"] == 1


def test_one_for_a_registry() -> None:
    """A second one on the same registry would count everything twice under one name: that is told at once."""
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ConfigError, match="make one Metrics for all groups of a registry: Duplicated timeseries"):
        Metrics(registry)
    Metrics(None)
    Metrics(CollectorRegistry(auto_describe=True))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"buckets": ()}, "buckets must ascend, at least one"),
        ({"buckets": (1, 1)}, "buckets must ascend"),
        ({"most": 0}, "most must be an integer, 1 or more, not 0"),
        ({"most": 1.5}, "most must be"),
    ],
)
def test_misuse(settings: dict[str, Any], text: str) -> None:
    """A wrong setting is told where it is given."""
    with pytest.raises(ConfigError, match=text):
        Metrics(None, **settings)


def test_how_many_samples_there_are() -> None:
    """What the documentation says of cardinality: 17 samples per outcome of a group, 13 per sink at most."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for outcome in Outcome:
        metrics(DeliveryEnded("cdr", attempt("a", outcome)))
    samples = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert len(BUCKETS) + 3 == 17
    assert len(samples) == 17 * len(Outcome) + len(Outcome)
