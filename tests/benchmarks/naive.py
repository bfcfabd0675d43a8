"""The other end of the scale: what a competent Python developer writes in an afternoon.

Streams, the standard library's json, a dict of futures, ``wait_for`` around each request.
Nothing here is made slow on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.pacing import paced
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.recorder import Recorder

__all__ = ["Client", "main"]


class Client:
    """JSON-RPC over one TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pending: dict[int, asyncio.Future[Any]] = {}
        self.ids = itertools.count(1)
        self.task = asyncio.create_task(self.read())

    async def call(self, method: str, params: dict[str, str | int]) -> Any:
        """Send a request and wait up to a second for its reply."""
        request_id = next(self.ids)
        future = asyncio.get_running_loop().create_future()
        self.pending[request_id] = future
        try:
            request = {"id": request_id, "jsonrpc": "2.0", "method": method, "params": params}
            self.writer.write(json.dumps(request, separators=(",", ":")).encode())
            await self.writer.drain()
            return await asyncio.wait_for(future, 1.0)
        finally:
            self.pending.pop(request_id, None)

    async def read(self) -> None:
        """Hand each reply to whoever waits for it."""
        decoder = json.JSONDecoder()
        text = ""
        while data := await self.reader.read(65536):
            text += data.decode()
            position = 0
            while position < len(text):
                try:
                    reply, position = decoder.raw_decode(text, position)
                except json.JSONDecodeError:
                    break  # the rest has not arrived yet
                future = self.pending.get(reply["id"])
                if future is None or future.done():
                    continue
                if "error" in reply:
                    future.set_exception(RuntimeError(reply["error"]))
                else:
                    future.set_result(reply["result"])
            text = text[position:]

    async def aclose(self) -> None:
        """Close the connection."""
        self.writer.close()
        await self.writer.wait_closed()
        await self.task


async def _call(client: Client, recorder: Recorder, params: dict[str, str | int], since: int) -> None:
    recorder.sent += 1
    try:
        await client.call(METHOD, params)
    except TimeoutError:
        recorder.lost += 1
        return
    except RuntimeError:
        recorder.errors += 1
    recorder.answered += 1
    recorder.record(time.perf_counter_ns() - since)


async def _worker(client: Client, recorder: Recorder, params: dict[str, str | int], turns: Iterator[None]) -> None:
    for _ in turns:
        if not recorder.going:
            break
        await _call(client, recorder, params, time.perf_counter_ns())


async def _run(options: argparse.Namespace) -> Recorder:
    params = request_params(options.size)
    recorder = Recorder(
        options.name, window=0 if options.rate else options.window, rate=options.rate, size=options.size
    )
    client = Client(*await asyncio.open_connection("127.0.0.1", options.port))
    warmup = 0.0 if options.events else options.warmup
    loop = asyncio.get_running_loop()
    recorder.begin()
    timers = [loop.call_later(warmup, recorder.begin)] if warmup else []
    timers.append(loop.call_later(warmup + options.seconds, recorder.end))
    async with asyncio.TaskGroup() as tasks:
        if options.rate:

            def start(due: int) -> None:
                tasks.create_task(_call(client, recorder, params, due))

            await paced(options.rate, start, lambda: recorder.going)
        else:
            turns = itertools.repeat(None, options.events) if options.events else itertools.repeat(None)
            for _ in range(options.window):
                tasks.create_task(_worker(client, recorder, params, turns))
    recorder.end()
    for timer in timers:
        timer.cancel()
    await client.aclose()
    return recorder


def main() -> None:
    """Run against a subscriber and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="naive")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--window", type=int, default=64, help="requests in flight")
    parser.add_argument("--rate", type=float, default=0.0, help="instead of a window: requests per second")
    parser.add_argument("--events", type=int, default=0, help="stop after so many replies; no warm-up then")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warmup", type=float, default=0.1, help="seconds left out of the figures")
    parser.add_argument("--size", type=int, default=64, help="bytes of params")
    options = parser.parse_args()
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(runner.run(_run(options)).report())


if __name__ == "__main__":
    main()
