"""What real OpenSIPS was seen to do, replayed: the same bytes where it does as documented, our outcome everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from failover import AddressError, ConfigError, Event, EventInterface
from tests.clock import run
from tests.vectors.replay import LATE, Replay, Scenario, expected

SCENARIOS: dict[str, Scenario] = json.loads(Path(__file__).with_name("opensips.json").read_text(encoding="utf-8"))
GRAMMAR: list[dict[str, Any]] = json.loads(Path(__file__).with_name("grammar.json").read_text(encoding="utf-8"))
REPLAYS: list[tuple[str, int]] = [(name, n) for name, one in SCENARIOS.items() for n in range(len(one["replays"]))]
REFUSED = {"failover_parse_error"}  # by us, where they are declared


def _replay(name: str, number: int) -> tuple[Scenario, Scenario]:
    return SCENARIOS[name], SCENARIOS[name]["replays"][number]


def _title(value: object) -> str:
    return {0: "jsonrpc", 1: "tcp"}.get(value, str(value)) if isinstance(value, int) else str(value)


@pytest.mark.parametrize(("name", "number"), [one for one in REPLAYS if one[0] not in REFUSED], ids=_title)
def test_scenario(name: str, number: int) -> None:
    """Every byte on every connection, every outcome, and the time of every timeout is as the data says."""
    scenario, data = _replay(name, number)

    async def body() -> None:
        replay = Replay(scenario, data, text=number == 1)
        await replay.play()
        assert [receipt.outcome.value for receipt in replay.receipts] == data["outcomes"], replay.explain()
        assert replay.received == expected(data["received"])
        for index, timeout in data.get("timeouts", {}).items():
            assert timeout["took"] <= round(replay.receipts[int(index)].took, 9) <= timeout["took"] + LATE

    run(body)


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, n in REPLAYS if "letter" in SCENARIOS[name]["replays"][n]], ids=_title
)
def test_by_the_letter(name: str, number: int) -> None:
    """Where we do better than OpenSIPS's documentation, switches give what it says."""
    scenario, data = _replay(name, number)

    async def body() -> None:
        replay = Replay(scenario, data, letter=True)
        await replay.play()
        assert [receipt.outcome.value for receipt in replay.receipts] == data["letter"]["outcomes"], replay.explain()
        assert replay.received == expected(data["letter"]["received"])

    run(body)


@pytest.mark.parametrize(("name", "number"), [one for one in REPLAYS if one[0] in REFUSED], ids=_title)
def test_refused_where_it_is_declared(name: str, number: int) -> None:
    """A socket that OpenSIPS finds out about with each event can't be subscribed here."""
    scenario, data = _replay(name, number)
    events = EventInterface(**data["settings"])
    [[event, socket]] = data["sockets"]
    with pytest.raises(AddressError, match=data["error"]):
        events.subscribe(event, socket.format(**dict.fromkeys(scenario["subscribers"], 9)))
    assert events.subscribers_list() == {"Events": []}


def test_text_is_escaped_as_its_bytes_are() -> None:
    """A string and its UTF-8 bytes give the same params."""
    texts = [
        value["latin1"].encode("latin-1")
        for _, params in SCENARIOS["async_escaping"]["replays"][0]["events"].values()
        for _, value in params["named"]
    ]
    decoded = 0
    for raw in texts:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            continue
        decoded += 1
        assert Event("E_A", [text]).body == Event("E_A", [raw]).body
    assert decoded == 15


@pytest.mark.parametrize("line", GRAMMAR, ids=lambda line: repr(line["socket"]))
def test_grammar(line: dict[str, Any]) -> None:
    """A socket is taken, and printed back, or refused at its position, as the data says."""
    events = EventInterface()
    if "error" in line:
        with pytest.raises(ConfigError, match=re.escape(line["error"])):
            events.subscribe("E_A", line["socket"])
        assert events.events_list() == {"Events": []}
    else:
        assert events.subscribe("E_A", line["socket"]).socket == line["ours"]


def test_every_difference_has_its_reason() -> None:
    """Where we differ from what a version of OpenSIPS was seen to send, or to take, the data says why."""
    different = {name for name, one in SCENARIOS.items() if any("recorded" in data for data in one["replays"])}
    assert [name for name in sorted(different) if "note" not in SCENARIOS[name]] == []
    for line in GRAMMAR:
        as_seen = all((seen == "ok") == ("ours" in line) and seen != "crash" for seen in line["seen"].values())
        assert as_seen == ("note" not in line), line["socket"]


def _row(name: str, scenario: dict[str, Any]) -> str:
    """A line of the table in the documentation."""
    if name in REFUSED:
        how = "refused where it is subscribed"
    else:
        versions = [version for data in scenario["replays"] for version in data["versions"]]
        other = {version: seen for data in scenario["replays"] for version, seen in data.get("recorded", {}).items()}
        same = [version for version in versions if version not in other]
        how = f"the same as {', '.join(same)}" if same else "ours"
        if all("instead" in seen for seen in other.values()):  # what alone is different
            how = f"all but one the same as {', '.join(versions)}" if other else how
        if any("letter" in data for data in scenario["replays"]):
            how += "; also by the letter"
    outcomes: list[str] = scenario["replays"][-1].get("outcomes", ["`AddressError`"])
    runs: list[str] = []
    for outcome in dict.fromkeys(outcomes):
        count = outcomes.count(outcome)
        runs.append(outcome if count == 1 else f"{count} {outcome}")
    return f"| `{name}` | {how} | {', '.join(runs)} | {scenario.get('note', '')} |"


def _grammar_row() -> str:
    notes = list(dict.fromkeys(line["note"] for line in GRAMMAR if "note" in line))
    taken = sum("ours" in line for line in GRAMMAR)
    differing = sum("note" in line for line in GRAMMAR)
    return (
        f"| `subscribe_grammar` | {len(GRAMMAR)} sockets, of which {differing} are taken otherwise |"
        f" {taken} taken, {len(GRAMMAR) - taken} refused | {'; '.join(notes)} |"
    )


def test_table_in_the_documentation() -> None:
    """The documentation lists every scenario, and how it is replayed, as the data has it."""
    table = Path(__file__).parents[2] / "docs" / "coming-from-opensips-vectors.md"
    rows = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [*(_row(name, scenario) for name, scenario in SCENARIOS.items()), _grammar_row()]
