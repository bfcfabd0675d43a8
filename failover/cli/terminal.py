"""What all commands share: where they print, how they fail, and what their exit status says."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import msgspec
import typer
from rich.console import Console

from failover.errors import FailoverError
from failover.outcome import Outcome
from failover.receipt import Receipt

__all__ = [
    "EXIT_STATUS",
    "FAILED",
    "INTERRUPTED",
    "WRONG",
    "discard_output",
    "exit_status",
    "fail",
    "friendly",
    "printable",
    "show_json",
    "stderr",
    "stdout",
]

FAILED: Final = 1
"""It was asked for rightly and did not come out: events were lost, a port is taken."""

WRONG: Final = 2
"""It was asked for wrongly; the same as a shell's tools say of unknown options."""

INTERRUPTED: Final = 130
"""Ctrl-C; what shells give as 128 and the signal's number."""

EXIT_STATUS: Final = {
    Outcome.CONFIRMED: 0,
    Outcome.SENT: 0,
    Outcome.REJECTED: 3,
    Outcome.UNREACHABLE: 4,
    Outcome.UNCONFIRMED: 5,
    Outcome.ABANDONED: 6,
    Outcome.SKIPPED: 7,
}
"""What `failover send` exits with, by the receipt's outcome."""


def exit_status(receipt: Receipt) -> int:
    """The exit status for a receipt: 0 if it's confirmed (by an error whose verdict says so, too) or sent."""
    return 0 if receipt.confirmed else EXIT_STATUS[receipt.outcome]


def stdout() -> Console:
    """Where results go; without markup and emoji codes (`jsonrpc:a:1` has one), since much of the text is others'."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def stderr() -> Console:
    """Where progress goes, so that results can be piped."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)


def printable(text: str) -> str:
    """The text without control characters: what a peer sent must not steer the terminal. JSON stays the same JSON."""
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def show_json(data: Any) -> None:
    """Print data as JSON, and nothing else."""
    stdout().print(printable(msgspec.json.format(msgspec.json.encode(data)).decode()))


def discard_output() -> None:
    """Print nothing more: what is left can't be written either, and must not fail once more when the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(text: str, status: int) -> NoReturn:
    """Say what is wrong and exit.

    Raises:
        typer.Exit: always.
    """
    typer.echo(f"failover: {printable(text)}", err=True)
    raise typer.Exit(status)


@contextmanager
def friendly() -> Generator[None]:
    """Turn what users and systems get wrong into a text and an exit status; errors in this program still show.

    Raises:
        typer.Exit: in place of such an error.
    """
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except FailoverError as error:
        fail(str(error), WRONG)
    except OSError as error:
        fail(error.strerror or str(error), FAILED)
