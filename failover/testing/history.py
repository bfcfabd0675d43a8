"""The history: everything raised, attempted, processed and confirmed, in one list that checkers judge."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from failover.address import Address
from failover.errors import ConfigError
from failover.event import Event
from failover.group import Group
from failover.records import (
    AttemptEnded,
    BadReply,
    ConnectionChanged,
    DeliveryEnded,
    LateConfirmation,
    OnTrial,
    PushedBack,
    Quarantined,
    Record,
    Recovered,
    Reinstated,
    Silence,
)
from failover.sink import Sink
from failover.testing.checkers import ALL, Checker, check
from failover.testing.describing import describe
from failover.testing.entries import (
    Answered,
    Attempted,
    ConnectionChange,
    Declared,
    Ended,
    Entry,
    FaultSet,
    HealthChange,
    HealthStep,
    Late,
    OddReply,
    Processed,
    Raised,
    Silent,
)
from failover.testing.lines import entry_from_line, entry_to_line
from failover.testing.stories import Finding, Story, Tree, stories_of
from failover.testing.telling import tell

__all__ = ["History"]

_LEAST: Final = 1000


class History:
    """Everything that happened, as entries. An observer of groups; subscribers, and whoever raises, tell it as well.

    An event is known by its `id`, which rides in its params, so that the subscriber's side can tell which event it
    has: make events with `event`. Memory is bounded: when there are more entries than the limit, the checkers judge
    all of them, what they find is kept in `findings`, and the older half is folded into `counts`, except events that
    are still under way. What comes of an event after that is counted and not judged; of as many events as the limit
    says that is known.

    Args:
        limit: Entries kept, 1000 or more.
        checkers: Who judges what is folded.
        id_param: The name under which an event's id rides in its params.
        behind: The subscriber behind a socket, by its sink's name; otherwise its address as `jsonrpc:host:port`.

    Raises:
        ConfigError: a limit below 1000, or an empty name.
    """

    def __init__(
        self,
        *,
        limit: int = 200_000,
        checkers: Sequence[Checker] = ALL,
        id_param: str = "event_id",
        behind: Mapping[str, str] | None = None,
    ) -> None:
        if limit < _LEAST:
            raise ConfigError(f"a history of {limit} entries is too short to be judged: give it {_LEAST} or more")
        if not id_param:
            raise ConfigError("id_param must be a non-empty name")
        self.limit = limit
        self.checkers = tuple(checkers)
        self.id_param = id_param
        self.behind = dict(behind or {})
        self.entries: list[Entry] = []
        """What is kept, in the order in which it was told."""
        self.counts: Counter[str] = Counter()
        """How many entries there were of each kind, and attempts of each outcome, those that were folded included."""
        self.findings: tuple[Finding, ...] = ()
        """What checkers found in stretches that have been folded."""
        self.since = 0.0
        """Loop time before which what has been folded lies, seconds."""
        self.standing: dict[tuple[str, str], HealthChange] = {}
        """How each (strategy, child) stood at that time, if it was out of service or in slow start."""
        self.roots: dict[str, Any] = {}
        """The declared tree of each group."""
        self._folded: dict[str, None] = {}
        self._stories: dict[str, Story] | None = None
        self._tree: Tree | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    # -- who tells it ---------------------------------------------------------------------------------------------

    def __call__(self, record: Record) -> None:
        """Take a record of a group or a sink: a history is an observer."""
        entry = _entry(record)
        if entry is not None:
            self.add(entry)

    def event(self, name: str, params: Mapping[str, Any] | None = None, *, id: str | None = None) -> Event:
        """Make an event whose id rides in its params; arguments as of `Event`, params named ones."""
        given = Event(name, id=id).id
        return Event(name, {**(params or {}), self.id_param: given}, id=given)

    def event_id(self, params: object) -> str:
        """The id that rides in params as a subscriber got them; empty if there is none."""
        if isinstance(params, Mapping):
            found = cast("Mapping[str, Any]", params).get(self.id_param)
            if isinstance(found, str):
                return found
        return ""

    def declared(self, group: Group | Sink | Address, *, at: float | None = None) -> None:
        """A group, or any sink, is about to be used: its tree says what is owed."""
        root = describe(group, behind=self.behind)
        self.add(Declared(_now() if at is None else at, root.name, root))

    def raised(
        self,
        event: Event,
        at: float | None = None,
        *,
        deadline: float | None = None,
        key: str = "",
        batched: bool = False,
    ) -> None:
        """An event is given to a group.

        Args:
            event: Which.
            at: Loop time, seconds; now by default (so in all of these).
            deadline: Loop time after which nobody waits for it.
            key: What it must keep its order with.
            batched: Whether it is one of a batch (`deliver_many`).
        """
        self.add(Raised(_now() if at is None else at, event.id, event.name, deadline, key, batched))

    def processed(
        self,
        subscriber: str,
        event: Event | str | Mapping[str, Any],
        at: float | None = None,
        connection: object = "",
        /,
    ) -> None:
        """A subscriber has done its work for an event.

        Args:
            subscriber: Its name, as `behind` has it, or `jsonrpc:host:port`.
            event: The event, its id, or the params that carry it.
            at: Loop time, seconds.
            connection: Over which connection it came.
        """
        known = event.id if isinstance(event, Event) else event if isinstance(event, str) else self.event_id(event)
        self.add(Processed(_now() if at is None else at, known, subscriber, str(connection)))

    def answered(
        self, subscriber: str, event: str, request_id: int, *, confirmed: bool, at: float | None = None
    ) -> None:
        """The bytes of a reply came back; told by who watches the network, see `failover.testing.wire`."""
        self.add(Answered(_now() if at is None else at, event, subscriber, request_id, confirmed))

    def fault(
        self, fault: str, where: str = "", /, *, active: bool = True, detail: str = "", at: float | None = None
    ) -> None:
        """A fault was set, or repaired."""
        self.add(FaultSet(_now() if at is None else at, fault, where, active, detail))

    def add(self, entry: Entry) -> None:
        """Take an entry as it is."""
        kind = type(entry)
        self.counts[kind.__name__.lower()] += 1
        if isinstance(entry, Attempted):
            self.counts[entry.outcome.value] += 1
        elif isinstance(entry, Declared):
            self.roots[entry.group] = entry.root
            self._tree = None
        if self._folded and getattr(entry, "event", None) in self._folded:
            self.counts["after folding"] += 1
            return
        self._stories = None
        self.entries.append(entry)
        if len(self.entries) > self.limit:
            self._fold()

    # -- who asks it ----------------------------------------------------------------------------------------------

    @property
    def tree(self) -> Tree:
        """The declared trees, by name."""
        if self._tree is None:
            self._tree = Tree(self.roots)
        return self._tree

    @property
    def stories(self) -> dict[str, Story]:
        """The entries that are kept, sorted by event."""
        if self._stories is None:
            self._stories = stories_of(self.entries)
        return self._stories

    def check(self, checkers: Sequence[Checker] | None = None) -> list[Finding]:
        """What checkers find, by default its own; what they found in folded stretches comes first."""
        found = check(self, self.checkers if checkers is None else checkers)
        return list(dict.fromkeys([*self.findings, *found]))

    def lines(self) -> Iterator[bytes]:
        """What is kept as JSON lines, each with its line's end: the same bytes for the same seed."""
        for entry in self.entries:
            yield entry_to_line(entry) + b"\n"

    @classmethod
    def from_lines(cls, lines: Iterable[bytes | str], **settings: Any) -> History:
        """Read a history back; it can be checked as the one that was written.

        Args:
            lines: JSON lines; empty ones are skipped.
            settings: As of the class.

        Raises:
            ConfigError: a line is no entry; it says which.
        """
        history = cls(**settings)
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    entry = entry_from_line(line)
                except ConfigError as error:
                    raise ConfigError(f"line {number}: {error}") from None
                history.add(entry)
        return history

    def tell(self, around: Finding | None = None, *, most: int = 60) -> str:
        """The history as text to read: all of it, or what lies around a finding.

        Args:
            around: What to look at: the entries of its events, and what else happened meanwhile.
            most: Lines, at most; of more, those in the middle are left out.
        """
        return tell(self.entries, around, most=most)

    def _fold(self) -> None:
        """Have everything judged; keep what was found of what goes, and the newer half of the entries."""
        found = check(self, self.checkers)
        cut = self.entries[len(self.entries) // 2].at
        gone = {
            event
            for event, story in self.stories.items()
            if story.last < cut and (len(story.ended) >= len(story.raised) or not story.raised)
        }
        # What concerns others may change yet, and is found again when it has not.
        final = [one for one in found if (gone.issuperset(one.events) if one.events else one.at < cut)]
        self.findings = tuple(dict.fromkeys([*self.findings, *final]))
        kept: list[Entry] = []
        for entry in self.entries:
            event = getattr(entry, "event", "")
            lasting = isinstance(entry, HealthStep) and entry.until >= cut
            if (
                isinstance(entry, Declared)
                or (entry.at >= cut and not event)
                or (event and event not in gone)
                or lasting
            ):
                kept.append(entry)
            elif isinstance(entry, HealthChange):
                self.standing[entry.strategy, entry.child] = entry
            elif isinstance(entry, HealthStep) and entry.step == "recovered":
                self.standing.pop((entry.strategy, entry.child), None)
        self.since = cut
        self.entries = kept
        self._folded.update(dict.fromkeys(sorted(gone)))
        for event in list(self._folded)[: max(0, len(self._folded) - self.limit)]:
            del self._folded[event]
        self._stories = None


_STEPS: Final[dict[type[Record], str]] = {OnTrial: "on trial", Recovered: "recovered", PushedBack: "pushed back"}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _told(at: float) -> float:
    """When something was told, if later than it happened."""
    now = _now()
    return now if now > at else 0.0


def _entry(record: Record) -> Entry | None:
    """A record as an entry."""
    if isinstance(record, AttemptEnded):
        attempt = record.attempt
        return Attempted(
            attempt.ended,
            attempt.event.id,
            attempt.sink,
            attempt.began,
            attempt.outcome,
            attempt.verdict,
            attempt.reason,
            attempt.request_id,
            attempt.sent,
        )
    if isinstance(record, DeliveryEnded):
        return Ended(_now(), record.receipt.event.id, record.group, record.receipt)
    if isinstance(record, LateConfirmation):
        return Late(record.at, record.attempt.event.id, record.sink, record.confirmed)
    if isinstance(record, Silence):
        return Silent(record.at, "" if record.attempt is None else record.attempt.event.id, record.sink)
    if isinstance(record, (Quarantined, Reinstated)):
        up = isinstance(record, Reinstated)
        until = record.until if isinstance(record, Quarantined) else 0.0
        return HealthChange(record.at, record.strategy, record.child, up, until, record.reason, _told(record.at))
    if isinstance(record, (OnTrial, Recovered, PushedBack)):
        until = record.until if isinstance(record, PushedBack) else 0.0
        step = _STEPS[type(record)]
        return HealthStep(record.at, record.strategy, record.child, step, record.reason, until, _told(record.at))
    if isinstance(record, ConnectionChanged):
        return ConnectionChange(record.at, record.peer, record.connected, record.reason)
    assert isinstance(record, BadReply)  # noqa: S101  # narrows the type; there is no other record
    return OddReply(record.at, record.peer, record.problem)
