"""Deliver events to virtual subscriber groups over confirmed JSON-RPC, and prove it."""

from __future__ import annotations

__all__: list[str] = []
