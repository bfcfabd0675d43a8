"""One open group per name and process: for scripts that are reloaded, and for code that can't pass it around."""

from __future__ import annotations

from collections.abc import Callable

from failover.blocking import BlockingGroup
from failover.blocking.process import this_process
from failover.errors import ConfigError
from failover.group import Group

__all__ = ["shared"]


def shared(
    name: str, declare: Callable[[], Group], *, within: float | None = None, thread: bool | None = None
) -> BlockingGroup:
    """The process's open group of that name; the first call declares and opens it.

    It stays the same when the caller's module is reloaded. After it was closed, and in a forked child, the next call
    declares it anew.

    Args:
        name: What it is shared under; need not be the group's own name.
        declare: Makes the group; called only when it is needed.
        within: As for `Group.blocking`. None: 0.5 for a new one, whatever it is for an open one.
        thread: As for `Group.blocking`. None: True for a new one, whatever it is for an open one.

    Raises:
        ConfigError: it is open with another `within` or `thread`, or what was declared is no group, or `declare` no
            function.
        UsageError: the declared group is open elsewhere, or it would have to be opened on the loop's own thread.
    """
    if not callable(declare):
        raise ConfigError(f"declare must be a function that returns the Group to share as {name!r}, not {declare!r}")
    process = this_process()
    with process.lock:
        open_one = process.names.get(name)
        if isinstance(open_one, BlockingGroup) and open_one.is_open:
            for what, wanted, has in (("within", within, open_one.within), ("thread", thread, open_one.thread)):
                if wanted is not None and wanted != has:
                    raise ConfigError(
                        f"group {name!r} is shared and open with {what}={has!r}, not {wanted!r};"
                        " ask for the same or leave it out, or close() the open one first"
                    )
            return open_one
        group = declare()
        if not isinstance(group, Group):
            raise ConfigError(f"declare must return the Group to share as {name!r}, not {group!r}")
        facade = group.blocking(within=0.5 if within is None else within, thread=True if thread is None else thread)
        facade.open()
        process.names[name] = facade
        return facade
