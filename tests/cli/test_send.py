"""`failover send`: an event as it was written, its receipt, and an exit status that scripts can rely on."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from failover.cli.app import app
from failover.cli.params import parse_params
from failover.cli.terminal import EXIT_STATUS, exit_status
from failover.errors import EventError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]


def run(*words: str) -> Result:
    """Run `failover send` inside this process."""
    return CliRunner().invoke(app, ["send", *words])


def test_a_confirmed_event(command: Run, subscriber: Any) -> None:
    """The subscriber gets name and params as they were written, the receipt is printed, and the status is 0."""
    done = command("send", subscriber.socket, "E_CDR", "callid=a84", "duration:=35", "tags:=[true, null]", "to=sip:x=y")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"event E_CDR: {subscriber.socket} confirmed after \d+\.\d ms\n", done.stdout)
    assert subscriber.received == [("E_CDR", {"callid": "a84", "duration": 35, "tags": [True, None], "to": "sip:x=y"})]


def test_values_alone(command: Run, subscriber: Any) -> None:
    """Without names the params are a list; a URI with parameters is one value, and '--' lets one begin with '-'."""
    words = ["sip:alice@10.0.0.1;transport=tcp", ":=3", "=a=b", "--", "-7"]
    assert command("send", f"{subscriber.socket}/a method", "E_X", *words).returncode == 0
    assert subscriber.received == [("a method", ["sip:alice@10.0.0.1;transport=tcp", 3, "a=b", "-7"])]


def test_a_name_alone(subscriber: Any) -> None:
    """No words are no params; --event-param adds the event's name, also to none."""
    assert run(subscriber.socket, "E_X").exit_code == 0
    assert run("--event-param", "event", subscriber.socket, "E_X").exit_code == 0
    assert subscriber.received == [("E_X", None), ("E_X", {"event": "E_X"})]


def test_an_id(subscriber: Any) -> None:
    """--id-param ends the params with an id of the event's own; --json says which."""
    done = run("--id-param", "event_id", "--event-param", "event", subscriber.socket, "E_X", "a=1")
    assert done.exit_code == 0
    ((_, params),) = subscriber.received
    assert list(params) == ["event", "a", "event_id"]
    assert re.fullmatch("[0-9a-f]{32}", params["event_id"])


def test_what_was_never_sent_has_no_request_id(refused: str) -> None:
    """The id that stands in the receipt is one that was on the wire."""
    assert "request_id" not in json.loads(run("--json", refused, "E_X").stdout)


def test_a_notification(subscriber: Any) -> None:
    """--notify waits for no confirmation: sent is all there is to say, with status 0, and it arrives."""
    done = run("--notify", subscriber.socket, "E_X", "a=1")
    assert done.exit_code == 0
    assert f"{subscriber.socket} sent after" in done.stdout
    assert run(subscriber.socket, "E_LAST").exit_code == 0
    assert subscriber.received[:1] == [("E_X", {"a": "1"})]


def test_a_whole_tree(subscriber: Any, refused: str) -> None:
    """The extended text is delivered to as it says, options, nesting, quotes and all."""
    tree = f'virtual:FAILOVER name=cdr (RETRY attempts=2 wait=1ms {refused}) "{subscriber.socket}/my method" name=spare'
    done = run("--json", tree, "E_X")
    assert done.exit_code == 0
    receipt = json.loads(done.stdout)
    assert receipt["sink"] == "cdr"
    assert [(child["sink"], len(child.get("children", []))) for child in receipt["children"]] == [
        ("RETRY", 2),
        ("spare", 0),
    ]
    assert subscriber.received == [("my method", None)]


def test_the_receipt_as_json(subscriber: Any, refused: str) -> None:
    """--json prints the receipt's tree and nothing else."""
    done = run("--json", f"virtual:FAILOVER {refused} {subscriber.socket}", "E_X")
    assert done.exit_code == 0
    receipt = json.loads(done.stdout)
    assert receipt["outcome"] == "confirmed"
    assert [(child["sink"], child["outcome"]) for child in receipt["children"]] == [
        (refused, "unreachable"),
        (subscriber.socket, "confirmed"),
    ]
    assert receipt["children"][1]["result"] == "ok"


def test_exit_status_by_outcome(subscriber: Any, silent: str, refused: str) -> None:
    """Each outcome that a single send can bring about has its own exit status."""

    def status(*words: str) -> int:
        return run(*words, "E_X").exit_code

    assert status(subscriber.socket) == 0
    assert status("--notify", subscriber.socket) == 0
    assert status(f"{subscriber.socket}/-32000") == 3
    assert status(refused) == 4
    assert status("--timeout", "0.05", silent) == 5
    assert status("--within", "0.05", silent) == 6
    assert status(f"virtual:PARALLEL {refused} {subscriber.socket}") == 5


