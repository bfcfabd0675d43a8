"""Pages of tests for pytest: their files are written, their commands are run, and print what stands below them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from attrs import frozen

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs"


@frozen
class Page:
    """A page of the documentation that has tests.

    Args:
        name: Its path below the documentation.
    """

    name: str

    @property
    def text(self) -> str:
        """What it says."""
        return (DOCS / self.name).read_text(encoding="utf-8")

    @property
    def files(self) -> list[tuple[str, str]]:
        """Its files: name and source."""
        return re.findall(r"<!-- file: (\S+) -->\n\n```python\n(.*?)```", self.text, re.DOTALL)

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Its commands, and what stands below each."""
        return re.findall(r"```\n\$ pytest (.*?)\n(.*?)```", self.text, re.DOTALL)

    def __str__(self) -> str:
        return self.name


PAGE = Page("testing/pytest.md")
RECIPES = [Page(f"recipes/{path.name}") for path in sorted((DOCS / "recipes").glob("*.md")) if path.stem != "index"]
COMMANDS = [(page, *command) for page in (PAGE, *RECIPES) for command in page.commands]
FAIL = {"test_liar.py": 1, "test_trouble.py": 1}


def run(pytester: pytest.Pytester, page: Page, *arguments: str) -> pytest.RunResult:
    """Run pytest on the files of a page."""
    for name, source in page.files:
        (pytester.path / name).write_text(source, encoding="utf-8")
    return pytester.run(sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments, timeout=60)


@pytest.mark.slow
def test_files(pytester: pytest.Pytester) -> None:
    """Every test of the page on pytest passes, but those that are shown to fail."""
    names = [name for name, _ in PAGE.files if name != "test_shrink.py"]
    assert len(names) == 4
    run(pytester, PAGE, *names).assert_outcomes(passed=4, failed=sum(FAIL.values()))


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command", "shown"), COMMANDS, ids=[f"{page} {line}" for page, line, _ in COMMANDS])
def test_commands(pytester: pytest.Pytester, page: Page, command: str, shown: str) -> None:
    """A command prints what stands below it; `...` there stands for anything."""
    printed = re.sub(r"=+ (.*?) =+", r"\1", run(pytester, page, *shlex.split(command)).stdout.str())
    parts = [re.escape(part.strip("\n")) for part in shown.split("...")]
    assert re.search(".*?".join(parts), printed, re.DOTALL), f"the page shows\n\n{shown}\n\nbut:\n\n{printed}"


def test_nothing_is_left_out() -> None:
    """All Python of the page on pytest is in its files, each recipe has a test, and all have commands."""
    assert PAGE.text.count("```python") == len(PAGE.files)
    assert len(PAGE.commands) == PAGE.text.count("\n$ pytest ") == 4
    assert len(RECIPES) == 5
    for recipe in RECIPES:
        (tree, _), (test, _) = recipe.files
        assert test == f"test_{tree}"
        assert [command for command, _ in recipe.commands] == [test]
