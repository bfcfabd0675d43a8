"""The port of a scripted subscriber and of a proxy on real sockets: how it ends."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from failover.testing import FaultProxy, ScriptedSubscriber


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("make", [ScriptedSubscriber, lambda: FaultProxy("127.0.0.1:9")], ids=["subscriber", "proxy"])
def test_ending_forgets_nobody_who_is_just_accepted(
    make: Callable[[], ScriptedSubscriber | FaultProxy], turns: int
) -> None:
    """However far an accept has come at the end, no socket is left and the peer sees the end."""

    async def main() -> socket.socket:
        async with make() as here:
            peer = socket.create_connection((here.host, here.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        return peer

    with asyncio.run(main()) as peer, suppress(ConnectionResetError):
        peer.settimeout(20)
        assert peer.recv(1) == b""
    gc.collect()
