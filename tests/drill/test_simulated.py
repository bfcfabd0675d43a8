"""Drills in the simulation: what ships holds, what is broken is found, and one seed gives one history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from failover.drill import parse_drill, run_drill, shipped, shipped_drill
from failover.drill.picture import picture
from failover.drill.result import Result
from failover.testing.entries import Ended, FaultSet, Processed, Raised
from failover.testing.history import History

PAIR = '[group]\nsocket = "virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080"\ntimeout = 0.2\n'


def run(text: str) -> Result:
    """The result of a drill with this text behind its head."""
    return run_drill(parse_drill('[drill]\nname = "x"\nduration = 3.0\n' + text))


def failing(result: Result) -> list[str]:
    """The names of the checks that don't hold."""
    return [verdict.name for verdict in result.verdicts if not verdict.holds]


def test_eight_drills_ship() -> None:
    """The ready-made drills are there, by their names."""
    assert shipped() == (
        "all-down-and-back",
        "black-hole",
        "dead-primary",
        "flapping-primary",
        "handle-then-drop",
        "poison-event",
        "rolling-restart",
        "slow-primary",
    )


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_shipped_drills_hold(name: str, seed: int) -> None:
    """Every drill that ships holds, its faults did something, and it takes little real time."""
    drill = shipped_drill(name)
    result = run_drill(drill.on("simulation", seed))
    assert failing(result) == []
    numbers = result.numbers()
    assert numbers["raised"] == numbers["confirmed"] + numbers["not_confirmed"]  # type: ignore[operator]
    assert numbers["quarantines"], "nobody noticed the faults"
    assert result.recorder.counts["answered"] > 100, "nobody watched the replies"
    assert [verdict.name for verdict in result.verdicts if verdict.skipped] == []
    assert result.seconds < 10  # a busy machine's: alone it takes a tenth of a second


def test_numbers_are_those_of_the_history() -> None:
    """What is counted while it runs is what stands in the history's entries."""
    result = run_drill(shipped_drill("slow-primary"))
    history, numbers = result.recorder, result.numbers()
    ended = [entry for entry in history if isinstance(entry, Ended)]
    assert numbers["raised"] == sum(isinstance(entry, Raised) for entry in history)
    assert numbers["confirmed"] == sum(entry.receipt.confirmed for entry in ended)
    assert numbers["processed"] == sum(isinstance(entry, Processed) for entry in history)
    assert numbers["possible_duplicates"] == sum(entry.receipt.possible_duplicates for entry in ended)
    events = {entry.event for entry in history if isinstance(entry, Processed)}
    assert numbers["processed_again"] == numbers["processed"] - len(events)  # type: ignore[operator]
    took = sorted(
        entry.at - raised.at
        for entry in ended
        for raised in history
        if isinstance(raised, Raised) and raised.event == entry.event
    )
    exact = took[int(0.9 * len(took) + 0.5) - 1]
    assert numbers["p90"] == pytest.approx(exact, rel=0.021)
    assert numbers["longest"] == took[-1]


def test_a_subscriber_that_lies_is_found() -> None:
    """One that confirms without doing the work fails the drill, with the events behind it."""
    result = run(PAIR + '[[subscriber]]\nname = "app1"\nscript = ["confirm", "confirm_unhandled"]\n')
    assert failing(result) == ["nothing_confirmed_unprocessed"]
    verdict = next(verdict for verdict in result.verdicts if not verdict.holds)
    assert len(verdict.findings) == 59
    assert verdict.findings[0].events == ("2",)


def test_a_subscriber_that_refuses_what_it_did_is_found() -> None:
    """An error reply says that nothing was done; that it was is a finding."""
    result = run(PAIR + '[[subscriber]]\nname = "app1"\nscript = "handle_then_error"\n')
    assert "unreachable_never_processed" in failing(result)


