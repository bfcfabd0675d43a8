"""`failover check`: is this address right, and what does it mean?"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from failover.build import build
from failover.cli.terminal import friendly, stdout
from failover.cli.tree import draw
from failover.schemes import parse_address

__all__ = ["check"]

_UNWRAPPED: Final = 10_000  # characters; what is piped somewhere has a line for each part


def check(
    socket: Annotated[str, typer.Argument(metavar="SOCKET", help="An address; quote it if it has spaces.")],
) -> None:
    """Check an address and draw what it means. Nothing is connected.

    Of an address that isn't right it's shown where it goes wrong, with a ^ below
    that place, and the exit status is 2.

    Examples:
      failover check jsonrpc:10.0.0.5:8080/block_ip
      failover check tcp:[2001:db8::7]:8080
      failover check "virtual:PARALLEL jsonrpc:[::1]:81 jsonrpc:[::1]:82"
    """
    with friendly():
        address = parse_address(socket)
        build(address)  # finds what can be written and still not be meant, such as the same socket twice
    console = stdout()
    if not console.is_terminal:
        console.width = _UNWRAPPED
    console.print(draw(address), soft_wrap=False)
