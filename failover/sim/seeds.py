"""One generator of random numbers per purpose, all from one seed."""

from __future__ import annotations

import hashlib
import random

__all__ = ["derive"]


def derive(seed: int, *purpose: str) -> random.Random:
    """A generator that depends on the seed and the purpose alone, not on who else draws numbers, and not on `hash()`.

    Args:
        seed: The seed of the simulation.
        purpose: What the numbers are for, as words: `"latency", "client", "app1"`.

    Returns:
        The same generator for the same arguments, in every process and on every Python.
    """
    text = "\0".join((str(seed), *purpose))
    return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))
