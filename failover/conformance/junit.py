"""A report as JUnit XML, which continuous integration shows; a test case for each clause."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET  # only written, never parsed

from failover.conformance.results import Report, Verdict

__all__ = ["junit"]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def junit(report: Report) -> bytes:
    """Write a report as JUnit XML: failures as failures, warnings and evidence as output.

    Args:
        report: The report.

    Returns:
        The document, in UTF-8.
    """
    suite = ET.Element(
        "testsuite",
        name=f"failover conformance {report.socket}",
        tests=str(len(report.results)),
        failures=str(len(report.of(Verdict.FAIL))),
        errors="0",
        skipped=str(len(report.of(Verdict.SKIP))),
        time=f"{report.took:.3f}",
    )
    for result in report.results:
        group = result.id.partition(".")[0]
        case = ET.SubElement(
            suite, "testcase", classname=f"conformance.{group}", name=result.id, time=f"{result.took:.3f}"
        )
        if result.verdict is Verdict.FAIL:
            ET.SubElement(case, "failure", message=_legal(result.detail)).text = _legal(result.explain())
        elif result.verdict is Verdict.SKIP:
            ET.SubElement(case, "skipped", message=_legal(result.detail))
        elif result.verdict is Verdict.WARN:
            ET.SubElement(case, "system-out").text = _legal(result.explain())
    suites = ET.Element("testsuites")
    suites.append(suite)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document


def _legal(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
