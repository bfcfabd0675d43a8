"""`failover check`: addresses drawn, and wrong ones shown where they are wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

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


@pytest.mark.parametrize(
    ("socket", "position"),
    [("jsonrpc:127.0.0.1:99999", 18), ("virtual:FAILURE jsonrpc:a:1", 12), ("http://x", 0), ("jsonrpc:a b:1", 9)],
)
def test_an_error_is_shown_where_it_is(command: Run, socket: str, position: int) -> None:
    """The text stands there again with a caret below the first character that doesn't fit; exit status 2."""
    done = command("check", socket)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:] == [f"  {socket}", "  " + " " * position + "^"]
    assert "expected" in done.stderr
