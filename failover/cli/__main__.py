"""`python -m failover.cli` is the same as `failover`."""

from __future__ import annotations

from failover.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
