"""The base of all strategies that judge their children: what a receipt says of a child's standing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from failover.errors import ConfigError
from failover.health import Health
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.records import OnTrial, PushedBack, Silence
from failover.sink import Opening
from failover.strategy import Child, Declared, Strategy

__all__ = ["Judging"]

_ALIVE: Final = (Outcome.CONFIRMED, Outcome.REJECTED, Outcome.SENT)


class Judging(Strategy):
    """Takes children out of service, and back, by the receipts they leave. Subclasses say which are tried.

    Args:
        children: Sinks or addresses, at least one.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well, as OpenSIPS does.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no children, two of one name, a negative quarantine, or one beside a `health`.
    """

    def __init__(
        self,
        *children: Declared,
        name: str | None = None,
        quarantine: float | None = None,
        quarantine_rejected: bool = False,
        health: Health | None = None,
    ) -> None:
        super().__init__(*children, name=name)
        if health is None:
            self.health = Health() if quarantine is None else Health(quarantine=quarantine)
        elif quarantine is not None:
            raise ConfigError(f"{self.name} has a quarantine beside its health: write Health(quarantine={quarantine})")
        elif not isinstance(health, Health):
            raise ConfigError(f"the health of {self.name} must be a Health, e.g. Health(failures=3), not {health!r}")
        else:
            self.health = health
        self.quarantine = self.health.quarantine
        self.quarantine_rejected = quarantine_rejected

    async def open(self, opening: Opening) -> None:
        """Open all children; see `Strategy.open`."""
        self._draw = opening.rng.random
        await super().open(opening)

    def silent(self, child: Child, news: Silence) -> None:
        """Hold it against a child that it was silent past its own timeout; after the last one, this one is silent."""
        if self.quarantine:
            self._fault(child, "no reply although nobody waited any more", news.at)
            if all(other.out_until > news.at for other in self.children):
                self._tell(Silence(self.name, news.attempt, news.at))

    def _judge(self, child: Child, receipt: Receipt) -> None:
        """Draw the consequences of a child's receipt for its standing."""
        outcome = receipt.outcome
        if receipt.at_fault or (outcome is Outcome.REJECTED and self.quarantine_rejected):
            if self.quarantine:
                self._fault(child, receipt.reason or outcome.value, receipt.ended)
        elif outcome in _ALIVE:
            if not child.steady:
                self.take_back(child, f"it answered: {outcome.value}", receipt.ended)
            if receipt.verdict is Verdict.BUSY:
                self._push_back(child, receipt)

    def _fault(self, child: Child, reason: str, now: float) -> None:
        """Count a failure of a child; take it out if that is enough."""
        seconds = child.fail(now, self._draw() if self.health.jitter else 0.5)
        if seconds is not None:
            self.take_out(child, seconds, reason, now)

    def _push_back(self, child: Child, receipt: Receipt) -> None:
        """Pass a child over for as long as it asks for; it is busy, not broken."""
        seconds = receipt.retry_after
        if seconds is not None:
            until = child.push_back(receipt.ended, seconds)
            self._note(PushedBack(self.name, child.name, until, receipt.reason, receipt.ended, self.group))

    def _on_trial(self, child: Child, why: str, count: int = 1) -> None:
        """Count events that begin at a child which is not in service without reserve."""
        if child.out_until and not child.trial:
            self._note(OnTrial(self.name, child.name, why, self._now(), self.group))
        child.trial += count

    def _judge_all(self, child: Child, receipts: Iterable[Receipt]) -> None:
        """The same for a batch: the newest evidence counts, whichever event it came with."""
        for receipt in sorted(receipts, key=lambda receipt: receipt.ended):
            self._judge(child, receipt)
