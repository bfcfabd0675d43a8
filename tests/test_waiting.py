"""Waiting for one of several futures: when it ends, and that it touches none of them."""

from __future__ import annotations

import asyncio

import pytest

from failover.waiting import wait_for_one
from tests.doubles import now, run


def test_it_ends_with_the_first() -> None:
    """It ends when any of them does, whatever that ends with; the others go on."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for ends in ("result", "exception", "cancel"):
            futures = [loop.create_future() for _ in range(3)]
            began = now()
            loop.call_later(2, lambda future=futures[1], ends=ends: _end(future, ends))
            await wait_for_one(futures)
            assert now() - began == 2
            assert [future.done() for future in futures] == [False, True, False]
            if ends == "exception":
                assert isinstance(futures[1].exception(), RuntimeError)

    run(main())


def test_one_that_has_ended() -> None:
    """What has ended already is noticed at once."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended, other = loop.create_future(), loop.create_future()
        ended.set_result(None)
        await wait_for_one([other, ended], 5.0)
        assert now() == 0
        assert not other.done()

    run(main())


@pytest.mark.parametrize("timeout", [0.0, 3.0])
def test_the_time_is_over(timeout: float) -> None:
    """It waits no longer than it was told to, and raises nothing then."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        await wait_for_one([future], timeout)
        assert now() == timeout
        assert not future.done()

    run(main())


def test_it_leaves_nothing_behind() -> None:
    """However it ends, neither its timer nor its callbacks outlive it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, ends = loop.create_future(), loop.create_future()
        loop.call_later(1, ends.set_result, None)
        await wait_for_one([left, ends], 60.0)
        await wait_for_one([left], 1.0)
        task = asyncio.ensure_future(wait_for_one([left], 60.0))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not left._callbacks  # nobody else tells

    run(main())


@pytest.mark.parametrize("turns", range(6))
def test_cancelled_in_any_turn(turns: int) -> None:
    """Cancelled before, while and after one of them ends, it harms none; what came first counts."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(2)]
        loop.call_soon(loop.call_soon, futures[0].set_result, "first")
        task = asyncio.ensure_future(wait_for_one(futures))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() is (turns < 4)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert futures[0].result() == "first"
        assert not futures[1].done()

    run(main())


def _end(future: asyncio.Future[object], how: str) -> None:
    if how == "result":
        future.set_result(None)
    elif how == "exception":
        future.set_exception(RuntimeError("a fault"))
    else:
        future.cancel()
