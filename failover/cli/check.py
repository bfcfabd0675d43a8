"""`failover check`: is this address right, and what does it mean?"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from failover.address import Span
from failover.build import build
from failover.cli.terminal import FAILED, friendly, printable, stdout
from failover.cli.tree import draw
from failover.foresight import shown
from failover.grammar import VirtualAddress
from failover.group import Group
from failover.options import TIME
from failover.schemes import Defaults, parse_address
from failover.sink import check_seconds

__all__ = ["check"]

_UNWRAPPED: Final = 10_000  # characters; what is piped somewhere has a line for each part


def check(
    socket: Annotated[str, typer.Argument(metavar="SOCKET", help="An address; quote it if it has spaces.")],
    *,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long each socket has that says nothing else, written as --within.")
    ] = "1s",
    within: Annotated[
        str | None, typer.Option(metavar="TIME", help="Seconds, or with a unit: can a delivery always end by then?")
    ] = None,
) -> None:
    """Check an address: what it means, and what a delivery may come to at worst.

    Nothing is connected. Of an address that isn't right it's shown where it goes
    wrong, with a ^ below that place.

    Exit status:
      0  it is right
      1  a delivery may take longer than --within
      2  it is wrong

    Examples:
      failover check --within 500ms "virtual:FAILOVER tcp:[::1]:81 tcp:[::1]:82"
      failover check jsonrpc:10.0.0.5:8080/block_ip
      failover check tcp:[2001:db8::7]:8080
      failover check "virtual:PARALLEL jsonrpc:[::1]:81 jsonrpc:[::1]:82"
    """
    with friendly():
        address = parse_address(socket)
        defaults = Defaults(timeout=_seconds("--timeout", timeout))
        build(address, defaults)  # finds what can be written and still not be meant, such as the same socket twice
        seconds = None if within is None else _seconds("--within", within)
        group = Group("check", address, defaults=defaults)
        alone, case = group.worst_case(), group.worst_case(seconds)
    console = stdout()
    if not console.is_terminal:
        console.width = _UNWRAPPED
    console.print(draw(address), soft_wrap=False)
    console.print(alone.numbers())
    met = seconds is None or alone.fits(seconds)
    if seconds is not None:
        answer = "a delivery always ends by then" if met else "a delivery may take longer, and is cut short then"
        console.print(f"within {shown(seconds)}: {answer}")
    outermost = address.policy if isinstance(address, VirtualAddress) else str(address)
    for concern in case.concerns:
        path = [outermost if name == str(address) else name for name in concern.path[1:]]
        console.print(printable(f"warning: {' > '.join(path)}: {concern.text}"))
    if not met:
        raise typer.Exit(FAILED)


def _seconds(option: str, text: str) -> float:
    """A time as it is written in an address, or a number of seconds.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return check_seconds(option, float(text))
    except ValueError:
        return float(TIME.read(Span(text)))
