"""Drills on real sockets: scripted subscribers, proxies before them, and subscribers of one's own."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.drill import parse_drill, run_drill, shipped, shipped_drill
from failover.drill.result import Result
from failover.errors import ConfigError
from failover.subscriber import Request, Subscriber
from failover.testing.entries import ConnectionChange, FaultSet, Processed

HEAD = '[drill]\nname = "x"\non = "sockets"\nduration = 0.6\n'
PAIR = '[group]\nsocket = "virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080"\ntimeout = 0.2\nquarantine = 0.2\n'
LOAD = "[load]\nrate = 100\n"

OWN = """
import socketserver, json, sys

class Billing(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            text = ""
            while True:
                piece = self.rfile.read1(65536).decode()
                if not piece:
                    return
                text += piece
                while text:
                    try:
                        call, end = json.JSONDecoder().raw_decode(text)
                    except ValueError:
                        break
                    text = text[end:]
                    self.work(call)

    def work(self, call):
        note = open(sys.argv[2], "a")
        if %r == "lies" and call["params"]["number"] %% 10 == 0:
            pass
        else:
            print(call["params"]["event_id"], file=note, flush=True)
        note.close()
        self.wfile.write(json.dumps({"jsonrpc": "2.0", "result": "ok", "id": call["id"]}).encode())

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

Server(("127.0.0.1", int(sys.argv[1])), Billing).serve_forever()
"""


def failing(result: Result) -> list[str]:
    """The names of the checks that don't hold."""
    return [verdict.name for verdict in result.verdicts if not verdict.holds]


def run(text: str) -> Result:
    """The result of half a second on sockets."""
    return run_drill(parse_drill(HEAD + text))


@pytest.mark.parametrize(
    ("fault", "args"),
    [
        ("crash", ""),
        ("handle_then_drop", ""),
        ("reset", ""),
        pytest.param("black_hole", "", marks=pytest.mark.slow),
        pytest.param("partition", "way = 'down'", marks=pytest.mark.slow),
        pytest.param("slicing", "", marks=pytest.mark.slow),
        pytest.param("corrupt", "probability = 0.05", marks=pytest.mark.slow),
        pytest.param("latency", "delay = 0.05", marks=pytest.mark.slow),
    ],
)
def test_faults_happen_on_real_sockets(fault: str, args: str) -> None:
    """Scripts, proxies and lives of subscribers are harmed in real time, and no promise is broken."""
    lasts = "" if fault == "reset" else "for = 0.2\n"
    text = f'[[fault]]\nwhat = "{fault}"\non = "app1"\nat = 0.2\n{lasts}args = {{ {args} }}\n'
    result = run(PAIR + LOAD + text)
    assert failing(result) == []
    assert result.numbers()["raised"] == 60
    assert [band[1:] for band in result.recorder.bands][:1] == [(fault, "app1", True)]
    assert any(isinstance(entry, FaultSet) and entry.where == "app1" for entry in result.recorder)


def test_it_stops_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill whose group would wait for ever is stopped some time after its duration."""
    monkeypatch.setattr("failover.drill.sockets._SPARE", 0.1)
    group = '[group]\nsocket = "jsonrpc:app1:8080"\ntimeout = 1000\n'
    with pytest.raises(TimeoutError, match=r"the drill still went on after 0\.7 s"):
        run(group + '[[subscriber]]\nname = "app1"\nscript = "silent"\n[load]\ncount = 1\n')


def _confirm(_: str, __: object) -> str:
    return "ok"


@contextmanager
def ours(path: Path, *, lying: bool = False) -> Generator[str]:
    """A subscriber of one's own that runs already and notes what it processed; its `host:port`."""
    subscriber = Subscriber("127.0.0.1", 0)

    def work(request: Request) -> str:
        params = request.params
        assert isinstance(params, dict)
        if not (lying and params["number"] % 10 == 0):
            with path.open("a") as note:
                note.write(f"{params['event_id']}\n")
        return "ok"

    subscriber.default(whole=True)(work)
    with subscriber.blocking():
        yield subscriber.socket.removeprefix("jsonrpc:")


@pytest.mark.parametrize("lying", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_subscriber_that_runs_already(tmp_path: Path, lying: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """One's own subscriber is reached through a proxy that harms it, and its notes are held against its replies."""
    notes = tmp_path / "notes"
    notes.write_text("of-an-earlier-run\n")
    with ours(notes, lying=lying) as address:
        own = f'[[subscriber]]\nname = "billing"\naddress = "{address}"\nprocessed = "{notes}"\n'
        group = (
            '[group]\nsocket = "virtual:FAILOVER jsonrpc:billing:1 jsonrpc:spare:1"\ntimeout = 0.3\nquarantine = 0.1\n'
        )
        fault = '[[fault]]\nwhat = "latency"\non = "billing"\nat = 0.2\nfor = 0.2\nargs = { delay = 0.02 }\n'
        result = run(group + own + LOAD + fault)
    assert failing(result) == (["nothing_confirmed_unprocessed"] if lying else [])
    if lying:
        finding = next(verdict.findings for verdict in result.verdicts if not verdict.holds)[0]
        assert int(finding.events[0].rpartition("-")[2]) % 10 == 0
    row = next(row for row in result.per_subscriber() if row["name"] == "billing")
    assert row["processed"] == (54 if lying else 60)
    assert "of-an-earlier-run" not in {entry.event for entry in result.recorder if isinstance(entry, Processed)}


def test_without_notes_that_check_is_not_judged() -> None:
    """Of a subscriber that doesn't tell what it processed nothing is claimed, and that is said."""
    subscriber = Subscriber("127.0.0.1", 0)
    subscriber.default(_confirm)
    with subscriber.blocking():
        result = run(f'[group]\nsocket = "{subscriber.socket}"\n' + LOAD)
    verdict = next(verdict for verdict in result.verdicts if verdict.name == "nothing_confirmed_unprocessed")
    assert "doesn't tell what it processed" in verdict.skipped
    assert result.holds
    assert result.per_subscriber()[0]["processed"] is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["honest", "lies"])
def test_a_command_is_started_killed_and_started_again(tmp_path: Path, kind: str) -> None:
    """A subscriber of one's own is run as a process, dies as the timeline says, and comes back on its port."""
    program, notes = tmp_path / "billing.py", tmp_path / "notes"
    program.write_text(OWN % kind)
    own = (
        f'[[subscriber]]\nname = "billing"\ncommand = ["{{python}}", "{program}", "{{port}}", "{notes}"]\n'
        f'processed = "{notes}"\n'
    )
    group = '[group]\nsocket = "virtual:FAILOVER jsonrpc:billing:1 jsonrpc:spare:1"\ntimeout = 0.3\nquarantine = 0.1\n'
    fault = '[[fault]]\nwhat = "crash"\non = "billing"\nat = 0.3\nfor = 0.2\n'
    text = (HEAD + group + own + LOAD + fault).replace("duration = 0.6", "duration = 1.6")
    result = run_drill(parse_drill(text))
    assert failing(result) == ([] if kind == "honest" else ["nothing_confirmed_unprocessed"])
    tried = {row["name"]: row["attempts"] for row in result.per_subscriber()}
    assert tried["spare"]["confirmed"] > 0, "nobody took over"
    down = next(at for at, _, _, begins in result.recorder.bands if not begins)
    back = [
        story for story in result.recorder.stories.values() if story.raised[0].at - result.recorder.began > down + 0.3
    ]
    assert any(
        attempt.sink == "billing" and attempt.outcome.value == "confirmed"
        for story in back
        for attempt in story.attempts
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            '["{python}", "-c", "print(\'no such table\'); raise SystemExit(3)"]',
            "has ended with 3; it said last:\nno such table",
        ),
        ('["{python}", "-c", "import time; time.sleep(60)"]', "after 0.3 s"),
        ('["/no/such/program"]', "No such file"),
    ],
)
def test_a_command_that_does_not_start(command: str, expected: str) -> None:
    """A subscriber of one's own that can't be started is an error with what it said last, and is not left running."""
    ready = "0.3" if "sleep" in command else "10"
    with pytest.raises(OSError, match=re.escape(expected)):
        run(f'[group]\nsocket = "jsonrpc:own:1"\n[[subscriber]]\nname = "own"\ncommand = {command}\nready = {ready}\n')


