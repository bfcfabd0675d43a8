"""Drills of a subscriber of one's own in the simulation: an async function, crashed and started again with its host."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from failover.cli.app import app
from failover.drill import parse_drill, run_drill
from failover.drill.result import Result
from failover.drill.run import prepare
from failover.errors import ConfigError
from failover.testing.entries import Answered

OWN = """
import asyncio
import json
import time

PLACE = "processed.txt"


def note(call):
    with open(PLACE, "a") as file:
        print(call["params"]["event_id"], time.monotonic(), file=file)


async def serve(host, port, *, late=0.0):
    tasks = set()

    async def later(call):
        await asyncio.sleep(late)
        note(call)

    async def handle(reader, writer):
        text = ""
        while piece := await reader.read(65536):
            text += piece.decode()
            while text:
                try:
                    call, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                if late:
                    tasks.add(asyncio.create_task(later(call)))
                else:
                    note(call)
                writer.write(json.dumps({"jsonrpc": "2.0", "result": "ok", "id": call["id"]}).encode())
        writer.close()

    async with await asyncio.start_server(handle, host, port) as server:
        await server.serve_forever()


async def serve_too_early(host, port):
    await serve(host, port, late=0.2)


async def broken(host, port):
    raise ZeroDivisionError("at the start")


def no_coroutine(host, port):
    pass
"""

FILE = """
[drill]
name = "mine"
duration = 3.0
[group]
timeout = 0.2
tree = {{ strategy = "Failover", children = ["mine", "spare"], quarantine = 0.5 }}
[load]
rate = 100
[[subscriber]]
name = "mine"
start = "own_for_this_test:{start}"
processed = "processed.txt"
[[fault]]
what = "{fault}"
on = "mine"
at = 1.0
for = 0.5
{args}
"""


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The subscriber lies where the drill is run."""
    (tmp_path / "own_for_this_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_for_this_test", raising=False)


def run(start: str, fault: str = "crash", args: str = "") -> Result:
    """The result of a drill of that function."""
    return run_drill(parse_drill(FILE.format(start=start, fault=fault, args=args)))


def failing(result: Result) -> list[str]:
    """The names of the checks that don't hold."""
    return [verdict.name for verdict in result.verdicts if not verdict.holds]


@pytest.mark.parametrize(
    ("fault", "args"),
    [("crash", ""), ("black_hole", ""), ("partition", 'args = { way = "down" }'), ("slicing", ""), ("hold", "")],
)
def test_a_subscriber_that_does_its_work_first_passes(fault: str, args: str) -> None:
    """A user's own asyncio server runs on a simulated host, is struck by faults, comes back, and is judged in full."""
    result = run("serve", fault, args)
    assert (failing(result), [verdict.name for verdict in result.verdicts if verdict.skipped]) == ([], [])
    assert result.recorder.totals.done["mine"] > 200
    answered = [entry for entry in result.recorder if isinstance(entry, Answered) and entry.subscriber == "mine"]
    assert len(answered) > 200
    assert result.seconds < 10


def test_a_subscriber_that_confirms_first_is_found() -> None:
    """What it confirmed and had not done yet when it crashed is named, event by event, the same in each run."""
    found = [str(finding) for finding in _findings(run("serve_too_early"))]
    assert found
    assert all(finding.startswith("nothing confirmed unprocessed") for finding in found)
    Path("processed.txt").unlink()
    assert [str(finding) for finding in _findings(run("serve_too_early"))] == found


def _findings(result: Result) -> list[object]:
    return [finding for verdict in result.verdicts for finding in verdict.findings]


def test_one_that_does_not_start_is_shown() -> None:
    """What its function raises ends the drill, with its name and where that was, as of a command on sockets."""
    place = rf"at {re.escape(str(Path.cwd() / 'own_for_this_test.py'))}:\d+, in broken"
    with pytest.raises(
        OSError, match=f"^subscriber 'mine': start: ZeroDivisionError: at the start\n  {place}\n"
    ) as raised:
        run("broken")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_one_that_does_not_start_is_told_by_the_command() -> None:
    """In a line and a place, without this program's own traceback."""
    Path("mine.toml").write_text(FILE.format(start="broken", fault="crash", args=""))
    done = CliRunner().invoke(app, ["drill", "mine.toml"])
    assert done.exit_code == 1
    assert done.stderr.startswith("failover: subscriber 'mine': start: ZeroDivisionError: at the start\n  at ")


@pytest.mark.parametrize(
    ("start", "on", "expected"),
    [
        ("no_coroutine", "simulation", "start: 'own_for_this_test:no_coroutine' is no `async def` function"),
        ("missing", "simulation", "subscriber 'mine': start: module 'own_for_this_test' has no attribute"),
        ("serve", "sockets", "subscriber 'mine' has a `start`, which is for the simulation alone"),
    ],
)
def test_what_is_wrong_is_said(start: str, on: str, expected: str) -> None:
    """What can't serve in the simulation is refused before anything is done, and so is `start` alone on sockets."""
    text = FILE.format(start=start, fault="crash", args="").replace("duration", f'on = "{on}"\nduration')
    with pytest.raises(ConfigError) as raised:
        prepare(parse_drill(text))
    assert expected in str(raised.value)


def test_one_file_for_both_places() -> None:
    """A command beside it is what is started on sockets; each place takes its own."""
    text = FILE.format(start="serve", fault="crash", args="").replace(
        "processed =", 'command = ["{python}", "own.py", "{port}"]\nprocessed ='
    )
    for on in ("simulation", "sockets"):
        prepare(parse_drill(text.replace("duration", f'on = "{on}"\nduration')))
