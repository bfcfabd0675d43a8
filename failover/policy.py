"""What is known of policies and sockets when an address is parsed: which options they have, and what they mean.

Policies are added by `failover.policies`, sockets by `failover.schemes.register`; the grammar knows none by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import Factory, field, frozen

from failover.options import TEXT, Given, Kind, Options

if TYPE_CHECKING:
    from failover.schemes import Defaults
    from failover.sink import Sink

__all__ = ["OPENSIPS", "POLICIES", "SOCKETS", "Check", "Parts", "Policy", "add"]

OPENSIPS: Final = ("FAILOVER", "PARALLEL", "ROUND-ROBIN")
"""The policies of OpenSIPS's event_virtual."""

POLICIES: Final[dict[str, Policy]] = {}
"""All policies, by name."""

SOCKETS: Final[dict[str, Options]] = {}
"""The options of the sockets of each scheme that has some."""

Check: TypeAlias = "Callable[[Mapping[str, Given], Sequence[Given]], None]"
"""Refuses what fits only one by one. It is given the strategy's options, and of each child the options that belong to
the strategy, as a dictionary of `Given`, with the place of the child; raises `place.error(…)`."""


@frozen
class Parts:
    """What a strategy is made of.

    Args:
        name: How it is called.
        children: Its children.
        said: What the text says of each child as the policy's: its weight, its tier.
        options: What the text says of the strategy, its name aside.
        defaults: For what the text says nothing of.
    """

    name: str
    children: Sequence[Sink]
    said: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]
    defaults: Defaults


@frozen
class Policy:
    """One policy of an address.

    Args:
        name: Its word, in capitals.
        meaning: What it does, in half a sentence, for who looks at a tree.
        make: Makes the strategy.
        options: What can be said of the strategy, after the policy's word; `name` besides.
        required: Those that have to be said.
        said: What can be said of each child, beside the child's own options.
        said_required: Those that have to be said of each child.
        least: How many children it has at least.
        most: How many at most; None for any number.
        in_order: Whether the order of its children means anything.
        check: Refuses what doesn't fit together.
    """

    name: str
    meaning: str
    make: Callable[[Parts], Sink] = field(repr=False)
    options: Options = Factory(dict[str, Kind])
    required: Sequence[str] = ()
    said: Options = Factory(dict[str, Kind])
    said_required: Sequence[str] = ()
    least: int = 1
    most: int | None = None
    in_order: bool = True
    check: Check | None = None

    @property
    def known(self) -> Options:
        """All options of the strategy."""
        return {"name": TEXT, **self.options}


def add(*policies: Policy) -> None:
    """Add policies."""
    POLICIES.update((policy.name, policy) for policy in policies)
