"""What one contender measures, and the JSON it prints: the same fields as the C client's."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable

__all__ = ["Recorder"]


class Recorder:
    """The latencies between the end of the warm-up and the end of the run.

    ``record`` is the bare append of an array, and ``going`` a plain attribute: what is measured pays no more than that.

    Args:
        client: The contender's name.
        window: Requests in flight; 0 in an open loop.
        rate: Requests per second; 0 in a closed loop.
        size: Bytes of params.
    """

    def __init__(self, client: str, *, window: int, rate: float, size: int) -> None:
        self.settings = {"client": client, "window": window, "rate": rate, "size": size}
        self.latencies = array("q")
        self.record: Callable[[int], None] = self.latencies.append
        self.going = True
        self.sent = self.answered = self.errors = self.lost = 0
        self._events = 0
        self._began = self._ended = 0
        self._cpu = 0.0

    def begin(self) -> None:
        """Forget what the warm-up recorded."""
        del self.latencies[:]
        self._began = time.perf_counter_ns()
        self._cpu = time.process_time()

    def end(self) -> None:
        """Count what was recorded up to now; replies that are drained later are not part of the figures."""
        if self.going:
            self.going = False
            self._ended = time.perf_counter_ns()
            self._cpu = time.process_time() - self._cpu
            self._events = len(self.latencies)

    def report(self) -> str:
        """One line of JSON: seconds, events per second, quantiles of latency and CPU in microseconds."""
        seconds = (self._ended - self._began) / 1e9
        latencies = sorted(self.latencies[: self._events])
        figures = {
            "events": self._events,
            "seconds": round(seconds, 6),
            "events_per_second": round(self._events / seconds, 1),
            "p50_us": _quantile_us(latencies, 0.5),
            "p99_us": _quantile_us(latencies, 0.99),
            "p999_us": _quantile_us(latencies, 0.999),
            "cpu_us_per_event": round(self._cpu * 1e6 / self._events, 3) if self._events else 0.0,
        }
        counters = {"sent": self.sent, "answered": self.answered, "errors": self.errors, "lost": self.lost}
        return json.dumps({**self.settings, **figures, **counters})


def _quantile_us(latencies: list[int], share: float) -> float:
    return round(latencies[int(share * (len(latencies) - 1))] / 1e3, 2) if latencies else 0.0
