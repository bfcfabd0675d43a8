"""`failover conformance`: what it prints, writes and exits with."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from failover.cli.app import app
from failover.subscriber import Subscriber

QUICK = ("--only", "1", "--only", "5.1")


def run(*words: str) -> Result:
    """Run it inside this process."""
    return CliRunner().invoke(app, ["conformance", *words])


@pytest.fixture
def place() -> Iterator[str]:
    """Where a subscriber listens that knows E_CDR, if it has a callid."""
    subscriber = Subscriber(drain=0)

    @subscriber.method("E_CDR")
    def on_cdr(params: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        assert params["callid"] == "a84"

    with subscriber.blocking():
        yield subscriber.socket.removeprefix("jsonrpc:")


@pytest.fixture
def deaf() -> Iterator[str]:
    """Where somebody closes each connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=close)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_all_is_well(place: str) -> None:
    """Nothing to see but the counts, and status 0; stdout alone, so that it can be piped."""
    done = run(place, "callid=a84", "--method", "E_CDR", *QUICK)
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(rf"jsonrpc:{place}, method E_CDR: 8 pass, 0 fail, 0 warn, 0 skip in \d\.\d s\n", done.stdout)


def test_failures_come_with_their_evidence(deaf: str) -> None:
    """A failure has a row and a paragraph: source, what was sent, expected, and came; the status is 1."""
    done = run(deaf, "--method", "E_CDR", "--only", "1.1", "--timeout", "0.2")
    assert done.exit_code == 1
    head, row, _, *paragraph = done.stdout.splitlines()
    assert head.split() == ["clause", "verdict", "took", "found"]
    assert re.fullmatch(r"1\.1-confirmed  fail +\d+\.\d ms  (no reply|the connection) .*", row)
    assert [line.partition(":")[0].strip() for line in paragraph[1:5]] == ["source", "expected", "sent", "came"]
    assert "most clauses can't but fail" in done.stdout


def test_warnings_are_allowed_unless_strict() -> None:
    """A subscriber that can't be told from one that takes everything only warns; --strict makes that a failure."""
    taking = Subscriber(drain=0)

    @taking.default
    def take(method: str, params: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        """Take anything."""

    with taking.blocking():
        there = taking.socket.removeprefix("jsonrpc:")
        done = run(there, "--only", "5.1")
        assert (done.exit_code, "5.1-unknown-method  warn" in done.stdout) == (0, True)
        assert run(there, "--only", "5.1", "--strict").exit_code == 1


def test_reports(place: str, tmp_path: Path) -> None:
    """JSON and JUnit hold each clause with its verdict and evidence."""
    as_json, as_junit = tmp_path / "report.json", tmp_path / "report.xml"
    words = ["--method", "E_CDR", "--only", "1.1", "--only", "5.1", "--only", "4.2", "--only", "1.7"]
    done = run(place, "callid=a85", *words, "--json", str(as_json), "--junit", str(as_junit))
    assert done.exit_code == 1
    report = json.loads(as_json.read_text())
    assert report["counts"] == {"pass": 2, "fail": 1, "warn": 0, "skip": 0} | {"pass": report["counts"]["pass"]}
    assert (report["ok"], report["method"]) == (False, "E_CDR")
    first = report["results"][0]
    assert (first["id"], first["verdict"], first["detail"]) == ("1.1-confirmed", "fail", "it was refused with -32603")
    assert '"callid":"a85"' in first["sent"]
    assert '"code":-32603' in first["came"]
    suite = ET.fromstring(as_junit.read_bytes())[0]  # noqa: S314  # our own
    assert suite.get("tests") == "4"
    assert suite.get("failures") == "1"
    cases = {case.get("name"): case for case in suite}
    failure = cases["1.1-confirmed"].find("failure")
    assert failure is not None
    assert failure.get("message") == "it was refused with -32603"
    assert "expected: a result" in (failure.text or "")
    assert list(cases["5.1-unknown-method"]) == []


def test_a_list_of_the_clauses() -> None:
    """--list says what would be examined, and connects to nobody."""
    done = run("192.0.2.1:1", "--list", "--only", "7", "--skip", "7.2")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.partition("-")[0] for line in lines] == ["7.1", "7.3", "7.4", "7.5", "7.6"]
    assert lines[0] == "7.1-batch (should): A batch is answered with an array [JSON-RPC 2.0 section 6]"


def test_verbose_shows_what_passed(place: str) -> None:
    """-v shows every clause."""
    done = run(place, "callid=a84", "--method", "E_CDR", "-v", *QUICK)
    assert done.exit_code == 0
    assert len(re.findall(r"^\d+\.\d+-\S+ +pass +\d+\.\d ms  \S", done.stdout, re.MULTILINE)) == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["127.0.0.1"], "port"),
        (["127.0.0.1:1/method"], "--method NAME"),
        (["127.0.0.1:1", "a=1"], "give --method NAME"),
        (["127.0.0.1:1", "--only", "99"], "'99' fits no clause"),
        (["127.0.0.1:1", "--skip", "x"], "'x' fits no clause"),
        (["127.0.0.1:1", "--dialect", "2.4"], "expected one of both, 3.0, 3.1"),
        (["127.0.0.1:1", "--timeout", "0"], "timeout is 0.0 seconds"),
        (["127.0.0.1:1", "--within", "inf"], "within is inf seconds"),
        (["127.0.0.1:1", "--json", "/nowhere/report"], "no such directory"),
    ],
)
def test_wrong_usage(words: list[str], told: str) -> None:
    """What can't be meant is said before anything is sent, with status 2."""
    done = run(*words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_nobody_there() -> None:
    """If nobody listens, that's said in a line, with status 2."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{bound.getsockname()[1]}"
        done = run(place)
    assert done.exit_code == 2
    assert re.fullmatch(
        rf"failover: jsonrpc:{place}: no connection: .*refused.*; start the subscriber .*\n", done.stderr
    )


def test_the_live_line(place: str) -> None:
    """On a terminal, progress is drawn, with the clause at hand, and wiped at the end."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "failover.cli", "conformance", place, "callid=a84", "--method", "E_CDR", *QUICK]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, text=True, env=environment) as running:
        os.close(slave)
        drawn = b""
        try:
            while piece := os.read(master, 65536):
                drawn += piece
        except OSError:  # the other end is closed
            pass
        os.close(master)
        printed, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert b"8/8" in drawn
    assert b"5.1-unknown-method" in drawn
    assert "8 pass, 0 fail" in printed


def test_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """--help shows examples in lines that aren't broken at 80 characters, and the exit statuses."""
    monkeypatch.setenv("COLUMNS", "80")
    told = run("--help").stdout
    lines = [line.strip() for line in told.splitlines()]
    shown = lines[lines.index("Examples:") + 1 :][:5]
    assert all(line.startswith("failover conformance ") for line in shown)
    assert shown[-1].endswith("--strict --junit conformance.xml")
    assert [number for number in range(4) if f"\n   {number}  " in told] == [0, 1, 2]
