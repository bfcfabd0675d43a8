"""A subscriber of the user's own that a drill starts, kills and starts again, as a process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any, Final

from failover.drill.plan import Own
from failover.errors import ConfigError

__all__ = ["OwnProcess"]

_PATIENCE: Final = 3.0  # seconds in which it must end when asked
_ASK: Final = 0.02  # seconds between two looks whether it listens
_TAIL: Final = 2000  # characters of what it said last


class OwnProcess:
    """Runs a command that listens on a port; a `Faulty` whose faults are crash and restart.

    Args:
        own: What the drill says of it.
    """

    names = frozenset({"crash", "restart"})

    def __init__(self, own: Own) -> None:
        self._own = own
        self.port = own.port
        self._process: asyncio.subprocess.Process | None = None
        self._said: IO[bytes] | None = None

    def check(self, what: str, args: Mapping[str, Any]) -> None:
        """Refuse arguments: there are none."""
        if args:
            raise ConfigError(f"{what} of a command takes no arguments, not {dict(args)}")

    async def begin(self, what: str, args: Mapping[str, Any]) -> None:
        """Kill it; to restart it, start it again as well."""
        await self._kill()
        if what == "restart":
            await self.start()

    async def end(self, what: str) -> None:
        """Start it again."""
        if what == "crash":
            await self.start()

    async def start(self) -> None:
        """Run the command and wait until it listens.

        Raises:
            OSError: it can't be run, has ended, or doesn't listen in time; the error holds what it said last.
        """
        own = self._own
        if not self.port:
            with socket.create_server((own.host, 0), family=_family(own.host)) as found:
                self.port = found.getsockname()[1]
        places = {"{host}": own.host, "{port}": str(self.port), "{python}": sys.executable}
        words: list[str] = []
        for given in own.command or ():
            word = given
            for name, value in places.items():
                word = word.replace(name, value)
            words.append(word)
        if self._said is None:
            self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the drill ends
        self._process = process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=self._said, stderr=self._said
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + own.ready
        while not await self._listens():
            if process.returncode is not None:
                raise OSError(f"subscriber {own.name!r}: {words[0]} has ended with {process.returncode}{self._last()}")
            if loop.time() > until:
                raise OSError(
                    f"subscriber {own.name!r}: nothing listens on {own.host}:{self.port} after {own.ready:g} s"
                    f"{self._last()}"
                )
            await asyncio.sleep(_ASK)

    async def aclose(self) -> None:
        """End it: asked first, then killed. Idempotent."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await process.wait()
        await self._kill()
        if self._said is not None:
            self._said.close()
            self._said = None

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self._own.host, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    def _last(self) -> str:
        if self._said is None:
            return ""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _TAIL))
        said = self._said.read().decode("utf-8", "replace").strip()
        return f"; it said last:\n{said}" if said else ""


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
