"""Faults on real sockets and in the simulation: scripted subscribers, a fault proxy, faults over time."""

from __future__ import annotations

from failover.testing.account import Account, Acted, HistoryOfFaults, Processed
from failover.testing.actions import (
    Action,
    Close,
    Confirm,
    ConfirmUnhandled,
    HandleThenDrop,
    HandleThenRefuse,
    Late,
    Refuse,
    Reset,
    Silent,
)
from failover.testing.calls import Call
from failover.testing.connections import (
    Accept,
    AcceptAndStall,
    Connecting,
    NeverRead,
    RefuseConnections,
    TlsFailure,
)
from failover.testing.delays import Delay, constant, log_normal, rarely, uniform
from failover.testing.faulty import HostFaults
from failover.testing.odd_replies import (
    Batch,
    Garbage,
    Huge,
    Joined,
    NoId,
    Pretty,
    Raw,
    Split,
    SplitUtf8,
    StringId,
    Twice,
    WrongId,
)
from failover.testing.proxy import FaultProxy
from failover.testing.subscriber import Script, ScriptedSubscriber
from failover.testing.timeline import FaultEvent, play, random_faults
from failover.testing.vocabulary import ACTIONS, CONNECTIONS, action, connecting

__all__ = [
    "ACTIONS",
    "CONNECTIONS",
    "Accept",
    "AcceptAndStall",
    "Account",
    "Acted",
    "Action",
    "Batch",
    "Call",
    "Close",
    "Confirm",
    "ConfirmUnhandled",
    "Connecting",
    "Delay",
    "FaultEvent",
    "FaultProxy",
    "Garbage",
    "HandleThenDrop",
    "HandleThenRefuse",
    "HistoryOfFaults",
    "HostFaults",
    "Huge",
    "Joined",
    "Late",
    "NeverRead",
    "NoId",
    "Pretty",
    "Processed",
    "Raw",
    "Refuse",
    "RefuseConnections",
    "Reset",
    "Script",
    "ScriptedSubscriber",
    "Silent",
    "Split",
    "SplitUtf8",
    "StringId",
    "TlsFailure",
    "Twice",
    "WrongId",
    "action",
    "connecting",
    "constant",
    "log_normal",
    "play",
    "random_faults",
    "rarely",
    "uniform",
]