def test_the_steady_state_is_judged_before_and_after_the_faults() -> None:
    """A group that recovers too late fails the steady state after the faults, by the events that were slow or lost."""
    text = '[[fault]]\nwhat = "black_hole"\nat = 1.0\nfor = 1.0\n[steady]\nconfirmed = 1.0\np99 = 0.05\nsettle = 0.2\n'
    group = '[group]\nsocket = "virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080"\ntimeout = 0.2\n'
    result = run(group + text)
    names = [verdict.name for verdict in result.verdicts if verdict.name.startswith("steady")]
    assert names == ["steady_state_before", "steady_state_after"]
    before, after = (verdict for verdict in result.verdicts if verdict.name.startswith("steady"))
    assert before.holds
    assert before.shown == "20 of 20 confirmed (100.00%), p99 1.0 ms"
    assert not after.holds
    assert all(int(event) > 37 for event in after.findings[0].events)


def test_what_cannot_be_judged_is_said() -> None:
    """A steady state after faults that never end isn't judged, and doesn't hold silently."""
    result = run(PAIR + '[[fault]]\nwhat = "crash"\non = "app1"\nat = 1.0\n[steady]\nconfirmed = 1.0\n')
    after = next(verdict for verdict in result.verdicts if verdict.name == "steady_state_after")
    assert after.skipped.startswith("faults last to the end")
    assert result.holds


def test_checks_can_be_left_out_and_given_arguments() -> None:
    """False leaves a check out; arguments make it stricter; what isn't named is checked all the same."""
    lying = PAIR + '[[subscriber]]\nname = "app1"\nscript = { action = "confirm_unhandled", delay = 0.05 }\n[checks]\n'
    assert failing(run(lying + "nothing_confirmed_unprocessed = false\n")) == []
    assert failing(run(lying + "moved_on_within = 0.01\n")) == ["moved_on_within", "nothing_confirmed_unprocessed"]
    assert failing(run(lying + "moved_on_within = { seconds = 0.06 }\n")) == ["nothing_confirmed_unprocessed"]


