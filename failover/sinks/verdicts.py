"""What an error reply means for the event, by its code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from failover.errors import ConfigError
from failover.outcome import Verdict
from failover.receipt import ErrorReply

__all__ = ["DEFAULT_VERDICTS", "OPENSIPS_VERDICTS", "Judge", "Verdicts", "judge_by"]

Judge: TypeAlias = Callable[[ErrorReply], Verdict]
Verdicts: TypeAlias = Mapping[int, Verdict | str] | Judge

DEFAULT_VERDICTS: Final[Mapping[int, Verdict]] = MappingProxyType({-32600: Verdict.STOP, -32602: Verdict.STOP})
"""Invalid Request and Invalid params: the event is at fault, wherever it goes. All other codes: `next`.

Source: JSON-RPC 2.0 section 5.1.
"""

OPENSIPS_VERDICTS: Final[Mapping[int, Verdict]] = MappingProxyType({})
"""Every error goes to the next socket, as OpenSIPS's event_virtual does it."""

_log = logging.getLogger("failover")


def judge_by(verdicts: Verdicts) -> Judge:
    """Make one function of a table or a function; codes that a table doesn't name are `next`.

    Args:
        verdicts: Code to verdict (a `Verdict` or its name), or a function of the error reply. A function that raises
            is logged, and the verdict is `next`.

    Raises:
        ConfigError: a code that is no integer, or a verdict that is none.
    """
    if callable(verdicts):
        return _guarded(verdicts)
    table: dict[int, Verdict] = {}
    for code, verdict in verdicts.items():
        if type(code) is not int:
            raise ConfigError(f"an error code must be an integer, not {code!r}")
        try:
            table[code] = Verdict(verdict)
        except ValueError:
            known = ", ".join(repr(one.value) for one in Verdict)
            raise ConfigError(f"the verdict of error code {code} must be one of {known}, not {verdict!r}") from None

    def judge(error: ErrorReply) -> Verdict:
        return Verdict.NEXT if error.code is None else table.get(error.code, Verdict.NEXT)

    return judge


def _guarded(given: Judge) -> Judge:
    def judge(error: ErrorReply) -> Verdict:
        try:
            return Verdict(given(error))
        except Exception:  # noqa: BLE001  # a fault in it must not become the event's, nor its neighbours' on the connection
            _log.exception("the verdict function %r failed on %s; taken as 'next'", given, error)
            return Verdict.NEXT

    return judge
