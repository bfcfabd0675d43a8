"""The report: one file, in a real browser, with the history's own numbers in it."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from failover.drill import parse_drill, run_drill, shipped_drill
from failover.drill.junit import to_junit
from failover.drill.picture import MOST_MARKS, picture
from failover.drill.report import to_html
from failover.drill.result import Result
from failover.testing.entries import Attempted, Ended, Processed, Raised

if TYPE_CHECKING:
    from tests.drill.browser import Browser  # type: ignore[import-not-found,unused-ignore]

PLACE = Path(__file__).with_name("browser.py")
_spec = importlib.util.spec_from_file_location("drill_browser", PLACE)
assert _spec is not None
assert _spec.loader is not None
_browser: Any = importlib.util.module_from_spec(_spec)
sys.modules["drill_browser"] = _browser
_spec.loader.exec_module(_browser)

EVIL = "</script><script>document.title='broken out'</script><!-- \u2028 ]]>"
TEXT = f"""
[drill]
name = "evil & <b>names</b>"
about = {json.dumps(EVIL)}
duration = 4.0
[group]
socket = "virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080"
timeout = 0.2
quarantine = 0.5
[load]
rate = 50
params = {{ note = {json.dumps(EVIL)} }}
[[fault]]
what = "confirm_unhandled"
on = "app1"
at = 0.5
for = 0.1
[[fault]]
what = "error"
on = "app1"
at = 1.0
for = 0.2
args = {{ text = {json.dumps(EVIL)} }}
[[fault]]
what = "black_hole"
on = "app1"
at = 2.0
for = 1.0
[[fault]]
what = "reset"
on = "app2"
at = 2.5
[steady]
confirmed = 0.99
p99 = 0.001
"""


@pytest.fixture(scope="module")
def result() -> Result:
    """A drill that fails, with text in it that would break out of a careless report."""
    return run_drill(parse_drill(TEXT))


def test_it_needs_nothing_else(result: Result) -> None:
    """No address, font, style or script is loaded from anywhere, and the page forbids that itself."""
    page = to_html(result)
    found = re.findall(r"(?:src|href|url|@import|fetch)\s*[=(]\s*[\"']?([^\"'>)]*)", page)
    assert set(found) == {"data:,", "#inside"}  # an icon that is none, and a name inside the page
    assert "https://" not in page
    assert set(re.findall(r"http://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "default-src 'none'" in page


def test_text_of_peers_stays_text(result: Result) -> None:
    """What an event, a subscriber or the file says can't end the script that holds the data, nor begin another."""
    page = to_html(result)
    assert EVIL not in page
    assert len(re.findall(r"<script", page)) == 2
    assert len(re.findall(r"</script", page)) == 2
    begin = page.index('id="data">') + len('id="data">')
    data = json.loads(page[begin : page.index("</script>", begin)])
    assert any(EVIL[:20] in event[3] for event in data["events"])
    assert html.escape(EVIL) in page


def test_every_attempt_is_drawn_once(result: Result) -> None:
    """All attempts and processings of the history are in the picture, each in its subscriber's lane."""
    drawn = picture(result)
    for number, own in enumerate(result.subscribers):
        lane = drawn["lanes"][number]
        tried = [entry for entry in result.recorder if isinstance(entry, Attempted) and entry.sink == own.name]
        done = [entry for entry in result.recorder if isinstance(entry, Processed) and entry.subscriber == own.name]
        assert len(lane["attempts"]) == len(tried) > 0
        assert len(lane["processed"]) == len(done) > 0
    assert sum(row[0] for row in drawn["slots"]["rows"]) == result.numbers()["raised"]


@pytest.mark.slow
def test_a_long_history_is_drawn_as_masses() -> None:
    """The page of a big run is bounded: what had trouble is drawn one by one, the rest by number, and all are there."""
    text = TEXT.replace("rate = 50", "rate = 900").replace("duration = 4.0", "duration = 5.0")
    big = run_drill(parse_drill(text))
    drawn = picture(big)
    lanes = drawn["lanes"]
    singles = sum(len(lane["attempts"]) + len(lane["processed"]) for lane in lanes)
    masses = sum(number for lane in lanes for _, _, number in lane["mass"])
    assert singles + masses == sum(isinstance(entry, Attempted | Processed) for entry in big.recorder)
    assert singles < 2 * MOST_MARKS
    assert len(to_html(big)) < 5_000_000
    behind = {event for verdict in big.verdicts for finding in verdict.findings for event in finding.events}
    told = {event[0] for event in drawn["events"]}
    assert len(behind & told) == min(1000, len(behind))


def test_junit_has_a_case_for_each_check(result: Result) -> None:
    """CI sees every check: what holds, what fails and why, what could not be judged; and any text is valid XML."""
    suite = ET.fromstring(to_junit(result)).find("testsuite")  # noqa: S314  # our own
    assert suite is not None
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [verdict.name for verdict in result.verdicts]
    failed = {case.get("name") for case in cases if case.find("failure") is not None}
    assert failed == {verdict.name for verdict in result.verdicts if not verdict.holds}
    assert suite.get("failures") == str(len(failed)) == "3"
    odd = run_drill(parse_drill(TEXT.replace("evil &", "evil \\u0001\\u0008 &")))
    assert ET.fromstring(to_junit(odd)).get("tests") == str(len(odd.verdicts))  # noqa: S314


