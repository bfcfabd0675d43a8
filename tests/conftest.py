"""What all tests share: the same examples in every run, and no clock in them."""

from __future__ import annotations

import gc

from hypothesis import settings

# By default a quarter of the examples, always the same; `pytest --hypothesis-profile=thorough` tries all of them, as
# .ci/run does, and `explore` looks for new ones, as many.
settings.register_profile("explore", deadline=None)
settings.register_profile("thorough", deadline=None, derandomize=True)
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """Leave all that is loaded out of garbage collections: many tests make one, and each simulation does."""
    gc.collect()
    gc.freeze()
