"""Work that was done once too often, as opposed to copies of an event that a tree gives to several on purpose."""

from __future__ import annotations

from failover.testing.entries import Node

__all__ = ["Copies"]


class Copies:
    """Remembers who has processed which event, and tells what was once too many.

    Meant are: of a strategy whose children are tried side by side, the copies below each of them; of any other one,
    those below one of them.

    Args:
        root: The tree; None for one without copies.
        most: Events that are remembered, the newest.
    """

    def __init__(self, root: Node | None, most: int) -> None:
        self._root = Node("") if root is None else root
        self._most = most
        self._done: dict[str, list[str]] = {}

    def again(self, event: str, subscriber: str) -> bool:
        """A subscriber has processed an event: whether that was once too many."""
        done = self._done.get(event)
        if done is None:
            self._done[event] = [subscriber]
            if len(self._done) > self._most:
                del self._done[next(iter(self._done))]
            return False
        before = self._beyond(done)
        done.append(subscriber)
        return self._beyond(done) > before

    def _beyond(self, done: list[str]) -> int:
        """How many of them are not meant."""
        return max(0, len(done) - max(1, _meant(self._root, set(done))))


def _meant(node: Node, done: set[str]) -> int:
    """How many copies below a node are meant, of those that there are."""
    if not node.children:
        return node.subscriber in done
    copies = (_meant(child, done) for child in node.children)
    return sum(copies) if node.side_by_side else max(copies)
