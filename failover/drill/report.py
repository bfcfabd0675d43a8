"""A drill's report."""

from __future__ import annotations

from failover.drill.result import Result

__all__ = ["to_html"]


def to_html(result: Result) -> str:
    """The report."""
    return result.drill.name
