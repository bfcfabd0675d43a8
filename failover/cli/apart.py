"""One subscriber of the demo, in a process of its own: `python -m failover.cli.apart PORT WORK`.

It prints its port, then the number of each event that it has processed, before it confirms it: what stands in the pipe
survives its killing. It ends when its standard input does, so it doesn't outlive who started it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from failover.subscriber import Subscriber

__all__ = ["serve"]


async def serve(port: int, work: float) -> None:
    """Receive events until standard input ends.

    Args:
        port: Where to listen on this machine; 0 lets the system choose.
        work: Seconds that processing an event takes.
    """
    subscriber = Subscriber("127.0.0.1", port, in_order=False, drain=1.0)

    @subscriber.default
    async def process(_: str, params: Any) -> None:  # pyright: ignore[reportUnusedFunction]  # it's registered
        await asyncio.sleep(work)
        _tell(params["number"])

    end = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), end.set)
    async with subscriber:
        _tell(subscriber.address[1])
        await end.wait()


def _tell(number: int) -> None:
    os.write(sys.stdout.fileno(), b"%d\n" % number)


if __name__ == "__main__":
    try:
        asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
    except OSError as failure:
        sys.exit(f"failover: {failure.strerror}")
