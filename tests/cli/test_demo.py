"""`failover demo`: what it promises, and that it notices when the promise is broken."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from typer.testing import CliRunner

from failover.cli.app import app
from failover.cli.processes import Process
from failover.cli.tally import Tally
from failover.cli.trial import Plan, run
from failover.errors import UsageError
from failover.event import Event
from failover.group import Group
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]


def test_nothing_is_lost_and_the_numbers_add_up(command: Run) -> None:
    """Killing the first subscriber under load loses nothing, some events move on, and it gets events again later."""
    done = command("demo", "--seconds", "0.9", "--rate", "300", "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["raised"] == numbers["confirmed"] == 270
    assert numbers["lost"] == numbers["confirmed_but_not_processed"] == 0
    assert list(numbers["confirmed_by"]) == ["subscriber 1", "subscriber 2", "subscriber 3"]
    assert sum(numbers["confirmed_by"].values()) == 270
    assert numbers["confirmed_by"]["subscriber 2"] >= numbers["moved_on"] > 0
    assert numbers["processed_twice"] <= numbers["possible_duplicates"]
    assert 0 < numbers["time_to_move_on_ms"]["median"] <= numbers["time_to_move_on_ms"]["longest"]
    tried = [child["sink"] for child in numbers["example"]["children"]]
    assert tried[:2] == ["subscriber 1", "subscriber 2"]
    assert numbers["example"]["outcome"] == "confirmed"
    assert "subscriber 1 killed\nsubscriber 1 is back\n" in done.stderr


@pytest.mark.slow
def test_it_is_told_as_a_table_and_a_receipt(command: Run) -> None:
    """Without --json the same numbers stand in a table, and a receipt explains one event that moved on."""
    done = command("demo", "--seconds", "0.6", "--rate", "100")
    assert done.returncode == 0, done.stderr
    rows = Counter({what.strip(): int(number) for what, number in re.findall(r"│ (.*?) +│ +(\d+) │", done.stdout)})
    assert rows["raised"] == rows["confirmed"] == 60
    assert rows["lost"] == 0
    assert sum(number for what, number in rows.items() if what.startswith("by subscriber")) == 60
    assert "event E_DEMO: Failover confirmed after" in done.stdout
    assert "Nothing was lost: all 60 events were confirmed" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.slow
def test_loss_is_noticed(command: Run) -> None:
    """With nobody to fail over to, killing the only subscriber loses events: said, and told by the exit status."""
    done = command("demo", "--seconds", "0.6", "--rate", "100", "--subscribers", "1")
    assert done.returncode == 1
    lost = re.search(r"\n(\d+) events were lost", done.stdout)
    assert lost is not None
    assert int(lost[1]) > 0


@pytest.mark.slow
def test_on_a_terminal_there_is_a_live_line(begin: Begin) -> None:
    """On a terminal one line shows the counts while it runs; without one there is none."""
    controller, terminal = pty.openpty()
    running = begin("demo", "--seconds", "0.6", "--rate", "50", stderr=terminal, TERM="xterm")
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # what reading from a terminal ends with, once nobody has it open
        while more := os.read(controller, 65536):
            shown += more
    os.close(controller)
    told, _ = running.communicate(timeout=30)
    assert running.returncode == 0
    assert re.search(rb"of 0\.6 s .* \d+ raised, \d+ confirmed, 0 lost, \d+ in flight", shown)
    assert b"subscriber 1 killed" in shown
    assert "raised, " not in told


@pytest.mark.slow
def test_ctrl_c_ends_it_and_its_subscribers(begin: Begin) -> None:
    """Interrupted, it stops at once without a traceback, and leaves no subscriber behind."""
    running = begin("demo", "--seconds", "600")
    assert running.stderr is not None
    found = re.search(r"jsonrpc:127\.0\.0\.1:(\d+)", running.stderr.readline())
    assert found is not None
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.endswith("failover: interrupted\n")
    assert "Traceback" not in said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(found[1])))


@pytest.mark.parametrize("words", [["--timeout", "-1"], ["--seconds", "0"], ["--rate", "0"], ["--subscribers", "0"]])
def test_mistakes_are_told(words: list[str]) -> None:
    """A number that makes no sense is refused before anything is started; exit status 2."""
    done = CliRunner().invoke(app, ["demo", *words])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert words[0].removeprefix("--") in done.output


def test_a_subscriber_is_really_killed_and_brought_back() -> None:
    """Killed, its port is refused and its account stays; brought back, it's there again on the same port."""

    async def scenario() -> None:
        process = Process("one", work=0)
        try:
            await process.start()
            place = process.socket
            with pytest.raises(UsageError, match="runs already"):
                await process.start()
            assert (await send(place, 1)).confirmed
            await process.kill()
            assert (await send(place, 2)).outcome is Outcome.UNREACHABLE
            await process.start()
            assert process.socket == place
            assert (await send(place, 3)).confirmed
        finally:
            await process.stop()
        assert process.processed == {1: 1, 3: 1}
        await process.stop()

    async def send(place: str, number: int) -> Receipt:
        async with Group("test", place) as group:
            return await group.deliver(Event("E_DEMO", {"number": number}))

    asyncio.run(scenario())


def test_a_subscriber_that_cannot_come_back() -> None:
    """Whoever took its port meanwhile is named as what it is: an error, not a loss that nobody explains."""

    async def scenario() -> None:
        process = Process("one", work=0)
        await process.start()
        await process.kill()
        place = ("127.0.0.1", int(process.socket.rpartition(":")[2]))
        with socket.create_server(place), pytest.raises(OSError, match="one could not be started on port"):
            await process.start()

    asyncio.run(scenario())


def test_a_place_taken_while_it_was_down() -> None:
    """If the killed subscriber can't come back, the run says so instead of going on without it."""

    class Taking:
        """Listens where the killed subscriber did."""

        def __init__(self, stack: ExitStack) -> None:
            self.stack = stack
            self.place = 0

        def say(self, text: str) -> None:
            if text.startswith("subscriber 1 listens"):
                self.place = int(text.rpartition(":")[2])
            elif text == "subscriber 1 killed":
                self.stack.enter_context(socket.create_server(("127.0.0.1", self.place)))

        def show(self, tally: Tally, elapsed: float) -> None:
            assert tally.raised >= tally.confirmed + tally.lost
            assert elapsed >= 0

    plan = Plan(seconds=0.3, rate=50, subscribers=2, timeout=0.5, work=0)
    with ExitStack() as stack, pytest.raises(OSError, match="subscriber 1 could not be started on port"):
        asyncio.run(run(plan, Taking(stack)))


def test_a_confirmation_that_is_not_true_is_found() -> None:
    """Counted against the subscribers' own accounts: a confirmed event that is in none, and one processed twice."""
    tally = Tally(raised=2)
    for number in (0, 1):
        event = Event("E_DEMO", {"number": number})
        attempt = Attempt(event, "one", Outcome.CONFIRMED, 0.0, 1.0, sent=True)
        tally.count(number, Receipt(event, "Failover", Outcome.CONFIRMED, 0.0, 1.0, (attempt,)))
    tally.check({"one": Counter({0: 1}), "two": Counter({0: 1})})
    assert (tally.confirmed, tally.not_processed, tally.processed_twice) == (2, 1, 1)
    assert not tally.good
