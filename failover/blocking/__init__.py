"""The blocking face of a group: for threads, scripts, synchronous frameworks and callback tools."""

from __future__ import annotations

from failover.blocking.facade import BlockingGroup

__all__ = ["BlockingGroup"]
