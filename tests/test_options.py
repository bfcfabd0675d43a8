"""Options' values: what their units mean."""

from __future__ import annotations

import pytest

from failover.address import Span
from failover.options import GROWTH, PERCENT, RATE, SHARE, TIME, TIME_OR_ZERO, WHOLE, YES_NO, Kind, choice, whole


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (TIME, "200ms", 0.2),
        (TIME, "300ms", 0.3),
        (TIME, "1.5s", 1.5),
        (TIME, "2m", 120.0),
        (TIME, "1h", 3600.0),
        (TIME_OR_ZERO, "0", 0.0),
        (TIME_OR_ZERO, "0s", 0.0),
        (SHARE, "5%", 0.05),
        (SHARE, "0", 0.0),
        (SHARE, "150%", 1.5),
        (RATE, "100/s", 100.0),
        (RATE, "30/m", 0.5),
        (RATE, "36/h", 0.01),
        (GROWTH, "2", 2.0),
        (PERCENT, "99.9", 99.9),
        (WHOLE, "12", 12),
        (whole(0), "0", 0),
        (YES_NO, "yes", True),
        (YES_NO, "no", False),
        (choice("all", "any", other=WHOLE), "any", "any"),
        (choice("all", "any", other=WHOLE), "2", 2),
    ],
)
def test_values(kind: Kind, text: str, value: object) -> None:
    """Times are seconds, shares are parts of one, rates are per second."""
    assert kind.read(Span(text)) == value