def numbers_of(page: Browser) -> dict[str, str]:
    """The table of numbers as it stands in the page."""
    found: dict[str, str] = page.run(
        "return Object.fromEntries([...document.querySelectorAll('[data-number]')]"
        ".map((cell) => [cell.dataset.number, cell.dataset.value]))"
    )
    return found


@pytest.mark.slow
def test_in_a_browser(result: Result, tmp_path: Path) -> None:
    """The report opens without any error; its numbers and marks are the history's; pointing and clicking work."""
    path = tmp_path / "report.html"
    path.write_text(to_html(result), encoding="utf-8")
    history = result.recorder
    with _browser.browser() as page:
        page.open(path)
        assert page.run("return document.title") == "Drill: evil & <b>names</b>"

        shown = numbers_of(page)
        ended = [entry.receipt for entry in history if isinstance(entry, Ended)]
        assert int(shown["raised"]) == sum(isinstance(entry, Raised) for entry in history) == 200
        assert int(shown["confirmed"]) == sum(receipt.confirmed for receipt in ended)
        assert int(shown["not_confirmed"]) == sum(not receipt.confirmed for receipt in ended)
        assert int(shown["attempts"]) == sum(isinstance(entry, Attempted) for entry in history)
        assert int(shown["processed"]) == sum(isinstance(entry, Processed) for entry in history)
        assert int(shown["possible_duplicates"]) == sum(receipt.possible_duplicates for receipt in ended)

        for row, own in enumerate(result.subscribers):
            outcomes = Counter(
                entry.outcome.value for entry in history if isinstance(entry, Attempted) and entry.sink == own.name
            )
            cells = page.run(
                "return Object.fromEntries([...document.querySelectorAll(`tr[data-subscriber='${arguments[0]}'] td`)]"
                ".map((cell) => [cell.dataset.outcome, +cell.textContent]))",
                own.name,
            )
            processed = sum(isinstance(entry, Processed) and entry.subscriber == own.name for entry in history)
            assert {name: number for name, number in cells.items() if number} == {**outcomes, "processed": processed}
            drawn = json.loads(page.run(f"return document.querySelector('[data-lane{row}]').dataset.lane{row}"))
            again = drawn.pop("again", 0)
            drawn["processed"] += again
            assert drawn == {**outcomes, "processed": processed}
        bands = page.run("return [...document.querySelectorAll('.band')].map((band) => band.dataset.fault)")
        assert bands == ["confirm_unhandled", "error", "black_hole"]

        checks = page.run(
            "return Object.fromEntries([...document.querySelectorAll('[data-check]')]"
            ".map((check) => [check.dataset.check, check.classList.contains('fails')]))"
        )
        assert checks == {verdict.name: not verdict.holds for verdict in result.verdicts}

        box = page.run("const box = document.querySelector('.finding').getBoundingClientRect(); return [box.x, box.y]")
        page.move(box[0] + 60, box[1] + 8, click=True)
        chosen = page.run("return document.querySelectorAll('#chosen circle').length")
        finding = next(verdict for verdict in result.verdicts if not verdict.holds).findings[0]
        marks = [
            entry for entry in history if isinstance(entry, Attempted | Processed) and entry.event in finding.events
        ]
        assert chosen == len(marks) > 0
        assert page.run("return document.getElementById('reset').hidden") is False
        ring = page.run(
            "document.querySelector('#time').scrollIntoView();"
            "const box = document.querySelector('#chosen circle').getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]"
        )
        page.move(*ring)
        told = page.run("const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.textContent")
        receipt = next(entry.receipt for entry in history if isinstance(entry, Ended) and entry.event in finding.events)
        assert receipt.explain() in told

        before = page.run("return getComputedStyle(document.body).backgroundColor")
        page.run("document.getElementById('theme').click()")
        assert page.run("return getComputedStyle(document.body).backgroundColor") != before
        assert page.console() == []


@pytest.mark.slow
def test_a_browser_sees_an_error(result: Result, tmp_path: Path) -> None:
    """A page that does what the report must not, loading or failing, is seen in the console: the test can fail."""
    path = tmp_path / "bad.html"
    path.write_text(to_html(result).replace("</body>", "<script>missing()</script><img src=x.png></body>"))
    with _browser.browser() as page:
        page.open(path)
        told = ""
        for _ in range(50):  # on a busy machine the console comes after the page: each asking waits for the browser
            told += " ".join(entry["message"] for entry in page.console())
            if "missing is not defined" in told and "Content Security Policy" in told:
                break
            page.run("const until = performance.now() + 100; while (performance.now() < until) {}")
    assert "missing is not defined" in told
    assert "Content Security Policy" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dead-primary", "poison-event"])
def test_dark_and_narrow(name: str, tmp_path: Path) -> None:
    """Who prefers dark gets dark at once, and nothing is wider than a small laptop's window."""
    path = tmp_path / "report.html"
    path.write_text(to_html(run_drill(shipped_drill(name))), encoding="utf-8")
    with _browser.browser(dark=True, size=(1024, 700)) as page:
        page.open(path)
        colours = page.run(
            "return [matchMedia('(prefers-color-scheme: dark)').matches,"
            " getComputedStyle(document.body).backgroundColor]"
        )
        assert colours == [True, "rgb(17, 22, 29)"]
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.console() == []
