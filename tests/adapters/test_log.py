"""Logging and structlog: the real libraries get what the lines say, quietly where nothing is wrong."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from failover.adapters.log import Log
from failover.adapters.structlog import StructLog
from failover.interface import EventInterface
from failover.records import Observer
from failover.sinks.callable import CallableSink
from failover.strategies import Failover
from tests.adapters.records import DELIVERED, EVERY, MOVED, NEW, REFUSED, STRANGE, deliver
from tests.doubles import DOWN, FastSink, run

LOGGER = "failover.events"


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Sentence, level and facts arrive, by default at the logger `failover.events`."""
    with caplog.at_level(logging.INFO, LOGGER):
        log = Log()
        for record in [*EVERY, NEW, STRANGE]:
            log(record)
    assert {entry.name for entry in caplog.records} == {LOGGER}
    assert [entry.levelname for entry in caplog.records].count("WARNING") == 3
    moved = caplog.records[0]
    assert moved.getMessage().startswith("cdr: E_ACC_CDR confirmed after 10.0 ms (a unreachable")
    facts: dict[str, Any] = {name: value for name, value in vars(moved).items() if name.startswith("failover_")}
    assert facts["failover_kind"] == "moved on"
    assert facts["failover_group"] == "cdr"
    assert facts["failover_event_id"] == "call-1"


def test_logging_is_quiet_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO a delivery that was confirmed at once leaves nothing; at DEBUG it does."""
    own = logging.getLogger("billing.events")
    with caplog.at_level(logging.INFO, own.name):
        Log(own)(DELIVERED)
        assert not caplog.records
    with caplog.at_level(logging.DEBUG, own.name):
        Log(own)(DELIVERED)
    assert [entry.name for entry in caplog.records] == [own.name]


def test_structlog() -> None:
    """The sentence is the event, the facts are its keys; what is below the level isn't looked at."""
    with capture_logs() as entries:
        log = StructLog()
        for record in [*EVERY, NEW, STRANGE]:
            log(record)
    assert [entry["kind"] for entry in entries if entry["log_level"] == "warning"] == [
        "undelivered",
        "quarantined",
        "bad reply",
    ]
    assert not [entry for entry in entries if entry["log_level"] == "debug"]
    (moved,) = [entry for entry in entries if entry["kind"] == "moved on"]
    assert moved["event"].startswith("cdr: E_ACC_CDR confirmed")
    assert (moved["group"], moved["outcome"], moved["event_name"]) == ("cdr", "confirmed", "E_ACC_CDR")


def test_structlog_over_logging(caplog: pytest.LogCaptureFixture) -> None:
    """A logger of structlog's that ends in the standard library's works as well, its own level included."""
    logger = structlog.wrap_logger(
        logging.getLogger("bound"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.KeyValueRenderer(key_order=["event", "kind"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    with caplog.at_level(logging.WARNING, "bound"):
        log = StructLog(logger, level=logging.DEBUG, params=True)
        log(MOVED)
        log(REFUSED)
    (entry,) = caplog.records
    assert entry.levelname == "WARNING"
    assert "kind='undelivered'" in entry.getMessage()
    assert "secret" in entry.getMessage()


@pytest.mark.parametrize("make", [Log, StructLog])
def test_a_logger_that_fails_harms_nobody(make: Callable[[], Observer], monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery is what it was although each record's line raises."""
    log: Any = make()

    class Broken(logging.Logger):
        def log(self, *_: object, **__: object) -> None:
            raise OSError("disk full")

    monkeypatch.setattr(log, "logger", Broken("broken"))
    (receipt,) = deliver(log, Failover(FastSink("a", DOWN), FastSink("b")))
    assert receipt.confirmed


def test_events_raised_by_the_interface(caplog: pytest.LogCaptureFixture) -> None:
    """The records of an event interface are the same: each subscriber is a group by its socket's name."""

    async def main() -> None:
        async with EventInterface(observers=[Log()]) as events:
            events.subscribe("E_A", CallableSink(lambda _: 1 / 0, name="broken"))
            events.subscribe("E_A", CallableSink(lambda _: "yes", name="works"))
            await events.raise_event("E_A", 1)

    with caplog.at_level(logging.INFO, LOGGER):
        run(main())
    (entry,) = caplog.records
    assert entry.getMessage().startswith("broken: E_A rejected after 0.0 ms (broken rejected after 0.0 ms: ZeroDiv")


@pytest.mark.parametrize(
    ("adapter", "library", "extra"),
    [
        ("structlog", "structlog", "structlog"),
        ("prometheus", "prometheus_client", "prometheus"),
        ("otel", "opentelemetry", "otel"),
    ],
)
def test_without_the_extra(adapter: str, library: str, extra: str) -> None:
    """Without its library an adapter says what to install; the others, and the package, need none of them."""
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "import failover, failover.adapters.log\n"
        f"try: import failover.adapters.{adapter}\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(f"install it with: pip install 'failover[{extra}]'")