def test_checkers_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of a module of yours is a check, by its name."""
    (tmp_path / "ours_for_this_test.py").write_text(
        "from failover.testing.checkers import Finding\n"
        "def odd(history):\n"
        '    """No event is number 7."""\n'
        "    return [Finding('odd', 'it is 7', ('7',), 0.0)] if '7' in history.stories else []\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    result = run(PAIR + '[checks]\n"ours_for_this_test:odd" = true\n')
    assert failing(result) == ["ours_for_this_test:odd"]
    assert next(verdict.promise for verdict in result.verdicts if not verdict.holds) == "No event is number 7."


def test_trees_of_tables() -> None:
    """Strategies nest as tables, with their arguments and sockets with theirs; a subscriber may stand in it twice."""
    result = run(
        "[group.tree]\n"
        'strategy = "failover"\nquarantine = 1\n'
        'children = ["app1", { strategy = "Parallel", require = "any", name = "pair",'
        ' children = ["app2", { socket = "jsonrpc:app1:8080/again", timeout = 0.1 }] }]\n'
        '[[fault]]\nwhat = "error"\non = "app1"\nat = 1.0\nfor = 1.0\n'
    )
    assert failing(result) == []
    assert dict(result.recorder.behind) == {"app1": "app1", "app2": "app2", "app1/again": "app1"}
    assert [node.name for node in result.recorder.roots["group"].walk()] == [
        "group",
        "Failover",
        "app1",
        "pair",
        "app2",
        "app1/again",
    ]
    assert result.numbers()["confirmed"] == 60


def test_trees_of_text() -> None:
    """The extended text is a tree as tables are one: strategies nest, with their options and sockets with theirs."""
    result = run(
        "[group]\n"
        "socket = 'virtual:FAILOVER quarantine=1s jsonrpc:app1:1 (PARALLEL require=any name=pair"
        " jsonrpc:app2:1 (RETRY jsonrpc:app1:1/again timeout=100ms)) tcp:app1:1 name=x'\n"
        '[[fault]]\nwhat = "error"\non = "app1"\nat = 1.0\nfor = 1.0\n'
    )
    assert failing(result) == []
    assert dict(result.recorder.behind) == {"app1": "app1", "app2": "app2", "app1/again": "app1", "x": "app1"}
    assert [node.name for node in result.recorder.roots["group"].walk()] == [
        "group",
        "FAILOVER",
        "app1",
        "pair",
        "app2",
        "RETRY",
        "app1/again",
        "x",
    ]
    assert result.numbers()["confirmed"] == 60


def test_events_of_one_call_are_in_order() -> None:
    """Events with a key are raised one after the other, and processed in that order, at random arrivals too."""
    result = run(
        PAIR + "[load]\nrate = 200\nkeys = 3\narrivals = 'random'\nparams = { from = 'alice' }\n"
        "[checks]\nin_order = true\n[[subscriber]]\nname = 'app1'\n"
        "script = { action = 'confirm', delay = { uniform = [0, 0.02] } }\n"
    )
    assert failing(result) == []
    assert "in_order" in [verdict.name for verdict in result.verdicts]
    assert {entry.key for entry in result.recorder if isinstance(entry, Raised)} == {"call-0", "call-1", "call-2"}


@pytest.mark.parametrize(
    ("fault", "args"),
    [
        ("refuse", ""),
        ("black_hole", ""),
        ("reset", ""),
        ("half_open", ""),
        ("partition", "way = 'up'"),
        ("hold", ""),
        ("latency", "delay = { uniform = [0.05, 0.3] }"),
        ("jitter", "most = 0.4"),
        ("bandwidth", "rate = 2000"),
        ("slicing", ""),
        ("corrupt", "probability = 0.01"),
        ("limit", "size = 500"),
        ("crash", ""),
        ("restart", ""),
        ("loss", "probability = 0.3"),
        ("silent", ""),
        ("twice", ""),
        ("garbage", ""),
        ("accept_and_stall", ""),
        ("never_read", ""),
    ],
)
def test_every_kind_of_fault_can_be_drilled(fault: str, args: str) -> None:
    """Faults of the network, of the bytes, of the host and of the script all happen, end, and break no promise."""
    lasts = "" if fault in {"reset", "half_open", "restart"} else "for = 1.0\n"
    text = f'[[fault]]\nwhat = "{fault}"\non = "app1"\nat = 1.0\n{lasts}args = {{ {args} }}\n'
    result = run(PAIR + "quarantine = 0.3\n" + text)
    assert failing(result) == []
    told = [entry for entry in result.recorder if isinstance(entry, FaultSet) and entry.where == "app1"]
    assert told
    assert [band[1:] for band in result.recorder.bands] == [(fault, "app1", True), (fault, "app1", False)][
        : 2 if lasts else 1
    ]


@pytest.mark.slow
def test_one_seed_gives_one_history_in_every_process(tmp_path: Path) -> None:
    """The same seed gives the same bytes, whatever the hash seed; another seed gives others."""
    written: list[bytes] = []
    for number, (seed, hashes) in enumerate([("1", "0"), ("1", "1"), ("2", "0")]):
        path = tmp_path / f"{number}.jsonl"
        command = [
            sys.executable,
            "-m",
            "failover.cli",
            "drill",
            "flapping-primary",
            "--seed",
            seed,
            "--json",
            str(path),
        ]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hashes})
        written.append(path.read_bytes())
    assert written[0] == written[1] != written[2]
    assert len(History.from_lines(written[0].splitlines())) > 1000


def test_copies_that_are_meant_are_not_once_too_many() -> None:
    """Where a part of a tree has copies, work that was done twice is counted all the same, and drawn as such."""
    result = run(
        "[group]\ntimeout = 0.2\n[group.tree]\nstrategy = 'Failover'\nquarantine = 0.5\n"
        "children = ['near', { strategy = 'Parallel', children = ['far', 'away'] }]\n"
        "[[fault]]\nwhat = 'handle_then_drop'\non = 'near'\nat = 1.0\nfor = 0.5\n"
    )
    numbers = result.numbers()
    tried = result.recorder.totals.tried
    assert failing(result) == []
    assert tried["far", "confirmed"] == tried["away", "confirmed"] > 5
    assert 0 < numbers["processed_again"] == tried["near", "unconfirmed"]  # type: ignore[operator]
    assert numbers["processed_again"] == numbers["possible_duplicates"]
    marks = [mark for lane in picture(result)["lanes"] for mark in lane["processed"]]
    assert sum(again for _, again, _ in marks) == numbers["processed_again"]
