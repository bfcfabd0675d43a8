"""How the table of broken subscribers is written: one entry for each, with the clauses that must see it.

`"4.6"` fails, `"4.8?"` warns, `"10.6-"` is skipped; a clause is named by its number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from tests.conformance.model import Model

__all__ = ["FAULTS", "Broken", "edits", "fault", "ignores", "results"]


@attrs.frozen
class Broken:
    """A fault.

    Args:
        name: What is broken, in words.
        model: The subscriber.
        seen_by: The clauses that see it.
        only: The groups that it is examined for; all if there are none.
    """

    name: str
    model: type[Model]
    seen_by: frozenset[str]
    only: tuple[str, ...] = ()


FAULTS: list[Broken] = []


def fault(seen_by: str, *, only: tuple[str, ...] = ()) -> Callable[[type[Model]], type[Model]]:
    """Put a broken subscriber into the table; its docstring is its name."""

    def add(model: type[Model]) -> type[Model]:
        FAULTS.append(Broken(str(model.__doc__).rstrip("."), model, frozenset(seen_by.split()), only))
        return model

    return add


def ignores(name: str, *pieces: bytes, seen_by: str) -> None:
    """Put one into the table that never answers requests in which all these bytes stand."""

    class Ignoring(Model):
        def take(self, frame: bytes | None) -> None:
            if frame is None or not all(piece in frame for piece in pieces):
                super().take(frame)

    Ignoring.__doc__ = name
    fault(seen_by)(Ignoring)


def edits(name: str, edit: Callable[[dict[str, Any]], object], *, seen_by: str) -> None:
    """Put one into the table that changes its replies."""

    class Editing(Model):
        def send(self, reply: dict[str, Any]) -> None:
            edit(reply)
            super().send(reply)

    Editing.__doc__ = name
    fault(seen_by)(Editing)


def results(name: str, change: Callable[[Any], Any], *, seen_by: str) -> None:
    """Put one into the table that changes params before it returns them."""

    class Changing(Model):
        def call(self, method: str, params: Any) -> Any:
            return change(super().call(method, params))

    Changing.__doc__ = name
    fault(seen_by)(Changing)
