"""A run of a drill, wherever its stage is: the group is opened, events are raised, faults happen, all is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol, cast

from failover.drill.faults import Layers, events_of
from failover.drill.load import raise_events
from failover.drill.plan import Drill
from failover.drill.recorder import Recorder
from failover.drill.tree import tree_of
from failover.group import Group
from failover.sim.seeds import derive
from failover.testing.timeline import play

__all__ = ["Silence", "Telling", "run_on"]

_WARM: Final = 0.05  # seconds in which connections are made before the load begins


class Telling(Protocol):
    """Who is told how a drill goes."""

    def say(self, text: str) -> None:
        """Something happened."""

    def show(self, elapsed: float, recorder: Recorder) -> None:
        """So many seconds of the load have passed."""


class Silence:
    """Nobody is told."""

    def say(self, text: str) -> None:
        """Nothing."""

    def show(self, elapsed: float, recorder: Recorder) -> None:
        """Nothing."""


async def run_on(
    drill: Drill,
    *,
    places: Mapping[str, Layers],
    where: Mapping[str, tuple[str, int]],
    recorder: Recorder,
    telling: Telling,
    prefix: str,
) -> None:
    """Run a drill whose subscribers are up.

    Args:
        drill: What to do.
        places: Where its faults happen: the subscribers by name.
        where: Host and port at which each is reached.
        recorder: Is told everything.
        telling: Is told how it goes.
        prefix: What the events' ids begin with.
    """
    loop = asyncio.get_running_loop()
    tree = tree_of(drill, where)
    recorder.behind = dict(tree.behind)
    seed = drill.drill.seed
    group = Group(drill.group.name, tree.root, observers=(recorder,), rng=derive(seed, "drill", "group"))
    recorder.declared(group)

    def tell(fault: str, name: str, begins: bool) -> None:  # noqa: FBT001  # a callback's arguments go by place
        after = loop.time() - recorder.began
        recorder.bands.append((after, fault, name, begins))
        telling.say(f"{after:8.3f} s  {'' if begins else 'end of '}{fault} on {name}")

    for place in places.values():
        place.tell = tell
    async with group:
        await asyncio.sleep(_WARM)
        recorder.begin(loop.time())
        try:
            async with asyncio.TaskGroup() as tasks:
                faults = tasks.create_task(play(events_of(drill), places, start=recorder.began))
                await raise_events(
                    drill,
                    group=group,
                    recorder=recorder,
                    rng=derive(seed, "drill", "load"),
                    prefix=prefix,
                    show=lambda elapsed: telling.show(elapsed, recorder),
                )
                faults.cancel()
        except BaseExceptionGroup as failures:
            raise _first(failures) from None


def _first(failure: BaseException) -> BaseException:
    """The first of what went wrong."""
    while isinstance(failure, BaseExceptionGroup):
        failure = cast("BaseExceptionGroup[BaseException]", failure).exceptions[0]
    return failure
