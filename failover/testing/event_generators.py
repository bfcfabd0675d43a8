"""Hypothesis strategies for events: of every kind that can be carried, and of every kind that is refused."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from failover.event import MAX_DEPTH, Event

__all__ = ["events", "invalid_events", "values"]

_INT: Final = 2**63


def _texts() -> SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=20)


def values(*, raw: bool = False, most: int = 5) -> SearchStrategy[Any]:
    """What one parameter of an event can be.

    Args:
        raw: Whether `bytes`, too, which pass into the JSON text as they are.
        most: Members of a list or an object, at most.
    """
    plain: SearchStrategy[Any] = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-_INT, _INT),
        st.floats(allow_nan=False, allow_infinity=False),
        _texts(),
    )
    if raw:
        plain |= st.binary(max_size=20)
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=most) | st.dictionaries(_texts(), inner, max_size=most),
        max_leaves=2 * most,
    )


def _params(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    pair: SearchStrategy[tuple[str, Any]] = st.tuples(_texts(), inner)
    return st.one_of(
        st.none(),
        st.dictionaries(_texts(), inner, max_size=5),
        st.lists(pair, max_size=5),
        st.lists(inner, max_size=5),
    )


def events(*, names: SearchStrategy[str] | None = None, raw: bool = False) -> SearchStrategy[Event]:
    """Events of every kind: params named, as pairs with names that repeat, values alone, empty, or none at all.

    Args:
        names: Their names; any text that isn't empty by default.
        raw: Whether params may be `bytes`.
    """
    name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20) if names is None else names
    return st.builds(Event, name, _params(values(raw=raw)), id=st.none() | st.text("0123456789abcdef-", min_size=1))


def invalid_events() -> SearchStrategy[tuple[Any, Any, Any]]:
    """Name, params and id of which `Event` refuses one, each for a reason of its own."""
    good = st.just("E_X")
    no_id = st.none()
    surrogate = st.characters(categories=["Cs"])
    not_text: SearchStrategy[Any] = st.sampled_from(["", 7, None, b"E_X", ("E_X",)])
    # An object as a value can't be told from one that compares equal: these are all of kinds that JSON has no form for.
    wrong_value: SearchStrategy[Any] = st.one_of(
        st.sampled_from([math.nan, math.inf, -math.inf, 1j, Decimal(1), object, {1}, (1, 2), range(2), ...]),
        surrogate,
        st.dictionaries(st.integers(), st.none(), min_size=1, max_size=2),
        st.dictionaries(surrogate, st.none(), min_size=1, max_size=1),
        st.integers(0, 1).map(lambda more: _nested(MAX_DEPTH + more)),
    )
    somewhere = st.deferred(
        lambda: st.one_of(
            wrong_value,
            st.tuples(st.lists(values(), max_size=2), wrong_value).map(lambda both: [*both[0], both[1]]),
            st.tuples(_texts(), wrong_value).map(lambda pair: {pair[0]: pair[1]}),
        )
    )
    params: SearchStrategy[Any] = st.one_of(
        st.tuples(st.dictionaries(_texts(), values(), max_size=2), _texts(), somewhere).map(
            lambda three: {**three[0], three[1]: three[2]}
        ),
        st.tuples(_texts(), somewhere).map(lambda pair: [pair]),
        st.lists(values(), min_size=1, max_size=2).flatmap(lambda first: somewhere.map(lambda last: [*first, last])),
        st.sampled_from([7, 1.5, "text", b"raw", {1, 2}, object(), [("a", 1, 2)], [("a",)], [(1, "a")], {1: "a"}]),
    )
    return st.one_of(
        st.tuples(not_text | surrogate, st.none(), no_id),
        st.tuples(good, st.none(), st.sampled_from(["", 7, b"id"]) | surrogate),
        st.tuples(good, params, no_id),
    )


def _nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value
