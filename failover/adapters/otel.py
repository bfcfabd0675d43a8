"""Traces for OpenTelemetry: a span per delivery, below it one per strategy and attempt. Needs the extra `otel`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from failover.adapters.watched import Watched
from failover.address import SCHEMES, SocketAddress
from failover.errors import AddressError
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import DeliveryEnded, Record
from failover.schemes import parse_address
from failover.sink import Status

try:
    from opentelemetry import trace
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
    from opentelemetry.trace import Status as SpanStatus
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "failover.adapters.otel needs opentelemetry-api; install it with: pip install 'failover[otel]'",
        name=missing.name,
    ) from missing

__all__ = ["Traces"]

_KEPT: Final = 1024
"""So many sinks whose address is kept; one that is not is looked for anew each time."""
_QUIET: Final = (Outcome.ABANDONED, Outcome.SKIPPED)
"""What is no error of an attempt: nobody waited for it, or it was not tried."""

Attributes = dict[str, str | int | bool]
Path = tuple[str, ...]
"""Names from the group down to a sink: siblings have different ones."""


class Traces:
    """An observer that makes a trace of each delivery once it has ended, with the times at which things happened.

    The delivery's span is a child of the span that is current where `deliver` is awaited. Below it is a span for each
    attempt, and one for each strategy but the outermost, which the delivery itself stands for; a child that was skipped
    is an event of the span above it. A span is an error if its event was neither confirmed nor sent; an attempt that
    nobody waited for any more is none.

    Attributes are those of OpenTelemetry's conventions for JSON-RPC where there are such (`rpc.method`,
    `jsonrpc.request.id`, `server.address`, …), else `failover.…`; never params.

    Args:
        tracer: Who makes the spans; by default `failover`'s tracer of the global provider.
        clock: The present as nanoseconds since 1970; asked once per delivery to relate the loop's time to it, so that
            spans follow a clock that is set, and a machine that slept.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.tracer = trace.get_tracer("failover") if tracer is None else tracer
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._places: dict[Path, Attributes] = {}

    def watch(self, *groups: Watched) -> None:
        """Find out from these groups where their sockets are; one that is watched by this name already is replaced.

        It gives attempts their `server.address` and `server.port`. A sink that is named by its address, as by default,
        tells them by itself.
        """
        self._watched |= {group.name: group for group in groups}
        self._places.clear()

    def __call__(self, record: Record) -> None:
        """Make the trace of a delivery; of other records nothing."""
        if not isinstance(record, DeliveryEnded) or record.part:
            return
        receipt = record.receipt
        epoch = self._clock() - _nanoseconds(asyncio.get_running_loop().time())
        span = self.tracer.start_span(
            f"deliver {record.group}",
            kind=SpanKind.INTERNAL,
            start_time=epoch + _nanoseconds(receipt.began),
            attributes={"failover.group": record.group},
        )
        if span.is_recording():
            span.set_attributes(
                {
                    "failover.event.name": receipt.event.name,
                    "failover.event.id": receipt.event.id,
                    "failover.possible_duplicates": receipt.possible_duplicates,
                    **_attributes(receipt),
                }
            )
            if not _fine(receipt):
                _fail(span, receipt)
            if isinstance(receipt, Attempt):
                self._below((receipt,), (record.group,), span, epoch)
            else:
                self._below(receipt.children, (record.group, receipt.sink), span, epoch)
        span.end(epoch + _nanoseconds(receipt.ended))

    def _below(self, receipts: tuple[Receipt, ...], path: Path, above: Span, epoch: int) -> None:
        """The spans under a span, which is that of this path."""
        where = trace.set_span_in_context(above)
        for receipt in receipts:
            attributes = _attributes(receipt)
            began = epoch + _nanoseconds(receipt.began)
            if receipt.outcome is Outcome.SKIPPED and not receipt.children:
                above.add_event("failover.skipped", attributes, began)
                continue
            name, kind = receipt.sink, SpanKind.INTERNAL
            if isinstance(receipt, Attempt):
                kind = SpanKind.CLIENT
                attributes |= self._of_attempt(receipt, (*path, receipt.sink))
                name = str(attributes.get("rpc.method", name))
            span = self.tracer.start_span(name, where, kind, attributes, start_time=began)
            if not _fine(receipt) and receipt.outcome not in _QUIET:
                _fail(span, receipt)
            self._below(receipt.children, (*path, receipt.sink), span, epoch)
            span.end(epoch + _nanoseconds(receipt.ended))

    def _of_attempt(self, attempt: Attempt, path: Path) -> Attributes:
        """What the conventions say of a call: https://opentelemetry.io/docs/specs/semconv/rpc/json-rpc/."""
        place = self._places.get(path)
        if place is None:
            group = self._watched.get(path[0])
            place = _place("" if group is None else _address(group.status(), path)) or _place(attempt.sink)
            if len(self._places) < _KEPT:
                self._places[path] = place
        attributes: Attributes = {"failover.sent": attempt.sent}
        if place or attempt.request_id is not None:
            attributes |= {"rpc.system": "jsonrpc", "rpc.system.name": "jsonrpc", "jsonrpc.protocol.version": "2.0"}
            attributes |= {"rpc.method": attempt.event.name, **place}
        if attempt.request_id is not None:
            attributes["jsonrpc.request.id"] = str(attempt.request_id)
        if attempt.error is not None and attempt.error.code is not None:
            attributes["rpc.response.status_code"] = str(attempt.error.code)
        return attributes


def _attributes(receipt: Receipt) -> Attributes:
    attributes: Attributes = {
        "failover.sink": receipt.sink,
        "failover.outcome": receipt.outcome.value,
        "failover.settled": receipt.settled,
    }
    for name, said in (("failover.reason", receipt.reason), ("failover.why", receipt.why)):
        if said:
            attributes[name] = said
    if receipt.verdict is not None:
        attributes["failover.verdict"] = receipt.verdict.value
    return attributes


def _fine(receipt: Receipt) -> bool:
    return receipt.confirmed or receipt.outcome is Outcome.SENT


def _fail(span: Span, receipt: Receipt) -> None:
    span.set_attribute("error.type", receipt.outcome.value)
    span.set_status(SpanStatus(StatusCode.ERROR, receipt.reason or receipt.outcome.value))


def _address(status: Status, path: Path) -> str:
    """Where the sink at this path of a group's tree is; empty if nobody knows."""
    for name in path[1:]:
        below = next((child for child in status.children if child.name == name), None)
        if below is None:
            return ""
        status = below
    return status.address


def _place(name: str) -> Attributes:
    """Server and method, if this is the address of a socket; nothing else."""
    try:
        address = parse_address(name)
    except AddressError:
        return {}
    if not isinstance(address, SocketAddress):
        return {}
    place: Attributes = {"server.address": address.host, "server.port": address.port}
    if address.scheme in SCHEMES:
        place["network.transport"] = "tcp"
    if address.method is not None:
        place["rpc.method"] = address.method
    return place


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
