"""Subscribers in processes of their own, which can really be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from contextlib import suppress

from failover.errors import UsageError

__all__ = ["Process"]


class Process:
    """One subscriber that is started, killed and started again on the same port.

    Args:
        name: How it is called.
        work: Seconds that it takes to process an event.
    """

    def __init__(self, name: str, work: float) -> None:
        self.name = name
        self.processed: Counter[int] = Counter()
        """How often it processed each event, by its own account."""
        self._work = work
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def socket(self) -> str:
        """Its address."""
        return f"jsonrpc:127.0.0.1:{self._port}"

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._process is not None

    async def start(self) -> None:
        """Start it and wait until it listens; on its former port if it had one.

        Raises:
            UsageError: it runs already.
            OSError: it could not be started, or its port is taken.
        """
        if self._process is not None:
            raise UsageError(f"{self.name} runs already")
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "failover.cli.apart", str(self._port), str(self._work)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # it imports what we import
            start_new_session=True,  # Ctrl-C is for us; it ends when we do
        )
        told = process.stdout
        assert told is not None  # noqa: S101  # it is a pipe
        port = await told.readline()
        if not port:
            await self.stop()
            raise OSError(f"{self.name} could not be started on port {self._port}")
        self._port = int(port)
        self._reading = asyncio.create_task(self._read(told))

    async def kill(self) -> None:
        """Kill it as it stands: its connections break, its port is refused."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                self._process.kill()
        await self._ended()

    async def stop(self) -> None:
        """Let it end. Idempotent."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        await self._ended()

    async def _ended(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.wait()
        if self._reading is not None:
            await self._reading  # to the end of the pipe: all that it told is there
            self._reading = None

    async def _read(self, told: asyncio.StreamReader) -> None:
        async for line in told:
            self.processed[int(line)] += 1
