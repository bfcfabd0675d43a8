"""Ready-made observers: give one to a group as `observers=[…]`. Each needs its extra, and is imported by itself.

`log` (the standard library's logging), `structlog`, `prometheus`, `otel`.
"""

from __future__ import annotations

__all__: list[str] = []
