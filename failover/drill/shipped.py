"""The drills that ship with this package."""

from __future__ import annotations

from importlib.resources import files

from failover.drill.plan import Drill, parse_drill
from failover.errors import ConfigError

__all__ = ["shipped", "shipped_drill", "shipped_text"]


def shipped() -> tuple[str, ...]:
    """The names of the drills that ship."""
    found = (entry.name for entry in files("failover.drill").joinpath("drills").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def shipped_text(name: str) -> str:
    """The file of a drill that ships: a beginning for one of your own.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in shipped():
        raise ConfigError(f"no drill {name!r} ships, and there is no such file; shipped are {', '.join(shipped())}")
    return files("failover.drill").joinpath("drills", f"{name}.toml").read_text(encoding="utf-8")


def shipped_drill(name: str) -> Drill:
    """A drill that ships.

    Raises:
        ConfigError: there is none of that name.
    """
    return parse_drill(shipped_text(name))
