"""The blocking face under the same load: threads that hand events to one loop thread, and take the receipts back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from failover import Event, Outcome, Receipt
from failover.blocking import BlockingGroup
from tests.benchmarks.ours import arguments, event_source, group_of
from tests.benchmarks.recorder import Recorder

__all__ = ["main"]

_CONFIRMED: Final = Outcome.CONFIRMED
_PATIENCE: Final = 10.0  # seconds until a thread takes a receipt for lost


class _Submitter:
    """One thread with at most `window` events under way; woken when half of them have come back.

    A thread that is woken for each receipt would do nothing but change places with the loop's thread.
    """

    def __init__(self, group: BlockingGroup, recorder: Recorder, fresh: Callable[[], Event], window: int) -> None:
        self._group = group
        self._recorder = recorder
        self._fresh = fresh
        self._window = window
        self._low = window // 2
        self._submitted = 0  # counted by this thread
        self._returned = 0  # counted by the loop's
        self._lost = 0
        self._waits = False
        self._wake = threading.Semaphore(0)

    def run(self) -> None:
        """Submit until the recorder says no more, then wait for what is under way."""
        recorder = self._recorder
        while recorder.going:
            while self._submitted - self._returned < self._window:
                self._submitted += 1
                self._group.submit(self._fresh(), self._back(time.perf_counter_ns()))
            self._wait(self._low)
        self._wait(0)
        recorder.sent += self._submitted
        recorder.answered += self._returned
        recorder.lost += self._lost + self._submitted - self._returned

    def _back(self, began: int) -> Callable[[Receipt], None]:
        def take(receipt: Receipt) -> None:
            self._recorder.record(time.perf_counter_ns() - began)
            self._returned += 1
            if receipt.outcome is not _CONFIRMED:
                self._lost += 1
            if self._waits and self._submitted - self._returned <= self._low:
                self._waits = False
                self._wake.release()

        return take

    def _wait(self, left: int) -> None:
        """Wait until no more than so many are under way; woken once too often at worst, never once too seldom."""
        self._low = left
        end = time.monotonic() + _PATIENCE
        while self._submitted - self._returned > left and time.monotonic() < end:
            self._waits = True
            if self._submitted - self._returned > left:
                self._wake.acquire(timeout=_PATIENCE)


def _batches(group: BlockingGroup, recorder: Recorder, fresh: Callable[[], Event], window: int) -> None:
    """Deliver one batch after the other from this thread."""
    sent = lost = 0
    while recorder.going:
        began = time.perf_counter_ns()
        receipts = group.deliver_many([fresh() for _ in range(window)])
        took = time.perf_counter_ns() - began
        recorder.latencies.extend([took] * window)
        sent += window
        lost += sum(receipt.outcome is not _CONFIRMED for receipt in receipts)
    recorder.sent += sent
    recorder.answered += sent - lost
    recorder.lost += lost


def main() -> None:
    """Run against two subscribers and print the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--mode", choices=("submit", "many"), default="submit")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    fresh = event_source(options.size, premade=options.premade)
    recorder = Recorder(options.name, window=options.window * options.threads, rate=0, size=options.size)
    with group_of(options.ports, options.window * options.threads).blocking() as group:
        group.deliver(fresh())  # connected from here on, as the other contenders are
        work = [
            _Submitter(group, recorder, fresh, options.window).run
            if options.mode == "submit"
            else lambda: _batches(group, recorder, fresh, options.window)
            for _ in range(options.threads)
        ]
        threads = [threading.Thread(target=one) for one in work]
        recorder.begin()
        for thread in threads:
            thread.start()
        time.sleep(options.warmup)
        recorder.begin()
        time.sleep(options.seconds)
        recorder.end()
        for thread in threads:
            thread.join()
    print(recorder.report())


if __name__ == "__main__":
    main()
