"""What has to leave nothing behind runs on real loopback sockets, on both kinds of loop."""

from __future__ import annotations

from tests.scripted import run

__all__ = ["run"]
