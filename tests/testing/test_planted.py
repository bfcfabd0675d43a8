"""Planted faults: what was measured in OpenSIPS and mutations of our own code are noticed, all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from failover.receipt import Receipt
from failover.sequential import Sequential
from failover.sinks.jsonrpc import jsonrpc
from failover.testing import checkers, planted
from failover.testing.planted import PLANTED, Planted, main, seeds_to_catch, table
from failover.testing.planted_opensips import Model
from failover.testing.schedules import KINDS, play_seed

PAGE = Path(__file__).parents[2] / "docs" / "testing" / "checkers.md"
MARGIN = 10
"""How many times the seeds that the page names it may take, since schedules change with what they are drawn from."""


def documented() -> dict[str, int]:
    """The seeds to catch each fault, as the page has them."""
    rows = re.findall(r"^\| ([^:|]+): [^|]+\| (?:OpenSIPS|mutation) \| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: int(seeds) for name, seeds in rows}


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_each_is_noticed(fault: Planted) -> None:
    """With the fault planted, the checkers find something within about as many schedules as the page says."""
    caught = seeds_to_catch(fault, most=min(1000, MARGIN * documented()[fault.name]))
    assert caught is not None
    assert set(caught.clauses) <= {*checkers.__all__, "DeadlockError"}  # and nothing that merely broke


def test_all_are_documented() -> None:
    """The page has a row for each of them, none took more than 1,000 seeds, and there are at least a dozen of ours."""
    rows = documented()
    assert list(rows) == [fault.name for fault in PLANTED]
    assert max(rows.values()) <= 1000
    assert sum(fault.origin == "mutation" for fault in PLANTED) >= 12
    assert sum(fault.origin == "OpenSIPS" for fault in PLANTED) >= 8


def test_a_model_that_does_right_is_not_noticed() -> None:
    """What models are made of is no fault by itself: one that says the truth passes."""

    def socket(address: str, **settings: object) -> Model:
        sink = jsonrpc(address, **settings)  # type: ignore[arg-type]
        return Model(sink, sink.timeout)

    honest = planted.planted_kinds("honest", "says the truth", {"Socket": socket})
    assert seeds_to_catch(honest, most=60) is None


def test_nothing_stays_planted() -> None:
    """Afterwards everything is as it was."""
    before = dict(KINDS), Sequential.take_out, vars(Receipt)["possible_duplicates"]
    for fault in PLANTED:
        with fault.plant():
            pass
    assert (dict(KINDS), Sequential.take_out, vars(Receipt)["possible_duplicates"]) == before
    assert "take_out" not in vars(Sequential)
    assert play_seed(3).findings == ()


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints a row for each, and fails if one was not caught."""
    honest = planted.planted_kinds("honest", "does nothing wrong", {})
    assert list(table([honest], most=1))[-1] == "| honest: does nothing wrong | test | not caught |  |"
    monkeypatch.setattr(planted, "PLANTED", (PLANTED[0], honest))
    assert main(["--most", "3"]) == 1
    assert capsys.readouterr().out.count("\n") == 4
