"""Records to structlog: an event each, with its facts as keys. Needs the extra `structlog`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from failover.adapters.lines import Lines
from failover.records import Record

try:
    import structlog
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "failover.adapters.structlog needs structlog; install it with: pip install 'failover[structlog]'",
        name=missing.name,
    ) from missing

__all__ = ["StructLog"]


class StructLog:
    """An observer that logs with structlog: the sentence as the event, the facts of `Lines` as keys.

    Args:
        logger: Where to, anything with structlog's `log(level, event, **keys)`; by default `structlog.get_logger()`.
        level: What is below this isn't looked at: structlog itself lets everything pass by default.
        levels: Other levels than `failover.adapters.lines.LEVELS`, by kind.
        params: Whether to log params, see `Lines`.
        per_second: So many lines of one kind in a second at most, see `Lines`.

    Raises:
        ConfigError: see `Lines`.
    """

    def __init__(
        self,
        logger: Any = None,
        *,
        level: int = logging.INFO,
        levels: Mapping[str, int] | None = None,
        params: bool = False,
        per_second: int = 10,
    ) -> None:
        self.logger = structlog.get_logger() if logger is None else logger
        self.level = level
        self._lines = Lines(levels=levels, params=params, per_second=per_second)

    def __call__(self, record: Record) -> None:
        """Log a record."""
        line = self._lines.of(record, self._wanted)
        if line is not None:
            self.logger.log(line.level, line.text, **line.facts)

    def _wanted(self, level: int) -> bool:
        return level >= self.level