def test_every_outcome_has_a_status() -> None:
    """No outcome is forgotten, failures differ from each other, and a confirming error is a success."""
    assert set(EXIT_STATUS) == set(Outcome)
    failures = [status for outcome, status in EXIT_STATUS.items() if outcome not in {Outcome.CONFIRMED, Outcome.SENT}]
    assert len(set(failures)) == len(failures)
    assert not {0, 1, 2} & set(failures)
    event = Event("E_X")
    assert exit_status(Receipt(event, "s", Outcome.SKIPPED, 0, 0)) == 7
    assert exit_status(Receipt(event, "s", Outcome.REJECTED, 0, 0, verdict=Verdict.CONFIRM)) == 0


def test_what_a_peer_says_does_not_steer_the_terminal(subscriber: Any) -> None:
    """Control characters in an error reply are shown, not obeyed, as text and as JSON."""
    told = run(f"{subscriber.socket}/-32000", "E_X")
    assert "[31masked" in told.stdout
    as_json = run("--json", f"{subscriber.socket}/-32000", "E_X")
    assert "\x1b" not in told.stdout + as_json.stdout
    assert json.loads(as_json.stdout)["error"]["message"] == "as \x1b[31masked"


def test_ctrl_c(begin: Begin) -> None:
    """Interrupted while it waits, it ends with a word and the status that shells expect."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        waiting = begin("send", "--timeout", "60", f"jsonrpc:127.0.0.1:{listening.getsockname()[1]}", "E_X")
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(1) == b"{"
            waiting.send_signal(signal.SIGINT)
            told, said = waiting.communicate(timeout=30)
    assert (waiting.returncode, told, said) == (130, "", "failover: interrupted\n")


@pytest.mark.parametrize("answer", [b'"result":"caf\xe9"', b'"error":{"code":-3,"message":"caf\xe9"}'])
def test_replies_that_are_not_utf_8(answer: bytes) -> None:
    """A reply in another encoding is an answer all the same, and its receipt can be printed as JSON."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked = re.search(rb'"id":(\d+)', connection.recv(4096))
                assert asked is not None
                connection.sendall(b'{"id":%b,%b}' % (asked[1], answer))
                connection.recv(1)

        peer = threading.Thread(target=serve)
        peer.start()
        done = run("--json", f"jsonrpc:127.0.0.1:{listening.getsockname()[1]}", "E_X")
        peer.join()
    assert done.exit_code in {0, 3}
    assert "caf\ufffd" in done.stdout
    json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["jsonrpc:127.0.0.1:0", "E_X"], "port 0"),
        (["jsonrpc:127.0.0.1:1", ""], "name must be a non-empty string"),
        (["jsonrpc:127.0.0.1:1", "E_X", "a=1", "2"], "'a=1' has a name and '2' has none"),
        (["jsonrpc:127.0.0.1:1", "E_X", "a:=NaN"], "must be JSON"),
        (["--timeout", "-1", "jsonrpc:127.0.0.1:1", "E_X"], "timeout must be a number of seconds"),
        (["--within", "0", "jsonrpc:127.0.0.1:1", "E_X"], "within must be a number of seconds"),
        (["--event-param", "", "jsonrpc:127.0.0.1:1", "E_X"], "event_param"),
        (["--id-param", "", "jsonrpc:127.0.0.1:1", "E_X"], "id_param"),
        (["--timeout", "soon", "jsonrpc:127.0.0.1:1", "E_X"], "--timeout"),
        (["jsonrpc:127.0.0.1:1"], "EVENT"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str) -> None:
    """What the user got wrong is said in words, never as a traceback; exit status 2."""
    done = run(*words)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert said in done.output


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], None),
        (["a=1", "b:=1"], [("a", "1"), ("b", 1)]),
        (["k=1", "k=2"], [("k", "1"), ("k", "2")]),
        (["a=", 'b:=""'], [("a", ""), ("b", "")]),
        (["x.y-z_1=:=3"], [("x.y-z_1", ":=3")]),
        (["a:=1180591620717411303424"], [("a", 2**70)]),
        (["one", "", "=", "a b=c", ':={"a": 1.5}'], ["one", "", "", "a b=c", {"a": 1.5}]),
        (["a=caf\udce9"], [("a", b"caf\xe9")]),
    ],
)
def test_params(words: list[str], params: Any) -> None:
    """Text stays text, JSON is typed, names may come twice, and bytes that aren't UTF-8 pass raw."""
    assert parse_params(words) == params


def test_params_of_both_kinds() -> None:
    """Params with names and without are not mixed; it says how to write a value that looks like a name."""
    with pytest.raises(EventError, match=r"'b=1' has a name and 'a' has none.*'=b=1'"):
        parse_params(["a", "b=1"])
