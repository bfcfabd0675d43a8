"""A drill's verdicts as JUnit XML, for CI: one case per check."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from failover.drill.result import Result

__all__ = ["to_junit"]

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST: Final = 20  # findings of one check


def to_junit(result: Result) -> str:
    """The XML; a check that could not be judged is a skipped case.

    Source: the JUnit schema of Apache Ant, as CI systems read it.
    """
    verdicts = result.verdicts
    name = _attribute(f"drill {result.drill.name}")
    failures = sum(not verdict.holds for verdict in verdicts)
    skipped = sum(bool(verdict.skipped) for verdict in verdicts)
    counts = f'tests="{len(verdicts)}" failures="{failures}" errors="0" skipped="{skipped}" time="{result.seconds:.3f}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {counts}>", f"<testsuite name={name} {counts}>"]
    lines.append("<properties>")
    for key, value in (("on", result.drill.drill.on), ("seed", result.drill.drill.seed), *result.numbers().items()):
        lines.append(f"<property name={_attribute(key)} value={_attribute(str(value))}/>")
    lines.append("</properties>")
    for verdict in verdicts:
        case = f'<testcase classname={name} name={_attribute(verdict.name)} time="0"'
        if verdict.skipped:
            lines.append(f"{case}><skipped message={_attribute(verdict.skipped)}/></testcase>")
        elif verdict.holds:
            lines.append(f"{case}/>")
        else:
            first = _attribute(verdict.findings[0].text)
            text = escape(_clean("\n".join(str(finding) for finding in verdict.findings[:_MOST])))
            lines.append(f"{case}><failure message={first}>{text}</failure></testcase>")
    lines += ["</testsuite>", "</testsuites>", ""]
    return "\n".join(lines)


def _clean(text: str) -> str:
    return _NO_XML.sub("?", text)


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))
