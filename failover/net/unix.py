"""The transport of a Unix datagram socket: asyncio's own takes no path on every loop, and can't drop what it holds."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

__all__ = ["UnixDatagramTransport"]


class UnixDatagramTransport(asyncio.DatagramTransport):
    """Sends datagrams to one Unix socket; holds at most one that the kernel has no room for.

    Args:
        loop: The loop.
        protocol: Whom to tell, as asyncio does: `connection_made` at once, `pause_writing` while it holds one.
        path: The socket's.

    Raises:
        OSError: nobody receives there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.DatagramProtocol, path: str) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._held = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)  # noqa: FBT003  # how the standard library signs it
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise
        protocol.connection_made(self)

    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:
        """As asyncio's; not while it holds one."""
        try:
            self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            self._held = bytes(data)
            self._loop.add_writer(self._socket, self._again)
            self._protocol.pause_writing()
        except OSError as error:
            self._protocol.error_received(error)

    def abort(self) -> None:
        """Close, without what it holds; once."""
        self._let_go()
        self._socket.close()
        self._loop.call_soon(self._protocol.connection_lost, None)

    def _again(self) -> None:
        try:
            self._socket.send(self._held)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._let_go()
            self._protocol.error_received(error)
        else:
            self._let_go()
            self._protocol.resume_writing()

    def _let_go(self) -> None:
        if self._held:
            self._held = b""
            self._loop.remove_writer(self._socket)
