"""Faults on real sockets and in the simulation: scripted subscribers, a fault proxy, faults over time."""

from __future__ import annotations

__all__: list[str] = []
