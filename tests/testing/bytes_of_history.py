"""Print the history of one schedule; nothing but the seed. Run: `python tests/testing/bytes_of_history.py SEED`."""

from __future__ import annotations

import sys

from failover.testing.schedules import play_seed

if __name__ == "__main__":
    sys.stdout.buffer.writelines(play_seed(int(sys.argv[1])).history.lines())
