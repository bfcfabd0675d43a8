"""Replays one recorded scenario: real subscribers that follow the recorded script, our event interface before them.

The loop's time stands still while bytes are under way and is moved only where the scenario is about time: a timeout is
then exact, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeAlias

from failover import Event, EventInterface, Receipt, jsonrpc
from failover.grammar import VirtualAddress, parse
from failover.records import AttemptEnded, BadReply, ConnectionChanged, Record
from failover.strategies import Failover, RoundRobin
from tests.clock import move_clock
from tests.scripted import Action, Call, Link, ScriptedPeer, black_hole, refusing, turns, until

__all__ = ["LATE", "Replay", "Scenario", "expected"]

LATE = 0.01  # seconds by which a timeout may be late
_STEP = 0.005  # seconds by which time is moved while a timeout is waited for
_ID = re.compile(rb'^\{"id":(\d+),')

Scenario: TypeAlias = dict[str, Any]
Frames: TypeAlias = dict[str, list[bytes]]
"""By subscriber: what each connection that carried anything brought, ids replaced by `{id}`."""


def expected(received: dict[str, list[list[Any]]]) -> Frames:
    """What the data says, in the form of `Replay.received`: `[[count, frame], …]` per connection."""
    return {
        name: [b"".join(count * frame.encode("latin-1") for count, frame in frames) for frames in connections]
        for name, connections in received.items()
    }


class Replay:
    """One scenario in one dialect.

    Args:
        scenario: From the data: subscribers' scripts and steps.
        replay: From the data: sockets, settings and events in this dialect.
        letter: Whether strategies follow OpenSIPS's documented letter.
        text: Whether raw bytes that are UTF-8 are given as strings.
    """

    def __init__(self, scenario: Scenario, replay: Scenario, *, letter: bool = False, text: bool = False) -> None:
        self._scenario = scenario
        self._replay = replay
        self._letter = letter
        self._text = text
        self._peers: dict[str, ScriptedPeer] = {}
        self._ports: dict[str, str] = {}
        self._places: dict[str, ExitStack] = {}  # what keeps the ports of those that are down or black holes
        self._saved: list[Call] = []
        self._records: list[Record] = []
        self._acted = 0  # how often a script sent or closed
        self._raised: list[asyncio.Task[Receipt]] = []

    @property
    def receipts(self) -> list[Receipt]:
        """One per event, in the order in which they were raised."""
        return [one.result() for one in self._raised if one.done()]

    @property
    def reports(self) -> int:
        """How many replies were reported as answering nothing."""
        return sum(isinstance(record, BadReply) for record in self._records)

    @property
    def received(self) -> Frames:
        """What each subscriber got; ids are checked on the way."""
        return {
            name: [text for link in peer.links if (text := _normalised(link))] for name, peer in self._peers.items()
        } | {name: [] for name in self._scenario["subscribers"] if name not in self._peers}

    def explain(self) -> str:
        """All receipts in sentences, for when a test fails."""
        return "\n".join(receipt.explain() for receipt in self.receipts)

    async def play(self) -> None:
        """Subscribe, take all steps, and close everything."""
        async with AsyncExitStack() as stack:
            await self._listen(stack)
            events = EventInterface(observers=[self._records.append], **self._replay["settings"])
            for event, socket in self._replay["sockets"]:
                address = socket.format(**self._ports)
                events.subscribe(event, self._by_letter(address) if self._letter else address)
            await stack.enter_async_context(events)
            reachable = [name for name, script in self._scenario["subscribers"].items() if script != "blackhole"]
            await until(lambda: sum(isinstance(one, ConnectionChanged) for one in self._records) >= len(reachable))
            for step in self._scenario["steps"]:
                await self._take(events, stack, *step)

    async def _listen(self, stack: AsyncExitStack) -> None:
        for name, script in self._scenario["subscribers"].items():
            match script:
                case "down" | "blackhole":
                    place = self._places[name] = stack.enter_context(ExitStack())
                    address = place.enter_context(refusing() if script == "down" else black_hole())
                    self._ports[name] = address.rpartition(":")[2]
                case _:
                    await self._start(stack, name, script, 0)

    async def _start(self, stack: AsyncExitStack, name: str, script: list[list[list[Any]]], port: int) -> None:
        peer = await stack.enter_async_context(ScriptedPeer(*map(self._action, script), port=port))
        self._peers[name] = peer
        self._ports[name] = str(peer.port)

    async def _take(self, events: EventInterface, stack: AsyncExitStack, step: str, *args: Any) -> None:
        match step:
            case "raise":
                await self._finish(self._begin(events, args[0]))
                await self._arrived()
            case "raise_bg":
                self._begin(events, args[0])
            case "join":
                for raising in self._raised:
                    await self._finish(raising)
            case "set":
                self._places.pop(args[0]).close()
                await self._start(stack, args[0], args[1], int(self._ports[args[0]]))
            case _:
                if args[0] >= 1000:  # shorter pauses only let bytes arrive, and that is waited for anyhow
                    await move_clock(args[0] / 1000, step=0.05)

    def _begin(self, events: EventInterface, key: str) -> asyncio.Task[Receipt]:
        name, params = self._replay["events"][key]

        async def one() -> Receipt:
            [receipt] = await events.raise_event(Event(name, self._params(params)))
            return receipt

        task = asyncio.create_task(one())
        self._raised.append(task)
        return task

    def _params(self, params: Any) -> Any:
        match params:
            case {"named": pairs}:
                return [(name, self._value(value)) for name, value in pairs]
            case {"values": values}:
                return [self._value(value) for value in values]
            case _:
                return params

    def _value(self, value: Any) -> Any:
        match value:
            case {"latin1": str(latin1)}:
                raw = latin1.encode("latin-1")
            case _:
                return value
        try:
            return raw.decode() if self._text else raw
        except UnicodeDecodeError:
            return raw

    async def _finish(self, raising: asyncio.Task[Receipt]) -> None:
        """Wait for an event's receipt; if a timeout comes first, let all else happen before time passes."""
        timeout = self._replay.get("timeouts", {}).get(str(self._raised.index(raising)))
        if timeout is not None:
            await until(lambda: self._ended() == timeout["ended"] and self._got() == timeout["got"])
            await until(lambda: self.reports == timeout["reported"])
            while self._ended() == timeout["ended"]:
                await move_clock(_STEP)
        await raising

    async def _arrived(self) -> None:
        """Wait until what was sent has arrived, and what the scripts did about notifications was noticed here."""
        sent = sum(attempt.sent for receipt in self.receipts for attempt in receipt.attempts)
        await until(lambda: self._got() == sent)
        if not self._replay["settings"]["sync_mode"]:
            await until(lambda: self.reports + self._losses() == self._acted)

    def _by_letter(self, text: str) -> Failover | RoundRobin:
        """The strategy of an address with the switches that make it do what OpenSIPS's documentation says."""
        address = parse(text)
        assert isinstance(address, VirtualAddress)
        settings = self._replay["settings"]
        sinks = [
            jsonrpc(
                str(child),
                timeout=settings.get("timeout", 1.0),
                confirm=settings["sync_mode"],
                null_id=settings.get("null_id", True),
            )
            for child in address.children
        ]
        if address.policy == "FAILOVER":
            seconds = settings["failover_timeout"]
            return Failover(*sinks, quarantine=seconds, quarantine_rejected=True, last_resort=False)
        return RoundRobin(*sinks, quarantine=0, move_on=False)

    def _action(self, script: list[list[Any]]) -> Action:
        """What a subscriber does with one request."""

        def act(call: Call) -> None:
            self._do(call, list(script))

        return act

    def _do(self, call: Call, script: list[list[Any]]) -> None:
        request = "null" if call.id is None else str(call.id)
        while script:
            match script.pop(0):
                case ["send", text]:
                    text = text.replace("{id}", request).replace("{id1}", str((call.id or 0) + 1))
                    call.link.write(text.encode("latin-1"))
                    self._acted += 1
                case ["close"]:
                    call.link.transport.close()
                    self._acted += 1
                case ["replyall", *how]:
                    calls = [*self._saved, call]
                    order, between = how or ["", ""]
                    replies = [one.reply(result="ok") for one in (reversed(calls) if order else calls)]
                    call.link.write(between.encode().join(replies))
                case ["saveid"]:
                    self._saved.append(call)
                case ["sleep", _]:  # another segment: by then this one has been read
                    asyncio.ensure_future(turns(5)).add_done_callback(lambda _: self._do(call, script))
                    return
                case other:
                    raise AssertionError(other)

    def _got(self) -> int:
        return sum(len(peer.calls) for peer in self._peers.values())

    def _losses(self) -> int:
        return sum(
            isinstance(one, ConnectionChanged) and not one.connected and not one.reason.startswith("connect:")
            for one in self._records
        )

    def _ended(self) -> int:
        return sum(isinstance(record, AttemptEnded) for record in self._records)


def _normalised(link: Link) -> bytes:
    """All bytes that one connection brought, with `{id}` for each id; the ids are as they should be."""
    ids = [int(found[1]) for call in link.calls if (found := _ID.match(call.raw))]
    assert len(set(ids)) == len(ids)
    assert all(0 < one < 2**31 for one in ids)
    return b"".join(_ID.sub(b'{"id":{id},', call.raw) for call in link.calls)
