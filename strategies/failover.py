"""FAILOVER: the first child that is in service, then the next."""

from __future__ import annotations

from failover.sequential import Sequential

__all__ = ["Failover"]


class Failover(Sequential):
    """Tries its children in declared order; one at fault is skipped for the time of its quarantine.

    Args:
        children: Sinks or addresses, the preferred one first.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well (OpenSIPS's letter: True).
        last_resort: Whether quarantined children are tried rather than losing the event (OpenSIPS's letter: False).
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no children, two of one name, or a negative quarantine.

    Source: OpenSIPS event_virtual, FAILOVER.
    """

    rule = "first in order"
