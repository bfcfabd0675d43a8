"""Makes the pictures of docs/testing/drill.md anew: `python tests/drill/screenshots.py`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from failover.drill import parse_drill, run_drill
from failover.drill.report import to_html

sys.path.insert(0, str(Path(__file__).parent))
from browser import browser

DOCS = Path(__file__).parents[2] / "docs" / "testing"
TEXT = """
[drill]
name = "billing, as it is"
about = "Billing confirms before it has written: when it dies, what it confirmed last is lost."
duration = 9.0
[group]
socket = "virtual:FAILOVER jsonrpc:billing:1 jsonrpc:spare:1"
timeout = 0.2
quarantine = 0.8
[[subscriber]]
name = "billing"
script = { action = "confirm", delay = { log_normal = [0.003, 0.6] } }
[load]
rate = 60
arrivals = "random"
[[fault]]
what = "confirm_unhandled"
on = "billing"
at = 2.9
for = 0.1
[[fault]]
what = "crash"
on = "billing"
at = 3.0
for = 1.2
[[fault]]
what = "black_hole"
on = "billing"
at = 5.2
for = 0.8
[[fault]]
what = "error"
on = "spare"
at = 5.6
for = 0.3
[steady]
confirmed = 0.99
p99 = 0.05
settle = 1.0
"""


def main() -> None:
    """Take both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        path.write_text(to_html(run_drill(parse_drill(TEXT))), encoding="utf-8")
        for name, dark in (("drill-light.png", False), ("drill-dark.png", True)):
            with browser(dark=dark, size=(1280, 1390)) as page:
                page.open(path)
                if dark:
                    page.run("document.querySelector('.finding').click(); scrollTo(0, 0)")
                (DOCS / name).write_bytes(page.picture())


if __name__ == "__main__":
    main()
