"""`failover drill`: the exit status, what is written, the progress bar, and what is wrong with a file."""

from __future__ import annotations

import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from failover.cli.app import app
from failover.cli.drilling import Bar, show_result
from failover.drill import parse_drill, run_drill, shipped, shipped_drill
from failover.drill.plan import Drill
from failover.testing.history import History

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]

LYING = """
[drill]
name = "a lie\\u001b[31m"
duration = 1.0
[group]
socket = "virtual:FAILOVER jsonrpc:app1:1 jsonrpc:app2:1"
[[subscriber]]
name = "app1"
script = "confirm_unhandled"
"""


@pytest.fixture
def lying(tmp_path: Path) -> Path:
    """The file of a drill that fails."""
    path = tmp_path / "lying.toml"
    path.write_text(LYING)
    return path


def test_what_ships_is_listed(command: Run) -> None:
    """Every drill that ships stands there, with what it is about."""
    done = command("drill", "--list", COLUMNS="200")
    assert (done.returncode, done.stderr) == (0, "")
    listed = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert listed == {name: shipped_drill(name).drill.about for name in shipped()}


def test_everything_is_written(command: Run, tmp_path: Path) -> None:
    """A drill that holds exits with 0, and writes report, JUnit and history where it is told to."""
    html, junit, lines = tmp_path / "r.html", tmp_path / "j.xml", tmp_path / "h.jsonl"
    done = command(
        "drill", "black-hole", "--html", str(html), "--junit", str(junit), "--json", str(lines), "--seed", "5"
    )
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["   3.000 s  black_hole on app1", "   6.000 s  end of black_hole on app1"]
    assert done.stdout.splitlines()[-1] == "black hole: all 21 checks hold (simulation, seed 5)"
    assert html.read_text("utf-8").startswith("<!doctype html>")
    assert ET.parse(junit).getroot().get("failures") == "0"  # noqa: S314  # our own
    history = History.from_lines(lines.read_bytes().splitlines())
    assert history.counts["raised"] == 450
    assert history.check() == []


def test_a_check_that_fails(command: Run, lying: Path) -> None:
    """A drill that fails exits with 1 and names the check, when, and the events; nothing steers the terminal."""
    done = command("drill", str(lying), "--quiet")
    assert done.returncode == 1
    assert "FAILED nothing confirmed unprocessed" in done.stdout
    assert "       at 0.001 s: app1 says confirmed, and app1 had not processed it (event 1)" in done.stdout
    assert "       and 17 more" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("1 of 18 checks failed (simulation, seed 1)")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no drill: give a file"),
        (["nonsense"], "no drill 'nonsense' ships, and there is no such file; shipped are all-down-and-back"),
        (["not/there.toml"], "not/there.toml: there is no such file"),
        (["black-hole", "--on", "mars"], "--on mars: expected simulation or sockets"),
        (["nonsense", "--show"], "no drill 'nonsense' ships"),
    ],
)
def test_what_is_asked_wrongly(words: list[str], expected: str) -> None:
    """A drill that isn't there and an option that doesn't fit exit with 2 and say what is."""
    done = CliRunner().invoke(app, ["drill", *words])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"failover: {expected}")


def test_a_file_that_is_wrong(command: Run, tmp_path: Path) -> None:
    """The error names the file and the key, and nothing is run or written."""
    path, report = tmp_path / "mine.toml", tmp_path / "r.html"
    path.write_text(LYING.replace("duration", "duratoin"))
    done = command("drill", str(path), "--html", str(report))
    assert done.returncode == 2
    assert done.stderr.startswith(f"failover: {path}: drill.duratoin: there is no such key; did you mean 'duration'?")
    path.write_bytes(b"name = '\xff'")
    assert command("drill", str(path)).stderr == f"failover: {path}: not UTF-8 at byte 8\n"
    assert not report.exists()


def test_a_place_that_cannot_be_written(command: Run, tmp_path: Path) -> None:
    """A history that can't be written is an error before anything is run."""
    done = command("drill", "black-hole", "--json", str(tmp_path / "not" / "there"))
    assert (done.returncode, done.stderr) == (1, "failover: No such file or directory\n")


def test_the_file_of_a_shipped_drill(command: Run, tmp_path: Path) -> None:
    """What `--show` prints is a drill again, the same one."""
    shown = command("drill", "poison-event", "--show")
    assert shown.returncode == 0
    assert parse_drill(shown.stdout) == shipped_drill("poison-event")
    path = tmp_path / "own.toml"
    path.write_text(shown.stdout)
    assert command("drill", str(path), "--show").stdout == shown.stdout


@pytest.mark.slow
def test_it_can_be_interrupted(begin: Begin) -> None:
    """Ctrl-C ends a drill on sockets at once, with the status that shells know."""
    running = begin("drill", "dead-primary", "--on", "sockets")
    assert running.stderr is not None
    assert "crash on app1" in running.stderr.readline()  # it is under way
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.splitlines()[-1] == "failover: interrupted"


def test_a_bar_on_a_terminal() -> None:
    """On a terminal a bar shows the time and the counts while it runs; elsewhere there is none."""
    drill = parse_drill(LYING)
    screen = StringIO()
    with Bar(Console(file=screen, force_terminal=True, width=120, color_system=None), 1.0) as bar:
        run_drill(drill, bar)
    assert "0.5 of 1.0 s" in screen.getvalue()
    assert "raised, 10 confirmed, 0 not, 0 under way" in screen.getvalue()
    plain = StringIO()
    with Bar(Console(file=plain, width=120), 1.0) as bar:
        run_drill(drill, bar)
    assert plain.getvalue() == ""


def test_what_is_not_judged_is_shown() -> None:
    """A steady state that could not be judged is neither ok nor failed."""
    text = (
        LYING.replace('"confirm_unhandled"', '"confirm"')
        + '[[fault]]\nwhat = "crash"\non = "app2"\nat = 0.5\n[steady]\n'
    )
    drill: Drill = parse_drill(text)
    screen = StringIO()
    show_result(Console(file=screen, width=120), run_drill(drill))
    assert "not judged steady state after: faults last to the end" in screen.getvalue()
    assert "all 19 checks hold, 1 not judged (simulation, seed 1)" in screen.getvalue()
