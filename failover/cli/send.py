"""`failover send`: one event to one address, and what became of it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from failover.cli.params import parse_params
from failover.cli.terminal import exit_status, friendly, printable, show_json, stdout
from failover.event import Event
from failover.group import Group
from failover.receipt import Receipt
from failover.schemes import Defaults

__all__ = ["send"]


def send(
    socket: Annotated[str, typer.Argument(metavar="SOCKET", help="An address; quote it if it has spaces.")],
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The event's name.")],
    params: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARAM", help="Its params: name=text, name:=JSON, or values alone.", show_default=False),
    ] = None,
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long each socket has to confirm.")] = 1.0,
    within: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long all of it may take, however many sockets.")
    ] = None,
    event_param: Annotated[
        str | None, typer.Option(metavar="NAME", help="Lead the params with the event's name, under this one.")
    ] = None,
    id_param: Annotated[
        str | None, typer.Option(metavar="NAME", help="End the params with the event's id, under this name.")
    ] = None,
    notify: Annotated[bool, typer.Option("--notify", help="Send a notification: nobody confirms it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Send one event and print its receipt: who was tried, and how it ended.

    Params with names are written name=text, or name:=JSON for anything that
    isn't text: numbers, true, false, null, lists and objects. Values alone are
    written as text or :=JSON, and as =text if there is a = in them. All params
    have names or none has. Without any words, the event has no params.

    Exit status:
      0  confirmed, or sent with --notify
      1  the receipt could not be printed
      2  the address, the params or an option is wrong
      3  rejected: a subscriber answered with an error
      4  unreachable: nobody got it
      5  unconfirmed: it may have been processed, nobody said so
      6  abandoned: the time given by --within was up
      7  skipped: not tried

    Examples:
      failover send jsonrpc:127.0.0.1:8080 E_ACC_CDR callid=a84b4c duration:=35
      failover send "virtual:FAILOVER jsonrpc:[::1]:81 jsonrpc:[::1]:82" E_PING
      failover send tcp:127.0.0.1:8080/block_ip E_PIKE_BLOCKED 192.168.2.11 :=3
      failover send --json --within 0.5 jsonrpc:127.0.0.1:8080 E_UL aor=alice
      failover send jsonrpc:127.0.0.1:8080 E_TEMP -- -7
    """
    with friendly():
        raised = Event(event, parse_params(params or []))
        defaults = Defaults(timeout=timeout, confirm=not notify, event_param=event_param, id_param=id_param)
        receipt = asyncio.run(_deliver(socket, raised, defaults, within))
    if as_json:
        show_json(receipt.to_dict())
    else:
        stdout().print(printable(receipt.explain()))
    raise typer.Exit(exit_status(receipt))


async def _deliver(socket: str, event: Event, defaults: Defaults, within: float | None) -> Receipt:
    async with Group("send", socket, defaults=defaults) as group:
        return await group.deliver(event, within=within)
