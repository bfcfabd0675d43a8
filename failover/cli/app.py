"""The application: its commands, and what can be asked without one."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from failover.cli.check import check
from failover.cli.conformance import conformance
from failover.cli.demo import demo
from failover.cli.drill import drill
from failover.cli.listen import listen
from failover.cli.send import send

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:  # noqa: FBT001  # what a flag's callback is given
    if asked:
        typer.echo(f"failover {version('failover')}")
        raise typer.Exit


@app.callback()
def _failover(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Deliver events to virtual subscriber groups over confirmed JSON-RPC, and prove it.

    Examples:
      failover demo
      failover listen 127.0.0.1:8080
      failover send jsonrpc:127.0.0.1:8080 E_HELLO from=me count:=3
      failover check "virtual:FAILOVER jsonrpc:[::1]:81 jsonrpc:[::1]:82"
    """


for _command in (demo, send, listen, check, conformance, drill):
    app.command()(_command)
