"""Deliver events to virtual subscriber groups over confirmed JSON-RPC, and prove it."""

from __future__ import annotations

from failover.blocking import BlockingGroup
from failover.errors import (
    AddressError,
    ClosedError,
    ConfigError,
    EventError,
    FailoverError,
    FramingError,
    UsageError,
    WrongLoopError,
)
from failover.event import Event
from failover.group import Group
from failover.health import Health, Probe
from failover.interface import EventInterface
from failover.net.options import ConnectionOptions
from failover.net.peers import Peers
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.schemes import Defaults, Scheme
from failover.shared import shared
from failover.sink import Opening, Sink, Status, deliver_many, start
from failover.sinks.jsonrpc import jsonrpc
from failover.subscription import Subscription

__all__ = [
    "AddressError",
    "Attempt",
    "BlockingGroup",
    "ClosedError",
    "ConfigError",
    "ConnectionOptions",
    "Defaults",
    "ErrorReply",
    "Event",
    "EventError",
    "EventInterface",
    "FailoverError",
    "FramingError",
    "Group",
    "Health",
    "Opening",
    "Outcome",
    "Peers",
    "Probe",
    "Receipt",
    "Scheme",
    "Sink",
    "Status",
    "Subscription",
    "UsageError",
    "Verdict",
    "WrongLoopError",
    "deliver_many",
    "jsonrpc",
    "shared",
    "start",
]
