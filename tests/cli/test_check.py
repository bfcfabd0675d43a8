"""`failover check`: addresses drawn, and wrong ones shown where they are wrong."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from io import StringIO

import pytest
from attrs import frozen
from rich.console import Console
from typer.testing import CliRunner

from failover.address import Address
from failover.cli.app import app
from failover.cli.terminal import show_json
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


def test_text_is_shown_as_it_is() -> None:
    """What looks like an emoji code or like markup is a socket's name, and in JSON a part of a string."""
    done = CliRunner().invoke(app, ["check", "virtual:RETRY within=2s (FAILOVER jsonrpc:a:1/[bold] jsonrpc:b:1)"])
    assert "of 2 s jsonrpc:a:1/[bold] is sure of" in done.stdout
    printed = StringIO()
    with contextlib.redirect_stdout(printed):
        show_json({"text": "jsonrpc:a:1 [bold]:smile:"})
    assert json.loads(printed.getvalue()) == {"text": "jsonrpc:a:1 [bold]:smile:"}


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
    ("within", "status", "answer"),
    [
        ("500ms", 1, "within 500 ms: a delivery may take longer, and is cut short then"),
        ("0.5", 1, "within 500 ms: a delivery may take longer, and is cut short then"),
        ("1.22s", 0, "within 1.22 s: a delivery always ends by then"),
        ("2", 0, "within 2 s: a delivery always ends by then"),
    ],
)
def test_whether_a_time_is_kept(within: str, status: int, answer: str) -> None:
    """The bounds follow the tree, then whether they fit into the time, which the exit status says as well."""
    text = "virtual:FAILOVER tcp:a:1 timeout=200ms (RETRY attempts=1 tcp:b:1)"
    done = CliRunner().invoke(app, ["check", "--within", within, text])
    assert done.exit_code == status
    lines = done.output.splitlines()
    at = lines.index("at worst 1.22 s, 2 attempts, 1 possible duplicate")
    assert lines[at + 1] == answer
    warned = [line.startswith("warning: FAILOVER: of 500 ms RETRY is sure of 290 ms only") for line in lines[at + 2 :]]
    assert warned == [True] * status


@pytest.mark.parametrize("timeout", ["200ms", "0.2"])
def test_the_timeout_of_sockets_that_say_none(timeout: str) -> None:
    """--timeout is that of sockets whose text has none, as it is for `failover send`."""
    text = "virtual:FAILOVER tcp:a:1 tcp:b:1 timeout=1s"
    done = CliRunner().invoke(app, ["check", "--timeout", timeout, "--within", "1.3", text])
    assert done.exit_code == 0
    assert "at worst 1.22 s, 2 attempts, 1 possible duplicate" in done.output.splitlines()


def test_warnings_stand_below() -> None:
    """What can't work is told with its path, whether a time is given or not; it is no error."""
    done = CliRunner().invoke(app, ["check", "virtual:FAILOVER tcp:a:1 (RETRY within=1s name=again tcp:b:1)"])
    assert done.exit_code == 0
    assert done.output.splitlines()[-1].startswith("warning: FAILOVER > again: one attempt may take all of the 1 s")


@pytest.mark.parametrize("option", ["--within", "--timeout"])
@pytest.mark.parametrize("time", ["0", "-1", "soon", "5 s", "nan"])
def test_a_time_that_is_none(option: str, time: str) -> None:
    """It is refused as other mistakes are."""
    done = CliRunner().invoke(app, ["check", f"{option}={time}", "tcp:a:1"])
    assert done.exit_code == 2
    assert "failover: " in done.output


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
        ("udp:10.0.0.5:9000", "udp: a JSON-RPC notification in a datagram"),
        ("unix:/run/events.sock", "path /run/events.sock"),
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
