"""How many examples hypothesis tries: a few by default, all of them in a thorough run."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]


def examples(number: int) -> settings:
    """The settings of a test that tries so many examples in a thorough run, as `.ci/run` makes it, else a quarter.

    Args:
        number: Of examples, with a profile that has hypothesis's own 100 where a test doesn't say.
    """
    return settings(max_examples=max(1, number * settings().max_examples // 100))  # those of the profile
