"""What all tests share: the same examples in every run, and no clock in them."""

from __future__ import annotations

from hypothesis import settings

# `pytest --hypothesis-profile=explore` looks for new examples, for as long as the default number of them takes.
settings.register_profile("explore", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
