"""The event that every contender sends: a call detail record as an OpenSIPS script would raise it, of any size."""

from __future__ import annotations

__all__ = ["METHOD", "request_params"]

METHOD = "E_ACC_CDR"

_CALLID = "a84b4c76e66710@pc33.atlanta.example.com/"
_AROUND = len('{"callid":"","duration":35}')


def request_params(size: int = 64) -> dict[str, str | int]:
    """Params that are exactly ``size`` bytes of compact JSON, the same as the C client's.

    Args:
        size: Bytes of JSON, at least 28.

    Returns:
        A call id as long as it takes, and a duration.
    """
    length = max(size - _AROUND, 1)
    return {"callid": (_CALLID * (length // len(_CALLID) + 1))[:length], "duration": 35}
