"""Traces: what the real SDK exports of deliveries, with times and parents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from attrs import frozen
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from failover.adapters.otel import Traces
from failover.event import Event
from failover.group import Group
from failover.interface import EventInterface
from failover.outcome import Outcome
from failover.records import DeliveryEnded
from failover.sinks.callable import CallableSink
from failover.sinks.datagram import udp
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover, Parallel
from tests.adapters.records import BAD, EVENT, EVERY, NEW, attempt, deliver, receipt
from tests.doubles import DOWN, NOTED, SILENT, STOP, YES, FastSink, run

NOW = 1_700_000_000_000_000_000
MS = 1_000_000


@frozen
class Exported:
    """A tracer and where its spans end up.

    Args:
        tracer: A real one.
        exporter: Keeps what it is given.
    """

    tracer: Tracer
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """All that have ended, in that order: a delivery's own is its last."""
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        """The one span of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def of(self, sink: str) -> ReadableSpan:
        """The one span of this sink."""
        (span,) = [span for span in self.spans if attributes(span)["failover.sink"] == sink]
        return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """What a span says."""
    return dict(span.attributes or {})


def own(span: ReadableSpan) -> int:
    """A span's id."""
    assert span.context is not None
    return span.context.span_id


def parent(span: ReadableSpan) -> int | None:
    """The id of the span above."""
    return None if span.parent is None else span.parent.span_id


@pytest.fixture
def exported() -> Iterator[Exported]:
    """The real SDK, in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Exported(provider.get_tracer("test"), exporter)
    provider.shutdown()


def traces(exported: Exported, **settings: Any) -> Traces:
    """An observer whose present is always the same nanosecond."""
    return Traces(exported.tracer, clock=lambda: NOW, **settings)


def test_a_delivery_that_moved_on(exported: Exported) -> None:
    """One trace: the delivery, an attempt that failed, one that took the event; each with its own time."""
    tree = Failover(FastSink("a", SILENT.after(0.2)), FastSink("b", YES.after(0.05)))
    deliver(traces(exported), tree)
    root = exported.named("deliver cdr")
    first, second = exported.of("a"), exported.of("b")
    assert len(exported.spans) == 3
    assert (root.start_time, root.end_time) == (NOW - 250 * MS, NOW)
    assert (first.start_time, first.end_time) == (NOW - 250 * MS, NOW - 50 * MS)
    assert (second.start_time, second.end_time) == (NOW - 50 * MS, NOW)
    assert [parent(span) for span in (root, first, second)] == [None, own(root), own(root)]
    assert [span.kind for span in (root, first, second)] == [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.CLIENT]
    codes = [span.status.status_code for span in (root, first, second)]
    assert codes == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert attributes(root) == {
        "failover.group": "cdr",
        "failover.event.name": "E_ACC_CDR",
        "failover.event.id": "call-1",
        "failover.possible_duplicates": 1,
        "failover.sink": "Failover",
        "failover.outcome": "confirmed",
        "failover.settled": True,
    }
    assert attributes(first)["error.type"] == "unconfirmed"
    assert attributes(second) == {
        "failover.sink": "b",
        "failover.outcome": "confirmed",
        "failover.settled": True,
        "failover.sent": True,
    }
    assert "secret" not in str([span.to_json() for span in exported.spans])


def test_the_conventions_for_json_rpc(exported: Exported) -> None:
    """An attempt on a socket is a client's call, by the names that every tool knows."""
    observer = traces(exported)
    named = jsonrpc("[2001:db8::5]:8080/block_ip", name="b", lazy=True)

    async def main() -> None:
        first = attempt("jsonrpc:10.0.0.5:8080", Outcome.UNREACHABLE, request_id=None, reason="connect: refused")
        async with Group("cdr", Failover(named)) as group:
            observer.watch(group)
            observer(DeliveryEnded("cdr", receipt(first, BAD, outcome=Outcome.REJECTED)))

    run(main())
    first, second = exported.of("jsonrpc:10.0.0.5:8080"), exported.of("b")
    assert first.name == "E_ACC_CDR"
    assert attributes(first) == {
        "rpc.system": "jsonrpc",
        "rpc.system.name": "jsonrpc",
        "rpc.method": "E_ACC_CDR",
        "jsonrpc.protocol.version": "2.0",
        "server.address": "10.0.0.5",
        "server.port": 8080,
        "network.transport": "tcp",
        "error.type": "unreachable",
        "failover.sink": "jsonrpc:10.0.0.5:8080",
        "failover.outcome": "unreachable",
        "failover.settled": False,
        "failover.reason": "connect: refused",
        "failover.sent": False,
    }
    assert first.status.description == "connect: refused"
    assert second.name == "block_ip"
    assert attributes(second)["server.address"] == "2001:db8::5"
    assert attributes(second)["jsonrpc.request.id"] == "7"
    assert attributes(second)["rpc.response.status_code"] == "-32602"
    assert attributes(second)["failover.verdict"] == "stop"
    assert exported.named("deliver cdr").status.status_code is StatusCode.ERROR


