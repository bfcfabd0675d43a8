"""Run a drill from its file's words to its verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable

from failover.drill.checks import checks_of, parts_of, verdicts
from failover.drill.faults import check_faults
from failover.drill.plan import Drill
from failover.drill.recorder import Recorder
from failover.drill.result import Result
from failover.drill.simulated import run_simulated, start_of
from failover.drill.stage import Silence, Telling
from failover.drill.tree import subscribers_of, tree_of
from failover.testing.entries import Entry

__all__ = ["prepare", "run_drill"]


def prepare(drill: Drill) -> None:
    """See that a drill can be run, before anything is done.

    Raises:
        ConfigError: it can't; the error names the key.
    """
    subscribers = subscribers_of(drill)
    check_faults(drill, subscribers)
    for own in subscribers:
        start_of(own)
    checks_of(drill)
    tree_of(drill, {own.name: ("127.0.0.1", 1) for own in subscribers})


def run_drill(
    drill: Drill, telling: Telling | None = None, *, passed_on: Callable[[Entry], object] | None = None
) -> Result:
    """Run a drill and judge it. On sockets this takes as long as the drill says; a simulation waits for nothing.

    Args:
        drill: What to do.
        telling: Is told how it goes.
        passed_on: Is given every entry of the history as it comes.

    Raises:
        ConfigError: it can't be run; the error names the key.
        OSError: a subscriber of your own doesn't start; or on sockets, something can't be had.
    """
    prepare(drill)
    began = time.perf_counter()
    subscribers = subscribers_of(drill)
    checks = checks_of(drill)
    recorder = Recorder(
        drill.drill.duration,
        parts=parts_of(drill),
        passed_on=passed_on,
        checkers=[check.checker for check in checks],
    )
    told = Silence() if telling is None else telling
    if drill.drill.on == "simulation":
        run_simulated(drill, subscribers, recorder, told)
    else:
        from failover.drill.sockets import run_on_sockets

        run_on_sockets(drill, subscribers, recorder, told)
    judged = verdicts(drill, checks, recorder, subscribers)
    return Result(drill, subscribers, recorder, judged, time.perf_counter() - began)
