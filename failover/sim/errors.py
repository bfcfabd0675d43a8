"""The errors of the simulation itself, as opposed to those that the simulated network raises as the kernel does."""

from __future__ import annotations

from failover.errors import FailoverError

__all__ = ["DeadlockError", "SimulationError"]


class SimulationError(FailoverError, RuntimeError):
    """The program asked for something that no simulation can give: the real world, or more steps than it may take."""


class DeadlockError(SimulationError):
    """Everyone waits and nothing is left that could wake anyone: on a real loop this program would hang for ever."""
