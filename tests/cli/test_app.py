"""The command line as a whole: how it is reached, what it says of itself, and what it does without its extra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version
from itertools import takewhile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from failover.cli import main
from failover.cli.app import app
from tests.cli.conftest import environment

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_version(command: Run) -> None:
    """--version is that of the installed distribution."""
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"failover {version('failover')}\n")


def test_the_console_script() -> None:
    """`failover` on the path is `failover.cli.main`."""
    (script,) = entry_points(group="console_scripts", name="failover")
    assert script.load() is main


@pytest.mark.parametrize("words", [[], ["demo"], ["send"], ["listen"], ["check"]])
def test_help_has_examples(words: list[str]) -> None:
    """--help of each command shows how it's used, in lines that aren't broken at 80 characters."""
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    shown = list(takewhile(bool, lines[lines.index("Examples:") + 1 :]))
    assert shown
    assert all(line.startswith(" ".join(["failover", *words])) for line in shown)


def test_help_of_send_tells_the_exit_statuses(command: Run) -> None:
    """What scripts rely on is written where they look for it."""
    told = command("send", "--help").stdout
    assert [line for line in range(8) if f"\n   {line}  " in told] == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--version", "check tcp:a:1", "send jsonrpc:127.0.0.1:1 E_X", "drill --list"])
def test_output_that_cannot_be_written(words: str, unbuffered: str) -> None:
    """A full disk is told in one line, and the status isn't that of success."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "failover.cli", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=environment({"PYTHONUNBUFFERED": unbuffered}),
        )
    assert (done.returncode, done.stderr) == (1, "failover: the output can't be written: No space left on device\n")


def test_shell_completion(command: Run) -> None:
    """A completion script is produced, and the program answers what it asks."""
    script = command(_FAILOVER_COMPLETE="source_bash")
    assert script.returncode == 0
    assert "complete -o default -F" in script.stdout
    assert script.stdout.rstrip().endswith("failover")
    words = command(_FAILOVER_COMPLETE="complete_bash", COMP_WORDS="failover li", COMP_CWORD="1")
    assert words.stdout.split() == ["listen"]


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    """Without typer or rich one line says what to install, and the status is 1."""
    program = f"import sys; sys.modules[{missing!r}] = None; from failover.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"failover: the command line needs {missing}; install it with: pip install 'failover[cli]'\n"
    )


def test_an_error_of_our_own_is_not_hidden() -> None:
    """A module of ours that is missing is our fault, and not blamed on the extra."""
    program = "import sys; sys.modules['failover.group'] = None; from failover.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_unknown_commands(command: Run) -> None:
    """A command that doesn't exist is a mistake like others: status 2, no traceback."""
    done = command("sent")
    assert done.returncode == 2
    assert "sent" in done.stderr
    assert "Traceback" not in done.stderr
