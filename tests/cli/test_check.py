"""`failover check`: addresses drawn, and wrong ones shown where they are wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from io import StringIO

import pytest
from attrs import frozen
from rich.console import Console
from typer.testing import CliRunner

from failover.address import Address
from failover.cli.app import app
from failover.cli.tree import draw

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_tree_is_drawn(command: Run) -> None:
    """Policy, sockets and their parts stand in the tree, each with what it means."""
    done = command("check", "virtual:FAILOVER jsonrpc:10.0.0.5:8080/block_ip tcp:[::1]:8081")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAILOVER: the first that is in service")
    assert lines[0].endswith("the next one does")
    assert "├── jsonrpc:10.0.0.5:8080/block_ip" in lines
    assert "└── tcp:[::1]:8081" in lines
    assert any("method block_ip: the JSON-RPC method" in line for line in lines)
    assert any("host ::1: an IPv6 address" in line for line in lines)
    assert any("no method: the event's name" in line for line in lines)


def test_options_are_drawn_where_they_belong() -> None:
    """What is said of a strategy stands beside it, what its parent says of it before it, and a socket's beside it."""
    text = "virtual:TIERS quarantine=5s jsonrpc:a:1 tier=1 timeout=200ms (PARALLEL require=any tcp:b:1 tcp:c:1) tier=2"
    done = CliRunner().invoke(app, ["check", text])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].startswith("TIERS quarantine=5s: all of one tier")
    assert "├── jsonrpc:a:1 tier=1 timeout=200ms" in lines
    assert any(line.startswith("└── tier=2 PARALLEL require=any: all get the event at once") for line in lines)
    assert "    ├── tcp:b:1" in lines


@pytest.mark.parametrize(
    ("socket", "position"),
    [
        ("jsonrpc:127.0.0.1:99999", 18),
        ("virtual:FAILURE jsonrpc:a:1", 12),
        ("http://x", 0),
        ("jsonrpc:a b:1", 9),
        ("virtual:RETRY within=2 tcp:a:1", 22),
    ],
)
def test_an_error_is_shown_where_it_is(socket: str, position: int) -> None:
    """The text stands there again with a caret below the first character that doesn't fit; exit status 2."""
    done = CliRunner().invoke(app, ["check", socket])
    assert done.exit_code == 2
    first, *rest = done.output.splitlines()
    assert first.startswith("failover: ")
    assert "expected" in first
    assert rest == [f"  {socket}", "  " + " " * position + "^"]


def test_what_can_be_written_and_not_be_meant() -> None:
    """The same socket twice in one group parses, and is a mistake all the same."""
    done = CliRunner().invoke(app, ["check", "virtual:FAILOVER jsonrpc:a:1 jsonrpc:a:1"])
    assert done.exit_code == 2
    assert "two children named 'jsonrpc:a:1'" in done.output


@pytest.mark.parametrize(
    ("socket", "meaning"),
    [
        ("virtual:PARALLEL jsonrpc:a:1", "PARALLEL: all get the event at once"),
        ("virtual:ROUND-ROBIN jsonrpc:a:1", "ROUND-ROBIN: they take turns"),
        ("jsonrpc:example.org:1", "host example.org: a name"),
    ],
)
def test_each_part_has_a_meaning(socket: str, meaning: str) -> None:
    """Policies and hosts are explained, whichever they are."""
    done = CliRunner().invoke(app, ["check", socket])
    assert done.exit_code == 0
    assert meaning in done.output


def test_an_address_of_another_kind() -> None:
    """An address whose scheme comes from elsewhere is drawn as what it is: its text."""

    @frozen
    class Elsewhere(Address):
        def __str__(self) -> str:
            return f"{self.scheme}:anything"

    console = Console(file=StringIO())
    with console.capture() as drawn:
        console.print(draw(Elsewhere("other")))
    assert drawn.get().splitlines() == ["other:anything", "└── other: a scheme that another distribution adds"]
