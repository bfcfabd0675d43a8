"""The examination: first what kind of subscriber it is, then clause by clause, within bounds of time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from failover.conformance import connections, parameters, plain, refusals, replies, segments
from failover.conformance.clauses import Clause, chosen, registered
from failover.conformance.exam import Exam, code_of
from failover.conformance.line import Doubt, Fault, Skipped
from failover.conformance.results import Report, Result, Verdict
from failover.conformance.subject import Subject, Traits
from failover.errors import FailoverError

__all__ = ["CLAUSES", "Examination", "UnreachableError", "examine", "examine_clause"]

_GROUPS = (plain, parameters, refusals, segments, connections, replies)  # which register their clauses

CLAUSES: tuple[Clause, ...] = registered()
"""All clauses, in the order of their numbers; a test can be made of each."""


class UnreachableError(FailoverError):
    """Nobody can be examined: no connection to the subscriber."""


class Examination:
    """Examines one subscriber, on whatever loop runs, a simulated one too.

    Args:
        subject: Who, and how.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._traits: Traits | None = None
        self._ids = itertools.count(1001, 4)

    async def learn(self) -> Traits:
        """Send a plain request, without and with a newline behind it, and see what it says of the subscriber.

        Raises:
            UnreachableError: there is no connection to it.
        """
        if self._traits is not None:
            return self._traits
        for terminator in (b"", b"\n"):
            exam = Exam(self.subject, Traits(terminator=terminator), self._ids)
            try:
                line = await exam.connect()
            except Fault as fault:
                raise UnreachableError(
                    f"{self.subject.socket}: {fault}; start the subscriber there, or name where it listens"
                ) from None
            try:
                reply = await exam.ask(line)
            except Fault:
                continue
            finally:
                await line.aclose()
            self._traits = self._read(exam, reply, terminator)
            return self._traits
        self._traits = Traits(answers=False, refusal="nothing is answered")
        return self._traits

    def _read(self, exam: Exam, reply: dict[str, Any], terminator: bytes) -> Traits:
        error = reply.get("error")
        own = None if exam.body is None else msgspec.json.decode(exam.body)
        echoes = error is None and bool(own) and reply.get("result") == own
        refusal = "" if error is None else f"error {code_of(reply)}"
        return Traits(terminator=terminator, confirms=error is None, echoes=echoes, refusal=refusal)

    async def check(self, clause: Clause) -> Result:
        """Examine one clause.

        Raises:
            UnreachableError: there is no connection to the subscriber, before anything was tried.
        """
        exam = Exam(self.subject, await self.learn(), self._ids)
        loop = asyncio.get_running_loop()
        began = loop.time()
        verdict, detail = await self._verdict(clause, exam)
        if verdict is Verdict.FAIL and clause.should:
            verdict = Verdict.WARN
        return self._result(clause, verdict, detail, exam, loop.time() - began)

    async def _verdict(self, clause: Clause, exam: Exam) -> tuple[Verdict, str]:
        if clause.dialect not in {None, self.subject.dialect} and self.subject.dialect != "both":
            return Verdict.SKIP, f"only dialect {self.subject.dialect} was asked for"
        limit = 30 * self.subject.timeout + self.subject.idle
        try:
            async with asyncio.timeout(limit):
                await clause.check(exam)
        except Fault as fault:
            return Verdict.FAIL, str(fault)
        except Doubt as doubt:
            return Verdict.WARN, str(doubt)
        except Skipped as skipped:
            return Verdict.SKIP, str(skipped)
        except TimeoutError:
            return Verdict.FAIL, f"it wasn't over after {limit:g} s"
        return Verdict.PASS, ""

    @staticmethod
    def _result(clause: Clause, verdict: Verdict, detail: str, exam: Exam | None = None, took: float = 0.0) -> Result:
        return Result(
            id=clause.id,
            title=clause.title,
            source=clause.source,
            expected=clause.expected,
            verdict=verdict,
            detail=detail,
            sent=str(exam.sent) if exam is not None else "",
            came=str(exam.came) if exam is not None else "",
            took=took,
        )

    async def run(
        self,
        clauses: Iterable[Clause] = CLAUSES,
        *,
        before: Callable[[Clause], object] | None = None,
        after: Callable[[Result], object] | None = None,
    ) -> Report:
        """Examine these clauses, one after the other.

        Args:
            clauses: Which.
            before: Called before each.
            after: Called after each.

        Raises:
            UnreachableError: there is no connection to the subscriber, before anything was tried.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        traits = await self.learn()
        results: list[Result] = []
        for clause in clauses:
            if before is not None:
                before(clause)
            if loop.time() - began < self.subject.within:
                result = await self.check(clause)
            else:
                result = self._result(clause, Verdict.FAIL, f"not examined: {self.subject.within:g} s were up")
            results.append(result)
            if after is not None:
                after(result)
        return Report(
            socket=self.subject.socket,
            method=self.subject.name,
            results=tuple(results),
            notes=traits.notes(self.subject),
            took=loop.time() - began,
        )


def examine(
    host: str,
    port: int,
    *,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    before: Callable[[Clause], object] | None = None,
    after: Callable[[Result], object] | None = None,
    **settings: Any,
) -> Report:
    """Examine a subscriber that runs elsewhere: in another process or thread.

    Args:
        host: Where it listens.
        port: Where it listens.
        only: Ids, numbers, groups or patterns of the clauses that are wanted; none for all.
        skip: Of those that aren't.
        before: Called before each clause.
        after: Called with each result.
        settings: As of `Subject`: method, params, timeout, …

    Returns:
        What came of it; `report.ok`, `report.explain()`.

    Raises:
        ConfigError: a setting is out of its range, or a word fits no clause.
        UnreachableError: there is no connection to the subscriber.
    """
    wanted = chosen(CLAUSES, only, skip)
    return asyncio.run(Examination(Subject(host=host, port=port, **settings)).run(wanted, before=before, after=after))


def examine_clause(clause: Clause, host: str, port: int, **settings: Any) -> Result:
    """Examine a subscriber that runs elsewhere for one clause, as a test of its own does.

    Args:
        clause: One of `CLAUSES`.
        host: Where it listens.
        port: Where it listens.
        settings: As of `Subject`: method, params, timeout, …

    Returns:
        What came of it; `result.ok`, `result.explain()`.

    Raises:
        ConfigError: a setting is out of its range.
        UnreachableError: there is no connection to the subscriber.
    """
    return asyncio.run(Examination(Subject(host=host, port=port, **settings)).check(clause))