def test_notes_that_are_no_notes(tmp_path: Path) -> None:
    """A line that is no event's id is an error that names the file and the line."""
    notes = tmp_path / "notes"
    subscriber = Subscriber("127.0.0.1", 0)

    def work(_: Request) -> str:
        notes.write_text("what is this\n")
        return "ok"

    subscriber.default(whole=True)(work)
    with subscriber.blocking():
        address = subscriber.socket.removeprefix("jsonrpc:")
        own = f'[[subscriber]]\nname = "own"\naddress = "{address}"\nprocessed = "{notes}"\n'
        with pytest.raises(ConfigError, match="line 1 of this drill: 'what is this'"):
            run('[group]\nsocket = "jsonrpc:own:1"\n' + own + "[load]\ncount = 1\n")


def test_faults_that_somebody_elses_subscriber_cannot_have() -> None:
    """What only a script or a process of ours can do is refused for an address, before anything runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        group = f'[group]\nsocket = "jsonrpc:127.0.0.1:{port}"\n'
        with pytest.raises(ConfigError, match=r"fault\[0\]: there is no fault 'silent' for 127\.0\.0\.1"):
            run(group + '[[fault]]\nwhat = "silent"\nat = 0.1\n')


def test_what_needs_the_whole_network_is_not_judged() -> None:
    """Nobody sees every reply on real sockets: what would need that is said not to be judged."""
    result = run(PAIR + LOAD)
    assert [one.name for one in result.verdicts if one.skipped] == ["answers_heard", "no_harm_to_others"]


def test_nothing_is_left_behind() -> None:
    """After a drill no thread runs and nobody listens on its ports."""
    before = threading.active_count()
    result = run(PAIR + LOAD)
    assert threading.active_count() == before
    peers = {entry.peer for entry in result.recorder if isinstance(entry, ConnectionChange)}
    assert len(peers) == 2
    for peer in peers:
        host, _, port = peer.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_shipped_drills_hold_on_sockets(name: str) -> None:
    """Every drill that ships holds in real time too."""
    timed = {"moved_on_within", "deadlines_kept"}  # a machine that stalls is late
    assert set(failing(run_drill(shipped_drill(name).on("sockets")))) <= timed
