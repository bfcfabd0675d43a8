"""What a subscriber does with those who connect, as values."""

from __future__ import annotations

from ssl import SSLContext
from typing import ClassVar, Literal

from attrs import field, frozen

from failover.testing.fields import is_count, one_of

__all__ = ["Accept", "AcceptAndStall", "Connecting", "NeverRead", "RefuseConnections", "TlsFailure"]

TlsKind = Literal["wrong_certificate", "no_handshake", "plain_text"]


@frozen
class Connecting:
    """What a subscriber does with those who connect."""

    name: ClassVar[str] = "connecting"


@frozen
class Accept(Connecting):
    """Accepts and serves."""

    name: ClassVar[str] = "accept"


@frozen
class AcceptAndStall(Connecting):
    """Accepts and reads, and from some request of a connection on nothing on it is ever done or answered.

    Args:
        after: How many requests of each connection are served first.
    """

    after: int = field(default=0, validator=is_count)
    name: ClassVar[str] = "accept_and_stall"


@frozen
class NeverRead(Connecting):
    """Accepts and never reads: what is sent piles up, in the buffers of both ends."""

    name: ClassVar[str] = "never_read"


@frozen
class RefuseConnections(Connecting):
    """Nobody listens: connects are refused, and the port stays reserved. Connections that exist stay."""

    name: ClassVar[str] = "refuse"


@frozen
class TlsFailure(Connecting):
    """No TLS handshake succeeds.

    Args:
        kind: `"wrong_certificate"`: the certificate is of an authority that nobody trusts, for another name;
            `"no_handshake"`: the handshake is never answered; `"plain_text"`: something that isn't TLS is answered.
        context: What shows the wrong certificate; None has one made by `trustme`, of the extra `test`.
    """

    kind: TlsKind = field(default="wrong_certificate", validator=one_of(TlsKind))
    context: SSLContext | None = field(default=None, eq=False)
    name: ClassVar[str] = "tls_failure"
