"""Programs that the tests of the simulation share: an echo server, and a client that talks to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

KEPT: list[Any] = []
"""What stays open until a test is over: a stream that is dropped unclosed is a warning."""


async def serve(host: str = "0.0.0.0", port: int = 80) -> None:  # noqa: S104
    """Echo lines, for ever."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        except OSError:
            pass
        writer.close()

    async with await asyncio.start_server(echo, host, port) as server:
        await server.serve_forever()


async def connect(name: str = "app1", port: int = 80) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that stays until the simulation ends."""
    stream = await asyncio.open_connection(name, port)
    KEPT.append(stream)
    return stream


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes = b"hello\n") -> float:
    """One exchange.

    Returns:
        How long it took.
    """
    began = asyncio.get_running_loop().time()
    writer.write(line)
    assert await reader.readexactly(len(line)) == line
    return asyncio.get_running_loop().time() - began


async def after(seconds: float, act: Callable[[], object]) -> None:
    """Do something at a later time, while the test goes on."""
    asyncio.get_running_loop().call_later(seconds, act)


def now() -> float:
    """Virtual time."""
    return asyncio.get_running_loop().time()
