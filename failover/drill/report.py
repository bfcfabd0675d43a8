"""A drill's report: one HTML file that needs nothing else, to be opened in any browser."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Any, Final

import msgspec

from failover.drill.checks import Verdict
from failover.drill.picture import OUTCOMES, picture
from failover.drill.result import LABELS, Result
from failover.testing.checkers import Finding

__all__ = ["embedded", "to_html"]

_FINDINGS: Final = 50  # of one check
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_ESCAPED: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def to_html(result: Result) -> str:
    """The report; the browser is told to load nothing from anywhere."""
    drill = result.drill
    title = escape(f"Drill: {drill.name}")
    place = f"{drill.drill.on} &middot; seed {drill.drill.seed} &middot; {drill.drill.duration:g} s"
    word, state = ("every check holds", "holds") if result.holds else (_failures(result), "fails")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{_page("style.css")}</style>
</head>
<body>
<header>
<div>
<p class="kind">failover drill &middot; {place}</p>
<h1>{escape(drill.name)} <span class="verdict {state}" id="verdict">{word}</span></h1>
<p class="about">{escape(drill.drill.about)}</p>
</div>
<button id="theme" type="button" title="Light or dark">Light / dark</button>
</header>
<main>
{_tiles(result)}
<section id="checks">
<h2>Checks</h2>
{_checks(result)}
</section>
<section id="time">
<h2>Timeline
<span class="tools"><span id="note"></span><button id="reset" type="button" hidden>Show all</button></span></h2>
<div id="chart"></div>
{_legend()}
<p class="hint">Point at a mark for its receipt; drag across to look closer; click a finding to see its events.</p>
</section>
<section class="pair">
<div><h2>Numbers</h2>{_numbers(result)}</div>
<div><h2>Subscribers</h2>{_subscribers(result)}</div>
</section>
</main>
<div id="tip" role="tooltip" hidden></div>
<script type="application/json" id="data">{embedded(picture(result))}</script>
<script>
{_page("script.js")}</script>
</body>
</html>
"""


def embedded(data: Any) -> str:
    """Data as JSON that may stand inside a script element: nothing in it can end the element or begin another."""
    return msgspec.json.encode(data).decode().translate(_ESCAPED)


def _page(name: str) -> str:
    return files("failover.drill").joinpath("page", name).read_text(encoding="utf-8")


def _failures(result: Result) -> str:
    failed = sum(not verdict.holds for verdict in result.verdicts)
    return f"{failed} check{'s' if failed > 1 else ''} failed"


def _shown(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value * 1e3:,.1f} ms"


def _count(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"


def _tiles(result: Result) -> str:
    numbers = result.numbers()
    tiles = "".join(
        f'<div class="tile{" bad" if name == "not_confirmed" and numbers[name] else ""}">'
        f"<b>{_shown(numbers[name])}</b><span>{escape(TILES[name])}</span></div>"
        for name in TILES
    )
    return f'<section class="tiles">{tiles}</section>'


TILES: Final = {
    "raised": "events raised",
    "confirmed": "confirmed",
    "not_confirmed": "not confirmed",
    "possible_duplicates": "possible duplicates",
    "quarantines": "quarantines",
    "p50": "half within",
    "p99": "99 % within",
    "longest": "longest",
}


def _checks(result: Result) -> str:
    failed = [_failed(verdict, result.recorder.began) for verdict in result.verdicts if not verdict.holds]
    states = [_state(verdict) for verdict in result.verdicts if verdict.holds and (verdict.shown or verdict.skipped)]
    plain = [
        f'<li data-check="{escape(verdict.name)}" title="{escape(verdict.promise)}">{_name(verdict)}</li>'
        for verdict in result.verdicts
        if verdict.holds and not verdict.shown and not verdict.skipped
    ]
    return f'{"".join(failed)}{"".join(states)}<ul class="chips">{"".join(plain)}</ul>'


def _name(verdict: Verdict) -> str:
    return escape(verdict.name.replace("_", " "))


def _state(verdict: Verdict) -> str:
    word = "not judged" if verdict.skipped else "holds"
    return (
        f'<div class="check {"skipped" if verdict.skipped else "holds"}" data-check="{escape(verdict.name)}">'
        f"<p><em>{word}</em> <strong>{_name(verdict)}</strong> {escape(verdict.skipped or verdict.shown)}"
        f'<br><span class="promise">{escape(verdict.promise)}</span></p></div>'
    )


def _failed(verdict: Verdict, began: float) -> str:
    rows = "".join(_finding(finding, began) for finding in verdict.findings[:_FINDINGS])
    more = len(verdict.findings) - _FINDINGS
    rest = f'<p class="more">and {more:,} more</p>' if more > 0 else ""
    count = f"{len(verdict.findings):,} finding{'s' if len(verdict.findings) > 1 else ''}"
    shown = f"{escape(verdict.shown)} &middot; " if verdict.shown else ""
    return (
        f'<div class="check fails" data-check="{escape(verdict.name)}" data-findings="{len(verdict.findings)}">'
        f"<p><em>fails</em> <strong>{_name(verdict)}</strong> {shown}{count}"
        f'<br><span class="promise">{escape(verdict.promise)}</span></p><ol>{rows}</ol>{rest}</div>'
    )


def _finding(finding: Finding, began: float) -> str:
    events = escape(embedded(list(finding.events)), quote=True)
    behind = ", ".join(finding.events[:3]) + (" …" if len(finding.events) > 3 else "")  # noqa: PLR2004
    who = f" <code>{escape(behind)}</code>" if finding.events else ""
    at = finding.at - began
    return (
        f'<li><button type="button" class="finding" data-at="{at:.6f}" data-events="{events}">'
        f"<time>{at:.3f} s</time> {escape(finding.text)}{who}</button></li>"
    )


def _legend() -> str:
    marks = "".join(f'<span class="{outcome}"><i></i>{outcome}</span>' for outcome in OUTCOMES)
    return (
        f'<p class="legend">{marks}<span class="processed"><i></i>processed</span>'
        '<span class="again"><i></i>processed again</span>'
        '<span class="fault"><i></i>fault</span><span class="out"><i></i>quarantined</span></p>'
    )


def _numbers(result: Result) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(LABELS[name])}</th>'
        f'<td data-number="{name}" data-value="{"" if value is None else value}">{_shown(value)}</td></tr>'
        for name, value in result.numbers().items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _subscribers(result: Result) -> str:
    rows = result.per_subscriber()
    outcomes = [outcome for outcome in OUTCOMES if any(outcome in row["attempts"] for row in rows)]
    head = "".join(f'<th scope="col">{outcome}</th>' for outcome in outcomes)
    body = "".join(
        f'<tr data-subscriber="{escape(row["name"])}"><th scope="row">{escape(row["name"])}</th>'
        + "".join(f'<td data-outcome="{one}">{row["attempts"].get(one, 0):,}</td>' for one in outcomes)
        + f'<td data-outcome="processed">{_count(row["processed"])}</td></tr>'
        for row in rows
    )
    return (
        f'<table class="wide"><thead><tr><th scope="col">attempts</th>{head}<th scope="col">processed</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
