"""TLS and mutual TLS: the same sink with a context, and a clear reason for each way it can fail."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import gc
import ssl
from typing import Any

import pytest
import trustme

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sinks.jsonrpc import jsonrpc
from tests.scripted import Link, Run, ScriptedPeer, bytewise, opened, until

EVENT = Event("E_TEST")


class Certificates:
    """An authority, a server's certificate for 127.0.0.1, and the contexts that use them."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.server_certificate = self.ca.issue_cert("127.0.0.1", "peer.test")
        self.client_certificate = self.ca.issue_cert("client@example.org")

    def server(self, *, mutual: bool = False, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """What the peer uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_certificate.configure_cert(context)
        if version is not None:
            context.maximum_version = version
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client(self, *, trusting: bool = True, certified: bool = False) -> ssl.SSLContext:
        """What the sink uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if trusting:
            self.ca.configure_trust(context)
        if certified:
            self.client_certificate.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """Made once: keys take time."""
    return Certificates()


def deliver(run: Run, server: ssl.SSLContext, count: int = 1, **options: Any) -> list[Receipt]:
    """Deliver events to a TLS peer, one after the other."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(bytewise, ssl=server) as peer:
            sink = jsonrpc(peer.address, **options)
            async with opened(sink):
                return [await sink.deliver(EVENT) for _ in range(count)]

    receipts: list[Receipt] = run(main)
    return receipts


def test_tls_confirms(run: Run, certificates: Certificates) -> None:
    """With a context that trusts the peer's authority events are confirmed as without TLS."""
    receipts = deliver(run, certificates.server(), 3, ssl=certificates.client())
    assert all(receipt.confirmed for receipt in receipts)


def test_mutual_tls_confirms(run: Run, certificates: Certificates) -> None:
    """A peer that wants a certificate gets ours."""
    server = certificates.server(mutual=True)
    assert deliver(run, server, ssl=certificates.client(certified=True))[0].confirmed


def test_another_server_name(run: Run, certificates: Certificates) -> None:
    """The name that is verified can be another than the host; one that doesn't fit is UNREACHABLE."""
    server = certificates.server()
    assert deliver(run, server, ssl=certificates.client(), server_name="peer.test")[0].confirmed
    (receipt,) = deliver(run, server, ssl=certificates.client(), server_name="other.test")
    assert receipt.outcome is Outcome.UNREACHABLE
    assert "other.test" in receipt.reason


def test_an_unknown_authority(run: Run, certificates: Certificates) -> None:
    """A peer whose authority we don't know is UNREACHABLE, and the reason says that the certificate is why."""
    (receipt,) = deliver(run, certificates.server(), ssl=certificates.client(trusting=False))
    assert receipt.outcome is Outcome.UNREACHABLE
    assert "certificate verify failed" in receipt.reason.lower()


def test_a_missing_client_certificate_with_tls_1_2(run: Run, certificates: Certificates) -> None:
    """Up to TLS 1.2 a missing client certificate shows in the handshake: UNREACHABLE."""
    server = certificates.server(mutual=True, version=ssl.TLSVersion.TLSv1_2)
    (receipt,) = deliver(run, server, ssl=certificates.client())
    assert receipt.outcome is Outcome.UNREACHABLE
    assert receipt.reason.startswith("connect: ")
    assert receipt.reason != "connect: "
    assert receipt.took < 0.4


def test_a_missing_client_certificate_with_tls_1_3(run: Run, certificates: Certificates) -> None:
    """From TLS 1.3 on it shows only after our handshake: never confirmed, seen at once, not stuck for ever."""
    receipts = deliver(run, certificates.server(mutual=True), 3, ssl=certificates.client())
    for receipt in receipts:
        assert receipt.outcome in (Outcome.UNREACHABLE, Outcome.UNCONFIRMED)
        assert receipt.took < 0.4
        assert receipt.reason not in ("connect: ", "connection lost: ", "")


def test_a_peer_that_speaks_no_tls(run: Run, certificates: Certificates) -> None:
    """A handshake that is answered by something else, or by an end, is UNREACHABLE with a reason."""

    def greet(link: Link) -> None:
        link.write(b"220 hello\r\n" * 10)

    def hang_up(link: Link) -> None:
        link.transport.close()

    async def main() -> list[Receipt]:
        receipts: list[Receipt] = []
        for on_connect in (greet, hang_up):
            async with ScriptedPeer(on_connect=on_connect) as peer:
                peer.links.clear()
                sink = jsonrpc(peer.address, ssl=certificates.client())
                async with opened(sink):
                    receipts.append(await sink.deliver(EVENT))
        return receipts

    for receipt in run(main):
        assert receipt.outcome is Outcome.UNREACHABLE
        assert receipt.reason.startswith("connect: ")
        assert receipt.reason != "connect: "
        assert receipt.took < 0.4


def test_tls_and_plain_are_two_connections(run: Run, certificates: Certificates) -> None:
    """The TLS context is part of what makes sinks share a connection."""

    async def main() -> tuple[int, int]:
        context = certificates.client()
        async with ScriptedPeer(ssl=certificates.server()) as peer:
            same = [jsonrpc(peer.address, ssl=context, name=name) for name in "ab"]
            other = jsonrpc(peer.address, ssl=certificates.client())
            async with opened(*same):
                for sink in same:
                    assert (await sink.deliver(EVENT)).confirmed
                shared = len(peer.links)
                async with opened(other):
                    assert (await other.deliver(EVENT)).confirmed
                return shared, len(peer.links)

    assert run(main) == (1, 2)


def test_a_tls_peer_that_never_says_goodbye(certificates: Certificates) -> None:
    """A peer that doesn't answer the end of TLS holds no socket of ours for long, and none beyond the loop."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with ScriptedPeer(ssl=certificates.server()) as peer:
            sink = jsonrpc(peer.address, ssl=certificates.client())
            async with opened(sink):
                assert (await sink.deliver(EVENT)).confirmed
                assert sink._connection is not None
                transport = sink._connection._transport
                assert transport is not None
                sock = transport.get_extra_info("socket")
                for link in peer.links:
                    link.transport.pause_reading()
            began = loop.time()
            await until(lambda: sock.fileno() < 0)
            return loop.time() - began

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(asyncio.wait_for(main(), 10)) < 1.5
    gc.collect()


def test_a_server_name_is_checked_where_it_is_declared(certificates: Certificates) -> None:
    """A server name without a context, or one that TLS can't ask for, is refused before anything is opened."""
    with pytest.raises(ConfigError, match="server_name is for TLS"):
        jsonrpc("127.0.0.1:9", server_name="peer.test")
    for name in ("", ".test", "x" * 64, "a..b"):
        with pytest.raises(ConfigError, match="server_name must be a host name or an address"):
            jsonrpc("127.0.0.1:9", server_name=name, ssl=certificates.client())


@pytest.mark.parametrize("given", [True, "ca.pem", ssl.PROTOCOL_TLS_CLIENT])
def test_what_is_no_tls_context_is_refused_where_it_is_declared(given: Any) -> None:
    """`ssl=True` would fail only when connecting; the error says what is expected instead."""
    with pytest.raises(ConfigError, match=r"ssl must be an ssl.SSLContext, e.g. ssl.create_default_context\(\)"):
        jsonrpc("127.0.0.1:9", ssl=given)
