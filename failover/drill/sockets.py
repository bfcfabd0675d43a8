"""A drill on real sockets, on this machine's loopback: scripted subscribers, and those of the user's own."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import Final

from failover.address import SocketAddress
from failover.drill.account import accounts_of, settle
from failover.drill.faults import Layers, needs_proxy, script_of
from failover.drill.plan import Drill, Own
from failover.drill.process import OwnProcess
from failover.drill.recorder import Recorder
from failover.drill.stage import Telling, run_on
from failover.schemes import parse_address
from failover.sim.seeds import derive
from failover.testing.faulty import Faulty, ProxyFaults, SubscriberFaults
from failover.testing.proxy import FaultProxy
from failover.testing.subscriber import ScriptedSubscriber

__all__ = ["run_on_sockets"]

_SPARE: Final = 60.0
"""Seconds beyond its duration after which a drill is stopped, whatever still goes on."""


async def _subscribe(
    stack: AsyncExitStack, drill: Drill, own: Own, recorder: Recorder
) -> tuple[Layers, tuple[str, int]]:
    """Start what has to be started for one subscriber. Returns what can be done to it, and where it is reached."""
    rng = derive(drill.drill.seed, "drill", "subscriber", own.name)
    layers: list[Faulty] = []
    if own.address is not None:
        where = _place(own.address)
    elif own.command is not None:
        process = OwnProcess(own)
        stack.push_async_callback(process.aclose)
        await process.start()
        layers.append(process)
        where = own.host, process.port
    else:
        first, script = script_of(own, own.name)
        scripted = ScriptedSubscriber(own.host, own.port, name=own.name, script=script, rng=rng, history=recorder)
        await stack.enter_async_context(scripted.once(*first))
        layers.append(SubscriberFaults(scripted))
        where = scripted.address
    if needs_proxy(drill, own):
        host, port = where
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        proxy = await stack.enter_async_context(FaultProxy(shown, name=own.name, rng=rng, history=recorder))
        layers.append(ProxyFaults(proxy))
        where = proxy.host, proxy.port
    return Layers(own.name, layers), where


def _place(address: str) -> tuple[str, int]:
    parsed = parse_address(address if address.startswith(("jsonrpc:", "tcp:")) else f"jsonrpc:{address}")
    assert isinstance(parsed, SocketAddress)  # noqa: S101  # looked at before
    return parsed.host, parsed.port


async def _run(drill: Drill, subscribers: tuple[Own, ...], recorder: Recorder, telling: Telling) -> None:
    accounts = accounts_of(subscribers)
    async with AsyncExitStack() as stack:
        places: dict[str, Layers] = {}
        where: dict[str, tuple[str, int]] = {}
        for own in subscribers:
            places[own.name], where[own.name] = await _subscribe(stack, drill, own, recorder)
        prefix = f"{secrets.token_hex(4)}-"  # a subscriber of the user's own may know the ids of earlier runs
        most = drill.drill.duration + _SPARE
        try:
            async with asyncio.timeout(most):
                await run_on(drill, places=places, where=where, recorder=recorder, telling=telling, prefix=prefix)
        except TimeoutError:
            raise TimeoutError(f"the drill still went on after {most:g} s: does an attempt wait for so long?") from None
    settle(accounts, recorder)


def run_on_sockets(drill: Drill, subscribers: tuple[Own, ...], recorder: Recorder, telling: Telling) -> None:
    """Run a drill on real sockets, in real time.

    Args:
        drill: What to do.
        subscribers: All of its subscribers.
        recorder: Is told everything.
        telling: Is told how it goes.

    Raises:
        OSError: a port can't be had, or a subscriber of the user's own doesn't start.
        TimeoutError: it went on for a minute longer than it should have.
        ConfigError: a line of the file that a subscriber of the user's own wrote can't be read.
    """
    asyncio.run(_run(drill, subscribers, recorder, telling))
