"""Records to the standard library's logging: a sentence each, their facts as attributes of the log record."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from failover.adapters.lines import Lines
from failover.records import Record

__all__ = ["Log"]


class Log:
    """An observer that logs: what was delivered at DEBUG, what moved on at INFO, what was not delivered at WARNING.

    Of a kind whose level is off it looks at nothing but the kind. Beside its sentence each log record has
    `failover_kind` and the other facts as attributes (`failover_group`, `failover_outcome`, …), for a formatter that
    writes data.

    Args:
        logger: Where to; by default the logger named `failover.events`.
        levels: Other levels than `failover.adapters.lines.LEVELS`, by kind.
        params: Whether to log params, see `Lines`.
        per_second: So many lines of one kind in a second at most, see `Lines`.

    Raises:
        ConfigError: see `Lines`.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        levels: Mapping[str, int] | None = None,
        params: bool = False,
        per_second: int = 10,
    ) -> None:
        self.logger = logging.getLogger("failover.events") if logger is None else logger
        self._lines = Lines(levels=levels, params=params, per_second=per_second)

    def __call__(self, record: Record) -> None:
        """Log a record."""
        line = self._lines.of(record, self.logger.isEnabledFor)
        if line is not None:
            extra = {f"failover_{name}": value for name, value in line.facts.items()}
            self.logger.log(line.level, "%s", line.text, extra=extra)
