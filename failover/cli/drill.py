"""`failover drill`: a group under load and faults, in the simulation or on sockets, with a verdict."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from failover.cli.terminal import FAILED, WRONG, fail, friendly, printable, stderr, stdout

if TYPE_CHECKING:
    from failover.drill.plan import Drill, Place
    from failover.testing.entries import Entry

__all__ = ["drill"]


def drill(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A drill's file, or the name of one that ships.")
    ] = None,
    *,
    on: Annotated[str | None, typer.Option(metavar="simulation|sockets", help="Where, whatever the file says.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="The seed, whatever the file says.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report to open in a browser.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, a case per check.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the history, JSON lines.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the drill's file and exit.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the drills that ship and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing of the faults as they come.")] = False,
) -> None:
    """Put a group under load and faults, and check what it promises.

    The drill is a TOML file: the group, its subscribers, the load, a timeline
    of faults, checks, and a steady state that must hold before the faults and
    after them. In the simulation it takes no time and is the same each time for
    one seed; on sockets it takes the time that it says, on this machine alone.

    Exit status:
      0  every check holds
      1  one doesn't, or something could not be had
      2  the file or an option is wrong

    Examples:
      failover drill --list
      failover drill dead-primary
      failover drill dead-primary --on sockets --html report.html
      failover drill dead-primary --show > mine.toml
      failover drill mine.toml --seed 7 --junit junit.xml
    """
    # What a drill needs is a third of what a command takes to start, and the other commands need nothing of it.
    from failover.cli.drilling import Bar, show_result
    from failover.drill.junit import to_junit
    from failover.drill.report import to_html
    from failover.drill.run import prepare, run_drill
    from failover.drill.shipped import shipped, shipped_drill, shipped_text
    from failover.testing.lines import entry_to_line

    if list_:
        for name in shipped():
            stdout().print(f"{name:<18} {shipped_drill(name).drill.about}")
        raise typer.Exit
    if file is None:
        fail("no drill: give a file, or the name of one that ships (failover drill --list)", WRONG)
    with friendly():
        if show:
            typer.echo(shipped_text(file) if not Path(file).exists() else Path(file).read_text("utf-8"), nl=False)
            raise typer.Exit
        planned = _placed(_found(file), on, seed)
        prepare(planned)
        with _written(json) as history, Bar(stderr(), planned.drill.duration, quiet=quiet) as bar:

            def write(entry: Entry) -> None:
                if history is not None:
                    history.write(entry_to_line(entry) + b"\n")

            result = run_drill(planned, bar, passed_on=write)
        if html is not None:
            html.write_text(to_html(result), encoding="utf-8")
        if junit is not None:
            junit.write_text(to_junit(result), encoding="utf-8")
    show_result(stdout(), result)
    raise typer.Exit(0 if result.holds else FAILED)


def _found(file: str) -> Drill:
    from failover.drill.plan import load_drill
    from failover.drill.shipped import shipped_drill

    path = Path(file)
    if path.exists():
        return load_drill(path)
    if path.suffix or len(path.parts) > 1:
        fail(f"{printable(file)}: there is no such file", WRONG)
    return shipped_drill(file)


def _placed(planned: Drill, on: str | None, seed: int | None) -> Drill:
    if on not in {None, "simulation", "sockets"}:
        fail(f"--on {printable(str(on))}: expected simulation or sockets", WRONG)
    return planned.on(planned.drill.on if on is None else cast("Place", on), seed)


@contextmanager
def _written(path: Path | None) -> Generator[BinaryIO | None]:
    if path is None:
        yield None
        return
    with path.open("wb") as file:
        yield file