def test_where_the_sockets_of_a_group_are(exported: Exported) -> None:
    """Of a group that is watched each attempt says where it went, also where two sinks or two groups share a name."""
    observer = traces(exported)

    async def main() -> None:
        for name, port in (("cdr", 8010), ("alarms", 8020)):
            one = Failover(jsonrpc(f"localhost:{port}", name="a"), udp(f"localhost:{port + 1}", name="b"), name="one")
            inner = Group("inner", Failover(jsonrpc(f"localhost:{port + 2}", name="a"), FastSink("b")))
            async with Group(name, Parallel(one, inner), observers=[observer]) as group:
                observer.watch(group)
                await group.deliver(EVENT)
        async with Group("bare", jsonrpc("localhost:8030", name="a"), observers=[observer]) as group:
            await group.deliver(EVENT)
            observer.watch(group)
            await group.deliver(EVENT)

    run(main())
    ports = [attributes(span).get("server.port") for span in exported.spans if span.kind is SpanKind.CLIENT]
    assert ports == [8010, 8011, 8012, None, 8020, 8021, 8022, None, None, 8030]


def test_the_tree(exported: Exported) -> None:
    """A strategy within a strategy is a span of its own; who was passed over is an event of the span above."""
    tree = Failover(
        FastSink("down", DOWN),
        Parallel(FastSink("x", YES.after(0.1)), FastSink("y"), require="any", name="P"),
        quarantine=30,
    )
    deliver(traces(exported), tree, events=2)
    later = exported.spans[-1]
    (passed,) = later.events
    assert passed.name == "failover.skipped"
    assert dict(passed.attributes or {})["failover.reason"] == "quarantined for 30.0 s more (unreachable)"
    (inner,) = [span for span in exported.spans if parent(span) == own(later)]
    assert (inner.name, inner.kind) == ("P", SpanKind.INTERNAL)
    below = {span.name: span for span in exported.spans if parent(span) == own(inner)}
    assert set(below) == {"x", "y"}
    assert attributes(below["x"])["failover.outcome"] == "abandoned"
    assert below["x"].status.status_code is StatusCode.UNSET, "nobody waited for it: that is no error"


def test_the_caller_is_the_parent(exported: Exported) -> None:
    """The span that is current where the delivery is awaited is above it, with concurrent callers each their own."""

    async def main() -> None:
        async with Group("cdr", FastSink("a", YES.after(0.1)), observers=[traces(exported)]) as group:

            async def call(name: str) -> None:
                with exported.tracer.start_as_current_span(name):
                    await group.deliver(EVENT)

            async with asyncio.TaskGroup() as tasks:
                for name in ("call 1", "call 2"):
                    tasks.create_task(call(name))
            with exported.tracer.start_as_current_span("batch"):
                await group.deliver_many([EVENT, EVENT])

    run(main())
    above = [parent(span) for span in exported.spans if span.name == "deliver cdr"]
    calls = [own(exported.named(name)) for name in ("call 1", "call 2", "batch", "batch")]
    assert sorted(above, key=str) == sorted(calls, key=str)


