"""`failover demo`: what it promises, and that it notices when the promise is broken."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_nothing_is_lost_and_the_numbers_add_up(command: Run) -> None:
    """Killing the first subscriber under load loses nothing, some events move on, and it gets events again later."""
    done = command("demo", "--seconds", "1.5", "--rate", "300", "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["raised"] == numbers["confirmed"] == 450
    assert numbers["lost"] == numbers["confirmed_but_not_processed"] == 0
    assert sum(numbers["confirmed_by"].values()) == 450
    assert numbers["confirmed_by"]["subscriber 2"] >= numbers["moved_on"] > 0
    assert numbers["processed_twice"] <= numbers["possible_duplicates"]
    assert 0 < numbers["time_to_move_on_ms"]["median"] <= numbers["time_to_move_on_ms"]["longest"]
    tried = [child["sink"] for child in numbers["example"]["children"]]
    assert tried[:2] == ["subscriber 1", "subscriber 2"]
    assert numbers["example"]["outcome"] == "confirmed"
    assert "subscriber 1 killed\nsubscriber 1 is back\n" in done.stderr


def test_it_is_told_as_a_table_and_a_receipt(command: Run) -> None:
    """Without --json the same numbers stand in a table, and a receipt explains one event that moved on."""
    done = command("demo", "--seconds", "0.6", "--rate", "100")
    assert done.returncode == 0, done.stderr
    rows = Counter({what.strip(): int(number) for what, number in re.findall(r"│ (.*?) +│ +(\d+) │", done.stdout)})
    assert rows["raised"] == rows["confirmed"] == 60
    assert rows["lost"] == 0
    assert sum(number for what, number in rows.items() if what.startswith("by subscriber")) == 60
    assert "event E_DEMO: Failover confirmed after" in done.stdout
    assert "Nothing was lost: all 60 events were confirmed" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_loss_is_noticed(command: Run) -> None:
    """With nobody to fail over to, killing the only subscriber loses events: said, and told by the exit status."""
    done = command("demo", "--seconds", "0.6", "--rate", "100", "--subscribers", "1")
    assert done.returncode == 1
    lost = re.search(r"\n(\d+) events were lost", done.stdout)
    assert lost is not None
    assert int(lost[1]) > 0
