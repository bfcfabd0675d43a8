"""Ending a server without losing whom it is just accepting."""

from __future__ import annotations

import asyncio

__all__ = ["stop_listening"]


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server; whoever was accepted by then is connected, and the protocol has heard of it.

    From accept to connection asyncio's selector loop takes two turns. A server that is closed meanwhile makes no
    connection any more: the socket stays open until it's collected as garbage, and the peer waits for answers.

    Args:
        server: It may be closed already.

    Source: asyncio's `Server` and selector loop, as they behave in CPython 3.11.7 and 3.13.0.
    """
    loop = server.get_loop()
    try:
        if isinstance(loop, asyncio.SelectorEventLoop):
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
            for _ in range(2):
                await asyncio.sleep(0)
    finally:
        server.close()
