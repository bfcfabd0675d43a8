"""A history sorted by event: what each event went through, for checkers to judge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import Factory, define, frozen

from failover.testing.entries import (
    Answered,
    Attempted,
    Ended,
    Entry,
    Late,
    Node,
    Processed,
    Raised,
    Silent,
)

__all__ = ["Finding", "Story", "Tree", "stories_of"]


@frozen
class Finding:
    """Something that should not have happened; `str` of it is a sentence.

    Args:
        clause: The checker that found it, by its function's name.
        text: What is wrong, in one sentence.
        events: The ids of the events behind it.
        at: Loop time, seconds, around which to look.
    """

    clause: str
    text: str
    events: tuple[str, ...]
    at: float

    def __str__(self) -> str:
        behind = f" (event {', '.join(self.events)})" if self.events else ""
        return f"{self.clause.replace('_', ' ')}: at {self.at:.6f} s {self.text}{behind}"


_LISTS: Final[dict[type, str]] = {
    Raised: "raised",
    Attempted: "attempts",
    Ended: "ended",
    Processed: "processed",
    Answered: "answered",
    Late: "late",
    Silent: "silent",
}


@define
class Story:
    """All entries of one event, each list in the order of the history."""

    event: str
    raised: list[Raised] = Factory(list[Raised])
    attempts: list[Attempted] = Factory(list[Attempted])
    ended: list[Ended] = Factory(list[Ended])
    processed: list[Processed] = Factory(list[Processed])
    answered: list[Answered] = Factory(list[Answered])
    late: list[Late] = Factory(list[Late])
    silent: list[Silent] = Factory(list[Silent])
    last: float = 0.0
    """Loop time of the newest of them, seconds."""


def stories_of(entries: Iterable[Entry]) -> dict[str, Story]:
    """Sort entries by event, in the order in which the events first occur."""
    stories: dict[str, Story] = {}
    for entry in entries:
        event = getattr(entry, "event", "")
        if not event:
            continue
        story = stories.get(event)
        if story is None:
            story = stories[event] = Story(event)
        story.last = max(story.last, entry.at)
        lists = _LISTS.get(type(entry))
        if lists is not None:
            getattr(story, lists).append(entry)
    return stories


class Tree:
    """The declared trees of a history, looked up by name. Names that occur twice are known of no single node.

    Args:
        roots: The root of each group by the group's name.
    """

    def __init__(self, roots: dict[str, Node]) -> None:
        self.roots = roots
        self._nodes: dict[str, Node | None] = {}
        for root in roots.values():
            for node in root.walk():
                known = self._nodes.get(node.name, node)
                self._nodes[node.name] = node if known == node else None
        self._subscribers = {name: node.subscriber for name, node in self._nodes.items() if node is not None}

    def node(self, name: str) -> Node | None:
        """The node of a name; None if there is none, or there are several that differ."""
        return self._nodes.get(name)

    def above(self, name: str) -> list[Node]:
        """The strategies that a node is below of."""
        every = [node for root in self.roots.values() for node in root.walk()]
        return [node for node in every if node.name != name and any(below.name == name for below in node.walk())]

    def subscriber(self, sink: str) -> str:
        """Who is behind a socket; the sink's own name if that was never said."""
        return self._subscribers.get(sink) or sink

    def sinks_of(self, name: str) -> frozenset[str]:
        """The names of the sockets at or below a node."""
        node = self.node(name)
        return frozenset((name,)) if node is None else frozenset(leaf.name for leaf in node.sockets())
