"""The base of what stands around children without judging them: it quarantines nobody."""

from __future__ import annotations

from failover.records import Silence
from failover.sequential import Sequential
from failover.strategy import Child, Declared

__all__ = ["Wrapper"]


class Wrapper(Sequential):
    """Passes on what is known of its children instead of judging them; who stands above judges the whole.

    Args:
        children: Sinks or addresses, at least one.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no children, or two of one name.
    """

    def __init__(self, *children: Declared, name: str | None = None) -> None:
        super().__init__(*children, name=name, quarantine=0)

    def silent(self, child: Child, news: Silence) -> None:
        """A child's silence is its own."""
        self._tell(Silence(self.name, news.attempt, news.at))
