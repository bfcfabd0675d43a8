"""What subscribers of the user's own say that they have processed, in a file each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from failover.drill.plan import Own
from failover.drill.recorder import Recorder
from failover.errors import ConfigError
from failover.outcome import Outcome
from failover.testing.entries import Attempted, Processed

__all__ = ["Account", "accounts_of", "settle"]

_LONGEST: Final = 256 * 2**20  # bytes


class Account:
    """The file in which a subscriber of the user's own notes what it has processed; what is in it before is not ours.

    Each line is an event's id; behind a blank there may be the time of `time.monotonic()` when its work was done.

    Args:
        name: The subscriber's name.
        path: The file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._before = path.stat().st_size if path.exists() else 0

    def entries(self, recorder: Recorder) -> Iterator[Processed]:
        """What was processed since. Of lines without a time, the time is when the attempt there ended.

        Raises:
            ConfigError: a line that can't be read.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._before)
            lines = file.read(_LONGEST).decode("utf-8", "replace").splitlines()
        ended: dict[str, float] = {}
        for entry in recorder:
            if not isinstance(entry, Attempted) or recorder.behind.get(entry.sink) != self._name:
                continue
            if entry.event not in ended or entry.outcome is Outcome.CONFIRMED:
                ended[entry.event] = entry.at
        for number, line in enumerate(lines, 1):
            event, _, noted = line.strip().partition(" ")
            if not event:
                continue
            try:
                at = float(noted) if noted else ended.get(event, recorder.began)
            except ValueError:
                at = math.nan
            if not math.isfinite(at):
                raise ConfigError(
                    f"{self._path}, line {number} of this drill: {line[:100]!r}: expected an event's id, and nothing "
                    "or the seconds of time.monotonic() behind it"
                )
            yield Processed(at, event, self._name)


def accounts_of(subscribers: Iterable[Own]) -> list[Account]:
    """The accounts of those who keep one; call it before they begin."""
    return [Account(own.name, Path(own.processed)) for own in subscribers if own.processed is not None]


def settle(accounts: Iterable[Account], recorder: Recorder) -> None:
    """Tell a history what the accounts say.

    Raises:
        ConfigError: a line that can't be read.
    """
    for account in accounts:
        for entry in account.entries(recorder):
            recorder.add(entry)
