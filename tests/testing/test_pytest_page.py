"""The page on pytest: its files are written, its commands are run, and what stands below them is what is printed."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing" / "pytest.md").read_text(encoding="utf-8")
FILES = re.findall(r"<!-- file: (\S+) -->\n\n```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```\n\$ pytest (.*?)\n(.*?)```", PAGE, re.DOTALL)
FAIL = {"test_liar.py": 1, "test_trouble.py": 1}


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest on the files of the page."""
    for name, source in FILES:
        (pytester.path / name).write_text(source, encoding="utf-8")
    return pytester.run(sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments, timeout=60)


@pytest.mark.slow
def test_files(pytester: pytest.Pytester) -> None:
    """Every test of the page passes, but those that are shown to fail."""
    names = [name for name, _ in FILES if name != "test_shrink.py"]
    assert len(names) == 4
    run(pytester, *names).assert_outcomes(passed=4, failed=sum(FAIL.values()))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_commands(pytester: pytest.Pytester, command: str, shown: str) -> None:
    """A command prints what stands below it; `...` there stands for anything."""
    printed = re.sub(r"=+ (.*?) =+", r"\1", run(pytester, *shlex.split(command)).stdout.str())
    parts = [re.escape(part.strip("\n")) for part in shown.split("...")]
    assert re.search(".*?".join(parts), printed, re.DOTALL), f"the page shows\n\n{shown}"


def test_nothing_is_left_out() -> None:
    """All Python of the page is in its files, and it has commands."""
    assert PAGE.count("```python") == len(FILES)
    assert len(COMMANDS) == PAGE.count("\n$ pytest ") == 4
