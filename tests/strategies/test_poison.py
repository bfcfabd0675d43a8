"""A poison event, which every subscriber refuses, takes nobody out of service: it is the event that is at fault."""

from __future__ import annotations

from functools import partial

import pytest

from failover.event import Event
from failover.group import Group
from failover.outcome import Outcome, Verdict
from failover.records import Quarantined, Record
from failover.sim import Simulation
from failover.sink import Sink
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover
from failover.testing.actions import Action, Confirm, Refuse
from failover.testing.calls import Call
from failover.testing.subscriber import ScriptedSubscriber
from tests.doubles import of
from tests.strategies.kinds import KINDS

HOSTS = ("app1", "app2", "app3")
SEVERAL = [
    name for name, kind in KINDS.items() if kind.most > 1 and "letter" not in name
]  # it quarantines for refusals


def answer(code: int, call: Call) -> Action:
    """Refuse the poison, confirm the rest."""
    return Refuse(code=code) if call.method == "E_POISON" else Confirm()


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("code", [-32602, -32000])
@pytest.mark.parametrize("name", SEVERAL)
def test_all_stay_in_service(name: str, code: int, *, batch: bool) -> None:
    """Refused by whoever is asked, whatever the verdict: all three are up afterwards and take what comes next."""
    kind = KINDS[name]
    records: list[Record] = []
    simulation = Simulation(7, strict=True)
    for host in HOSTS:
        simulation.network.host(host, start=ScriptedSubscriber(host, 80, script=partial(answer, code)).serve)

    async def main() -> None:
        sockets: list[Sink] = [jsonrpc(f"{host}:80", name=host) for host in HOSTS]
        if kind.most < 3:  # it takes two: one of them alone, two in a sequence
            sockets = [sockets[0], Failover(*sockets[1:], name="others")]
        tree = Failover(kind.make(sockets, "tree"), name="above")
        async with Group("g", tree, observers=[records.append]) as group:
            poison, sound = Event("E_POISON"), Event("E_SOUND")
            for event, confirmed in ((poison, False), (sound, True)):
                events = [event] * 7
                receipts = await group.deliver_many(events) if batch else [await group.deliver(one) for one in events]
                assert {receipt.confirmed for receipt in receipts} == {confirmed}
                if not confirmed:
                    assert {receipt.outcome for receipt in receipts} == {Outcome.REJECTED}
                    verdict = Verdict.STOP if code == -32602 else Verdict.NEXT
                    assert {receipt.verdict for receipt in receipts} == {verdict}
            assert group.status().up
            assert all(child.up for child in tree.status().children)

    simulation.run(main())
    assert of(Quarantined, records) == []
