"""Random schedules through the real engine: all pass, every fault is met, and one seed is one history."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from attrs import evolve

from failover import strategies
from failover.health import Failback
from failover.testing import schedules
from failover.testing.forms import FORMS
from failover.testing.plans import FAULTS, Branch, Disturbance, Plan, Socket, random_plan, sockets
from failover.testing.schedules import Played, Tally, main, play, play_seed, play_seeds
from failover.testing.stories import Finding
from failover.testing.telling import sentence
from tests.sim.test_repeat import others

SCRIPT = Path(__file__).with_name("bytes_of_history.py")


def test_schedules() -> None:
    """Two hundred random schedules pass all checkers."""
    tally = play_seeds(range(200))
    assert tally.failed == []
    assert tally.played == 200
    assert tally.events > 2000


@pytest.mark.slow
def test_many_schedules() -> None:
    """Two thousand random schedules pass all checkers, every fault has met something, and every outcome occurs."""
    tally = play_seeds(range(2000))
    assert tally.failed == []
    assert tally.unmet() == []
    assert all(
        tally.counts[outcome] for outcome in ("confirmed", "rejected", "unreachable", "unconfirmed", "abandoned")
    )


def test_every_fault_can_be_met() -> None:
    """Each fault, set upon every subscriber of a busy schedule for all of its time, meets something."""
    plan = next(plan for plan in map(random_plan, range(1000)) if len(plan.events) > 30 and plan.events[-1].at > 2)
    met = set[str]()
    for fault in FAULTS:
        set_upon = [Disturbance(-0.05, fault, host, 1.0, 0.4) for host in plan.hosts]
        set_upon += [Disturbance(0.1, "reset", host, 0.0) for host in plan.hosts]  # so that new connects are made
        played = play(evolve(plan, disturbances=tuple(set_upon), latency=0.0005, cut=0.0))
        assert played.findings == ()
        met |= {name for name, count in played.exercised.items() if count}
    assert met == set(FAULTS)


def test_plans_are_varied() -> None:
    """Random plans have all strategies, all rules of health, nesting to depth three, and one to four subscribers."""
    plans = [random_plan(seed) for seed in range(300)]
    assert {len(plan.hosts) for plan in plans} == {1, 2, 3, 4}
    assert max(map(depth, plans)) == 3
    assert {node.kind for plan in plans for node in branches(plan.root)} == set(FORMS)
    assert set(strategies.__all__) == set(FORMS)
    rules = [node.health for plan in plans for node in branches(plan.root)]
    assert {rule.failback for rule in rules} == set(get_args(Failback))
    for setting in ("failures", "ratio", "growth", "jitter", "slow_start", "probe"):
        assert len({getattr(rule, setting) for rule in rules}) > 1
    for plan in plans:
        names = [socket.name for socket in sockets(plan.root)]
        assert len(names) == len(set(names))


def branches(node: Branch | Socket) -> list[Branch]:
    """The strategies at or below a node."""
    if isinstance(node, Socket):
        return []
    return [node, *(branch for child in node.children for branch in branches(child))]


def depth(plan: Plan) -> int:
    """How deep strategies nest."""

    def below(node: object) -> int:
        return 1 + max((below(child) for child in getattr(node, "children", ())), default=-1)

    return below(plan.root)


def test_one_seed_is_one_history() -> None:
    """A schedule played twice leaves the same bytes; another one leaves others."""
    one, again, other = (b"".join(play_seed(seed).history.lines()) for seed in (5, 5, 6))
    assert one == again != other


def elsewhere(seed: int, python: str, hash_seed: str) -> str:
    """The digest of a schedule's history as another process prints it."""
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SCRIPT.parents[2])}
    run = subprocess.run([python, str(SCRIPT), str(seed)], env=environment, capture_output=True, check=True)
    return hashlib.sha256(run.stdout).hexdigest()


@pytest.mark.parametrize("seed", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_the_same_bytes_everywhere(seed: int) -> None:
    """Other processes, other hash seeds, and the other Pythons that are there leave the same bytes of history."""
    here = hashlib.sha256(b"".join(play_seed(seed).history.lines())).hexdigest()
    pythons = [(sys.executable, "0"), (sys.executable, "1"), *((python, "random") for python in others())]
    assert {elsewhere(seed, *where) for where in pythons} == {here}


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The nightly command prints how many passed, what was met, and fails if a fault was not."""
    assert main(["--seeds", "60", "--first", "100"]) in {0, 1}
    printed = capsys.readouterr().out
    assert printed.startswith("60 of 60 schedules passed")
    assert "faults that met something: refuse" in printed
    assert main(["--seeds", "1"]) == 1  # one schedule can't meet every fault
    assert "NOT EXERCISED" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """Shared among processes, the same schedules give the same counts."""
    main(["--seeds", "60"])
    alone = capsys.readouterr().out.splitlines()[1:]
    main(["--seeds", "60", "--processes", "2"])
    assert capsys.readouterr().out.splitlines()[1:] == alone


def test_one_seed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """One seed is told with what it met."""
    assert main(["--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("seed 7: 0 findings; faults: ")


def test_what_is_said_of_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing seed is printed with the command that repeats it, which tells the history around what was found."""
    honest = play_seed(7)
    story = next(iter(honest.history.stories.values()))
    finding = Finding("invented", "nothing is wrong", (story.event,), story.last)
    failed = evolve(honest, findings=(finding,))

    def play_it(_seed: int) -> Played:
        return failed

    monkeypatch.setattr(schedules, "play_seed", play_it)
    assert main(["--seeds", "1"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("0 of 1 schedules passed")
    assert "python -m failover.testing.schedules --seed 7" in printed
    assert main(["--seed", "7"]) == 1
    told = capsys.readouterr().out
    assert f"invented: at {story.last:.6f} s nothing is wrong (event {story.event})" in told
    assert sentence(story.raised[0]) in told


def test_many_failures_are_not_all_printed() -> None:
    """Of very many failed seeds the first are printed, and how many more there are."""
    honest = play_seed(7)
    tally = Tally()
    for _ in range(30):
        tally.take(Played(honest.plan, honest.history, (Finding("invented", "no", (), 0.0),), {}))
    lines = list(tally.lines(1.0))
    assert lines[-1] == "and 10 more"
    assert lines[0].startswith("0 of 30 schedules passed")