@pytest.mark.parametrize("thread", [True, False])
def test_the_parent_of_a_blocking_call(exported: Exported, *, thread: bool) -> None:
    """In the caller's own thread its span is the parent; the thread that all facades share doesn't know it."""
    group = Group("cdr", CallableSink(lambda _: "yes"), observers=[traces(exported)])
    with exported.tracer.start_as_current_span("call"), group.blocking(thread=thread) as blocking:
        assert blocking.deliver(EVENT).confirmed
    above = parent(exported.named("deliver cdr"))
    assert above == (None if thread else own(exported.named("call")))


def test_cancelled(exported: Exported) -> None:
    """What there is of a delivery that was cancelled is a trace too, and an error."""

    async def main() -> None:
        async with Group("cdr", FastSink("a", YES.after(9)), observers=[traces(exported)]) as group:
            delivery = asyncio.ensure_future(group.deliver(EVENT))
            await asyncio.sleep(1)
            delivery.cancel()
            with pytest.raises(asyncio.CancelledError):
                await delivery

    run(main())
    root = exported.named("deliver cdr")
    assert attributes(root)["failover.outcome"] == "abandoned"
    assert root.status.status_code is StatusCode.ERROR
    assert (root.end_time or 0) - (root.start_time or 0) == 1000 * MS


@pytest.mark.parametrize(("answer", "code"), [(NOTED, StatusCode.UNSET), (STOP, StatusCode.ERROR)])
def test_what_is_an_error(exported: Exported, answer: Any, code: StatusCode) -> None:
    """A notification that was sent is none; an event that was refused for good is, although it is settled."""
    deliver(traces(exported), Failover(FastSink("a", answer), FastSink("b")))
    assert exported.named("deliver cdr").status.status_code is code


def test_a_nested_group_is_a_part(exported: Exported) -> None:
    """Its delivery stands in the outer group's trace, once."""
    inner = Group("inner", Failover(FastSink("a", DOWN), FastSink("b")))
    deliver(traces(exported), Failover(inner, FastSink("c")))
    assert len({span.context.trace_id for span in exported.spans if span.context is not None}) == 1
    assert sorted(span.name for span in exported.spans) == ["Failover", "a", "b", "deliver cdr", "inner"]


def test_other_records_make_no_spans(exported: Exported) -> None:
    """Records of other kinds, also of kinds that nobody knows yet, are passed over."""

    async def main() -> None:
        observer = traces(exported)
        for record in [*EVERY, NEW]:
            if not isinstance(record, DeliveryEnded):
                observer(record)

    run(main())
    assert not exported.spans


def test_without_an_sdk_or_sampled_out() -> None:
    """With the API alone, or a sampler that says no, a delivery costs one span that isn't recorded."""
    deliver(Traces(), Failover(FastSink("a")))
    assert not trace.get_current_span().is_recording()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    deliver(Traces(provider.get_tracer("test")), Failover(FastSink("a")))
    assert not exporter.get_finished_spans()


def test_events_raised_by_the_interface(exported: Exported) -> None:
    """Each subscriber's delivery is a child of the span that raised the event."""

    async def main() -> None:
        async with EventInterface(observers=[traces(exported)]) as events:
            events.subscribe("E_A", CallableSink(lambda _: 1 / 0, name="broken"))
            events.subscribe("E_A", CallableSink(lambda _: "yes", name="works"))
            with exported.tracer.start_as_current_span("raise"):
                await events.raise_event(Event("E_A"))

    run(main())
    raised = own(exported.named("raise"))
    assert {parent(exported.named(f"deliver {name}")) for name in ("broken", "works")} == {raised}
    assert exported.named("broken").status.description == "ZeroDivisionError: division by zero"


def test_many_sinks_are_not_kept(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of names is bounded; a name that is not remembered is read again."""
    monkeypatch.setattr("failover.adapters.otel._KEPT", 1)
    observer = traces(exported)

    async def main() -> None:
        for port in (1, 2, 2):
            observer(DeliveryEnded("cdr", attempt(f"tcp:10.0.0.5:{port}")))

    run(main())
    ports = [attributes(span)["server.port"] for span in exported.spans if span.kind is SpanKind.CLIENT]
    assert sorted(ports) == [1, 2, 2]
    assert len(observer._places) == 1  # pyright: ignore[reportPrivateUsage]
