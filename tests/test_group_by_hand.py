"""A group's children taken out and put back by hand."""

from __future__ import annotations

import asyncio

import pytest

from failover.errors import ClosedError, ConfigError, UsageError
from failover.event import Event
from failover.group import Group
from failover.strategies import Failover, Parallel, Retry
from tests.doubles import YES, FastSink, now, run

EVENT = Event("E_TEST")


def test_wherever_it_stands() -> None:
    """A name is looked for in the whole tree, also in groups within it, and everything of that name is meant."""

    async def main() -> None:
        sinks = [FastSink("a"), FastSink("a"), FastSink("b"), FastSink("c")]
        inner = Group("inner", Failover(sinks[1], sinks[2]))
        tree = Parallel(Retry(sinks[0]), inner, sinks[3])
        async with Group("outer", tree) as group:
            group.quarantine("a", "new kernel")
            receipt = await group.deliver(EVENT)
            assert [len(sink.given) for sink in sinks] == [0, 0, 1, 1]
            assert "taken out by hand (new kernel)" in receipt.explain()
            group.quarantine("inner")
            group.reinstate("a")
            await group.deliver(EVENT)
            assert [len(sink.given) for sink in sinks] == [1, 0, 1, 2]
            group.reinstate("inner")
            await group.deliver(EVENT)
            assert [len(sink.given) for sink in sinks] == [2, 1, 1, 3]

    run(main())


def test_drain_waits_for_what_is_under_way() -> None:
    """New events go elsewhere, those under way end; it tells whether they did in time."""

    async def main() -> None:
        slow, spare = FastSink("slow", YES.after(1)), FastSink("spare")
        async with Group("g", Failover(slow, spare)) as group:
            under_way = asyncio.ensure_future(group.deliver(EVENT))
            await asyncio.sleep(0)
            assert not await group.drain("slow", within=0.5)
            assert now() == 0.5
            assert (await group.deliver(EVENT)).attempts[-1].sink == "spare"
            assert await group.drain("slow", within=5)
            assert 1 <= now() <= 1.02
            assert (await under_way).attempts[-1].sink == "slow"

    run(main())


def test_what_can_not_be_meant() -> None:
    """An unknown name says which ones there are; a closed group and a time that is none are refused."""

    async def main() -> None:
        group = Group("g", Failover(FastSink("a"), FastSink("b")))
        with pytest.raises(ClosedError):
            group.quarantine("a")
        async with group:
            with pytest.raises(UsageError, match=r"group 'g' has no child 'c'; it has 'a', 'b'$"):
                group.reinstate("c")
            with pytest.raises(ConfigError, match="within must be a number of seconds"):
                await group.drain("a", within=0)
            assert await group.probe(None, 1.0) == "no child can be probed"
        async with Group("bare", FastSink("a")) as bare:
            assert await bare.probe(None, 1.0) == "it can't be probed"
            with pytest.raises(UsageError, match="no child 'a'; only a strategy's children can be named"):
                bare.quarantine("a")

    run(main())


def test_closing_forgets_it() -> None:
    """What was taken out by hand is in service again when the group is opened anew, and its sink was closed once."""

    async def main() -> None:
        sink = FastSink("a")
        group = Group("g", Failover(sink))
        async with group:
            group.quarantine("a")
        assert sink.closes == 1
        async with group:
            assert (await group.deliver(EVENT)).confirmed

    run(main())
