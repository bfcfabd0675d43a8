"""Python objects that a drill names as `module:name`: checkers, subscribers and strategies of the user's own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from failover.errors import ConfigError

__all__ = ["named"]


def named(text: str, path: str) -> Any:
    """The object of that name; modules beside the drill, in the working directory, are found too.

    Args:
        text: Where it is: `module:name`, or `module:Class.name`.
        path: The key that names it, for the error.

    Raises:
        ConfigError: there is none, or its module can't be imported.
    """
    module, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # where a command's own script lies is on it, and not where it is run
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return found
