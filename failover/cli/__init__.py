"""The command line `failover`: try it out, send and receive single events, check addresses. Needs the extra `cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; without the extra `cli`, say in one line what to install.

    Raises:
        SystemExit: always, with the exit status.
    """
    try:
        from failover.cli.app import app
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name not in {"typer", "rich"}:
            raise
        sys.exit(f"failover: the command line needs {name}; install it with: pip install 'failover[cli]'")
    from failover.cli.terminal import discard_output

    try:
        app(prog_name="failover")
    except OSError as error:  # whatever else fails is told where it does
        discard_output()
        sys.exit(f"failover: the output can't be written: {error.strerror or error}")
