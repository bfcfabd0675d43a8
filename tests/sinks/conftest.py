"""Sinks are tested on real loopback sockets, against a scripted peer."""

from __future__ import annotations

from tests.scripted import run

__all__ = ["run"]
