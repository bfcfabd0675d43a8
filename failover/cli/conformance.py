"""`failover conformance`: is this subscriber one that events can be sent to?"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from failover.address import Span, parse_socket
from failover.cli.params import parse_params
from failover.cli.terminal import FAILED, friendly, printable, stderr, stdout
from failover.conformance import CLAUSES, Clause, Report, Result, Verdict, examine, junit
from failover.conformance.clauses import chosen
from failover.errors import AddressError, ConfigError

__all__ = ["conformance"]

_STYLES: Final = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.WARN: "yellow", Verdict.SKIP: "dim"}


def conformance(
    place: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where your subscriber listens.")],
    params: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARAM", help="What the method needs: name=text, name:=JSON.", show_default=False),
    ] = None,
    *,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="A method that it confirms; it's called some 500 times.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CLAUSE", help="Only these: 4, 4.1, '*-id'; may be repeated.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="CLAUSE", help="Not these; may be repeated.")] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long each reply may take.")] = 1.0,
    within: Annotated[float, typer.Option(metavar="SECONDS", help="How long all of it may take.")] = 300.0,
    dialect: Annotated[str, typer.Option(metavar="NAME", help="Whose notifications: 3.0, 3.1 or both.")] = "both",
    event_param: Annotated[
        str, typer.Option(metavar="NAME", help="Under which OpenSIPS leads the params with the event's name.")
    ] = "event",
    tls: Annotated[bool, typer.Option("--tls", help="Connect by TLS.")] = False,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust these certificates, PEM, not the system's; means --tls.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate; means --tls.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show clauses that passed, too.")] = False,
    clauses: Annotated[bool, typer.Option("--list", help="List the clauses that would be examined, and exit.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write it as JUnit XML.")] = None,
) -> None:
    """Examine a subscriber, clause by clause, for what JSON-RPC 2.0 and OpenSIPS's wire ask of one.

    Name a method that it confirms, and the params it needs: --method is really
    called, some 500 times, also with params it doesn't expect, so point this at a
    subscriber under test, not at one in service. At most 32 connections are open
    at a time, and about 35 MB are sent.

    Exit status:
      0  nothing failed (warnings are allowed, unless --strict)
      1  something failed
      2  nobody is there, or an option is wrong

    Examples:
      failover conformance 127.0.0.1:8080
      failover conformance 127.0.0.1:8080 --method E_CDR callid=a84 duration:=35
      failover conformance 127.0.0.1:8080 --only 5 --only 10.5-result-or-error
      failover conformance app.example.org:8443 --ca ca.pem
      failover conformance [::1]:8080 --skip 7 --strict --junit conformance.xml
    """
    with friendly():
        host, port = _place(place)
        if clauses:
            _list(chosen(CLAUSES, only or (), skip or ()))
            raise typer.Exit
        if params and method is None:
            raise ConfigError(f"params ({params[0]}) need the method that they are for; give --method NAME")
        _writable(json_file, junit_file)
        report = _examine(
            host,
            port,
            only=only or (),
            skip=skip or (),
            method=method,
            params=parse_params(params or []),
            timeout=timeout,
            within=within,
            dialect=dialect,
            event_param=event_param,
            ssl=_context(ca, insecure=insecure) if tls or insecure or ca is not None else None,
        )
        _write(report, json_file, junit_file)
    _show(report, verbose=verbose)
    if not report.ok or (strict and report.of(Verdict.WARN)):
        raise typer.Exit(FAILED)


def _examine(host: str, port: int, **settings: Any) -> Report:
    """Examine with a live line on a terminal: how far it is, and what failed above it."""
    progress = _progress(stderr())
    number = len(chosen(CLAUSES, settings["only"], settings["skip"]))
    task = progress.add_task("", total=number)

    def before(clause: Clause) -> None:
        progress.update(task, description=clause.id)

    def after(result: Result) -> None:
        progress.advance(task)
        if not result.ok and not progress.disable:
            progress.console.print(printable(f"{result.id}: {result.detail}"), style="red")

    with progress:
        return examine(host, port, before=before, after=after, **settings)


def _context(ca: Path | None, *, insecure: bool) -> ssl.SSLContext:
    """What is trusted.

    Raises:
        ConfigError: a file that holds no certificates.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigError(f"{ca}: no certificates in PEM ({error.reason})") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _writable(*paths: Path | None) -> None:
    """Find out before the examination, not after it, that a report can't be written."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{path}: there is no such directory; make it, or name another")


def _write(report: Report, json_file: Path | None, junit_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report.to_dict())) + b"\n")
    if junit_file is not None:
        junit_file.write_bytes(junit(report) + b"\n")


def _place(text: str) -> tuple[str, int]:
    place = parse_socket("jsonrpc", Span(text.removeprefix("jsonrpc:")))
    if place.method is not None:
        raise AddressError(text, text.index("/"), "a method", "HOST:PORT alone; give the method as --method NAME")
    return place.host, place.port


def _list(wanted: tuple[Clause, ...]) -> None:
    for clause in wanted:
        kind = " (should)" if clause.should else ""
        stdout().print(f"{clause.id}{kind}: {clause.title} [{clause.source}]")


def _progress(console: Console) -> Progress:
    """A live line on a terminal; nothing elsewhere."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _show(report: Report, *, verbose: bool) -> None:
    """A table of what didn't pass, the evidence of failures and warnings, and the counts."""
    console = stdout()
    shown = [result for result in report.results if verbose or result.verdict is not Verdict.PASS]
    if shown:
        width = max(len(result.id) for result in shown)
        console.print(f"{'clause':{width}}  verdict       took  found", style="bold")
        for result in shown:
            took = f"{1000 * result.took:.1f} ms"
            line = f"{result.id:{width}}  {result.verdict.value:7} {took:>10}  {result.detail or result.title}"
            console.print(printable(line), style=_STYLES[result.verdict])
    for result in (*report.of(Verdict.FAIL), *report.of(Verdict.WARN)):
        console.print("\n" + printable(result.explain()))
    if shown:
        console.print()
    for note in report.notes:
        console.print(printable(note))
    counts = ", ".join(f"{len(report.of(verdict))} {verdict.value}" for verdict in Verdict)
    console.print(printable(f"{report.socket}, method {report.method}: {counts} in {report.took:.1f} s"))
