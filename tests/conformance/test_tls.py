"""A subscriber that speaks TLS is examined as any other, and what is wrong with the TLS is said."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner

from failover.cli.app import app
from failover.conformance import UnreachableError, Verdict, examine
from failover.subscriber import Subscriber

SETTINGS: dict[str, Any] = {"method": "echo", "params": {"a": 1}, "timeout": 2.0, "quiet": 0.02, "idle": 0.05}


def echo(params: Any) -> Any:
    """Return the params."""
    return params


@pytest.fixture
def authority() -> Any:
    """Who has signed the subscriber's certificate; its types are not all known."""
    return trustme.CA()


@pytest.fixture
def port(authority: Any) -> Iterator[int]:
    """Where a subscriber serves TLS on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    subscriber = Subscriber(drain=0, ssl_context=context)
    subscriber.method("echo")(echo)
    with subscriber.blocking():
        yield subscriber.address[1]


@pytest.mark.slow
def test_every_clause_but_half_closed_ones(authority: Any, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """All clauses are passed over TLS, but those that close one side alone; nothing goes wrong unseen either."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    report = examine("127.0.0.1", port, skip=["11.3"], ssl=context, **SETTINGS)
    assert report.ok, report.explain()
    others = {result.id: result.verdict for result in report.results if result.verdict is not Verdict.PASS}
    assert others == {"9.4-half-closed": Verdict.SKIP, "9.5-closed-after": Verdict.SKIP}
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_certificate_that_nobody_trusts(port: int) -> None:
    """It's told as what it is, before any clause."""
    with pytest.raises(UnreachableError, match=r"no connection: TLS: self-signed|no connection: TLS: unable to get"):
        examine("127.0.0.1", port, only=["1"], ssl=ssl.create_default_context(), **SETTINGS)


def test_the_command(authority: Any, port: int, tmp_path: Path) -> None:
    """`--ca` trusts a file's certificates, `--insecure` any, `--tls` the system's, which haven't signed this one."""
    pem, empty = tmp_path / "ca.pem", tmp_path / "empty.pem"
    pem.write_bytes(authority.cert_pem.bytes())
    empty.write_text("")

    def run(*words: str) -> tuple[int, str]:
        command = ["conformance", f"127.0.0.1:{port}", "--method", "echo", "--only", "1.1", *words]
        done = CliRunner().invoke(app, command)
        return done.exit_code, done.output

    assert run("--ca", str(pem))[0] == 0
    assert run("--insecure")[0] == 0
    assert run("--tls")[0] == 2
    assert "TLS" in run("--tls")[1]
    code, said = run("--ca", str(empty))
    assert code == 2
    assert "no certificates in PEM" in said
    assert run("--ca", str(tmp_path / "none.pem"))[0] != 0
    assert run()[0] == 1  # a plain connection is closed by who expects TLS
