"""What asyncio itself costs: a protocol, and a future for each request that a task awaits; replies are only counted.

No client that is awaited can be faster on the same loop, so this is the floor under ours: it reads no reply, knows no
timeout, and trusts that replies come in order.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque
from typing import cast

from failover.net.outgoing import SOME
from tests.benchmarks.ours import event_source, loop_factory
from tests.benchmarks.recorder import Recorder

__all__ = ["main"]


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"}")):  # a segment ends amid a reply now and then: its end counts
            self._waiting.popleft().set_result(None)

    def call(self, request: bytes) -> asyncio.Future[None]:
        """Send a request, with the turn's others unless it is alone."""
        waiter: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        if not self._waiting:
            self.transport.write(request)
        else:
            if not self._out:
                self._loop.call_soon(self._flush)
            self._out.append(request)
            if len(self._out) >= SOME:  # the other side begins while the rest is being made, as with ours
                self._flush()
        self._waiting.append(waiter)
        return waiter

    def _flush(self) -> None:
        if not self._out:
            return
        self.transport.write(b"".join(self._out))
        self._out.clear()


async def _run(options: argparse.Namespace) -> Recorder:
    recorder = Recorder(options.name, window=options.window, rate=0, size=options.size)
    fresh = event_source(options.size, premade=False)
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(_Client, "127.0.0.1", options.port)
    left = options.events or -1

    async def worker() -> None:
        nonlocal left
        while recorder.going and left:
            left -= 1
            began = time.perf_counter_ns()
            recorder.sent += 1
            event = fresh()
            await client.call(
                b'{"id":%d,"jsonrpc":"2.0","method":"%b","params":%b}'
                % (recorder.sent, event.name.encode(), event.body or b"")
            )
            recorder.record(time.perf_counter_ns() - began)
            recorder.answered += 1

    recorder.begin()
    warmup = 0.0 if options.events else options.warmup
    timers = [loop.call_later(warmup, recorder.begin)] if warmup else []
    timers.append(loop.call_later(warmup + options.seconds, recorder.end))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(options.window):
            tasks.create_task(worker())
    recorder.end()
    for timer in timers:
        timer.cancel()
    transport.close()
    return recorder


def main() -> None:
    """Run against a subscriber and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="bare")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--window", type=int, default=64, help="requests in flight")
    parser.add_argument("--events", type=int, default=0, help="stop after so many replies; no warm-up then")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warmup", type=float, default=0.1, help="seconds left out of the figures")
    parser.add_argument("--size", type=int, default=64, help="bytes of params")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        print(runner.run(_run(options)).report())


if __name__ == "__main__":
    main()
