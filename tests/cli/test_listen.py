"""`failover listen`: what comes is printed and answered as it was told, on this machine only unless told otherwise."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from failover.cli.app import app
from failover.cli.listen import _Silence  # pyright: ignore[reportPrivateUsage]
from failover.subscriber import RpcError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]


def where(listening: subprocess.Popen[str]) -> str:
    """The address on which it listens, once it does."""
    assert listening.stderr is not None
    found = re.match(r"listening on (jsonrpc:\S+); Ctrl-C", listening.stderr.readline())
    assert found is not None
    return found[1]


def printed(listening: subprocess.Popen[str]) -> str:
    """The next event that it prints, without its time."""
    assert listening.stdout is not None
    found = re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (.*)\n", listening.stdout.readline())
    assert found is not None
    return found[1]


def ended(listening: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """What it says when it's told to end, which it does in good order."""
    listening.send_signal(number)
    _, said = listening.communicate(timeout=30)
    assert listening.returncode == 0
    return said


def send(*words: str) -> tuple[int, str]:
    """Exit status and output of `failover send`."""
    done = CliRunner().invoke(app, ["send", *words])
    return done.exit_code, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_events_are_printed_and_confirmed(begin: Begin, number: int) -> None:
    """Each event is a line of its own with its sender, method and params; a signal ends it, and it says what it did."""
    listening = begin("listen", "127.0.0.1:0")
    socket_ = where(listening)
    assert send(socket_, "E_A", "a=1", "b:=[2]")[0] == 0
    assert re.fullmatch(r'127\.0\.0\.1:\d+ E_A \{"a":"1","b":\[2\]\}', printed(listening))
    assert send(f"{socket_}/two\u0085lines", "E_A")[0] == 0
    assert printed(listening).endswith(" two\\u0085lines")
    assert send("--notify", socket_, "E_A", "1")[0] == 0
    assert printed(listening).endswith(' E_A ["1"] (notification)')
    said = ended(listening, number)
    assert said == "2 events and 1 notifications over 3 connections; 2 confirmed, 0 refused, 0 malformed\n"


def test_a_reply_of_ones_own(begin: Begin) -> None:
    """--reply is the result that confirms."""
    listening = begin("listen", "127.0.0.1:0", "--reply", '{"stored": 12345678901234567890123}')
    status, told = send("--json", where(listening), "E_A")
    assert status == 0
    assert '"stored": 12345678901234567890123' in told


def test_an_error(begin: Begin) -> None:
    """--error refuses every event with that code, which is counted."""
    listening = begin("listen", "127.0.0.1:0", "--error", "-32000")
    status, told = send(where(listening), "E_A")
    assert status == 3
    assert "-32000 refused" in told
    assert "0 confirmed, 1 refused" in ended(listening)


def test_silence(begin: Begin) -> None:
    """--silent prints and never answers, also not when it ends while somebody waits."""
    listening = begin("listen", "127.0.0.1:0", "--silent")
    socket_ = where(listening)
    assert send("--timeout", "0.05", socket_, "E_A")[0] == 5
    assert printed(listening).endswith(" E_A")
    waiting = begin("send", socket_, "E_B", "--timeout", "30")
    assert printed(listening).endswith(" E_B")
    assert "0 confirmed, 0 refused" in ended(listening)
    told, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 5
    assert "unconfirmed" in told


def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many events are kept waiting: beyond that the oldest is let go, so memory doesn't grow for ever."""
    monkeypatch.setattr("failover.cli.listen._UNANSWERED", 1)

    async def scenario() -> None:
        silence = _Silence()
        first = asyncio.ensure_future(silence())
        second = asyncio.ensure_future(silence())
        with pytest.raises(RpcError):
            await first
        assert not second.done()
        second.cancel()
        with pytest.raises(RpcError):
            await second

    asyncio.run(scenario())


def test_nobody_reads_any_more(begin: Begin) -> None:
    """What can't be printed isn't confirmed; listening ends without a traceback, as after `| head -1`."""
    listening = begin("listen", "127.0.0.1:0")
    socket_ = where(listening)
    assert listening.stdout is not None
    listening.stdout.close()
    assert send(socket_, "E_A")[0] == 3
    assert listening.wait(30) == 0
    assert listening.stderr is not None
    assert listening.stderr.read().startswith("1 events and 0 notifications over 1 connections; 0 confirmed, 1 refused")


def test_a_full_disk(begin: Begin) -> None:
    """What can't be printed isn't confirmed; listening ends with one line that says why, and status 1."""
    with Path("/dev/full").open("w") as full:
        listening = begin("listen", "127.0.0.1:0", stdout=full)
    assert send(where(listening), "E_A")[0] == 3
    assert listening.wait(30) == 1
    assert listening.stderr is not None
    assert listening.stderr.read() == "failover: No space left on device\n"


def test_ids(begin: Begin) -> None:
    """With --id-param an event's id is printed apart from its params, and what comes again isn't printed again."""
    listening = begin("listen", "--id-param", "event_id", "127.0.0.1:0")
    socket_ = where(listening)
    for number in (1, 1, 2):
        assert send(socket_, "E_A", "a=1", f"event_id=e-{number}")[0] == 0
    assert [printed(listening).partition(" E_A ")[2] for _ in range(2)] == [
        '{"a":"1"} (id "e-1")',
        '{"a":"1"} (id "e-2")',
    ]
    assert "3 confirmed, 0 refused, 0 malformed, 1 repeated\n" in ended(listening)


def test_ipv6_and_names(begin: Begin) -> None:
    """This machine's other names are as good: an IPv6 address in brackets, and localhost."""
    listening = begin("listen", "localhost:0")
    assert send(where(listening), "E_A")[0] == 0
    if socket.has_ipv6:
        listening = begin("listen", "[::1]:0")
        assert send(where(listening), "E_A")[0] == 0


def test_other_machines_only_if_exposed(begin: Begin) -> None:
    """An address that others can reach needs --expose; it says so."""
    for place in ("0.0.0.0:0", "[::]:0", "example.org:80"):
        done = CliRunner().invoke(app, ["listen", place])
        assert done.exit_code == 2
        assert "give --expose" in done.output
    listening = begin("listen", "--expose", "0.0.0.0:0")
    assert where(listening).startswith("jsonrpc:0.0.0.0:")
    ended(listening)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["127.0.0.1"], "no port"),
        (["127.0.0.1:x"], "'x' in a port"),
        (["127.0.0.1:80/method"], "\n  127.0.0.1:80/method\n              ^\n"),
        (["127.0.0.1:0", "--reply", "{"], "not JSON"),
        (["127.0.0.1:0", "--reply", "1", "--silent"], "exclude each other"),
        (["127.0.0.1:0", "--error", "x"], "--error"),
        (["127.0.0.1:0", "--id-param", ""], "id_param"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str) -> None:
    """What the user got wrong is said in words; exit status 2."""
    done = CliRunner().invoke(app, ["listen", *words])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert said in done.output


def test_a_port_that_is_taken(command: Run, silent: str) -> None:
    """That is nobody's mistake in writing: exit status 1, and one line that names the address."""
    done = command("listen", silent.removeprefix("jsonrpc:"))
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert done.stderr.count("\n") == 1
