"""How a loop of ours ends: nothing of it is left, and nobody waits for a name server."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["end", "settle"]

_TURNS: Final = 3  # an asyncio transport that is closed tells its protocol a turn later, a TLS one a turn after that


async def settle() -> None:
    """Let connections that were closed come to their end."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on a loop that has stopped, let it end, and close the loop.

    Threads that resolve names are not waited for, unlike by `asyncio.Runner`: they can take as long as a dead name
    server makes them.
    """
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(settle())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
