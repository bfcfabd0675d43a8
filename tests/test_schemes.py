"""The registry of schemes, and from addresses to sinks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from failover import schemes
from failover.address import Address, SocketAddress, Span, parse_socket
from failover.build import build
from failover.errors import AddressError, ConfigError
from failover.schemes import Defaults, Scheme, find, parse_address, parsers, register
from failover.sink import Sink
from failover.sinks.jsonrpc import JsonRpcSink
from failover.strategies import Failover, Parallel, RoundRobin
from tests.doubles import PlainSink


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(schemes, "_registry", dict(schemes._registry))  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(schemes, "_searched", set(schemes._searched))  # pyright: ignore[reportPrivateUsage]


def parse(scheme: str, rest: Span) -> Address:
    """Any host and port."""
    return parse_socket(scheme, rest)


def make(address: Address, defaults: Defaults) -> Sink:
    """A double named after its address."""
    return PlainSink(f"{address} {defaults.timeout}")


def test_register_and_find() -> None:
    """A scheme that is registered parses, prints back and makes sinks, also inside a virtual subscriber."""
    scheme = Scheme("carrier", parse, make)
    assert find("carrier") is None
    with pytest.raises(AddressError):
        parse_address("carrier:host:1")
    register(scheme)
    register(scheme)  # the same once more is no conflict
    assert find("carrier") is scheme
    assert "carrier" in parsers()
    address = parse_address("carrier:host:1")
    assert str(address) == "carrier:host:1"
    assert build(address, Defaults(timeout=3)).name == "carrier:host:1 3"
    tree = build(parse_address("virtual:FAILOVER carrier:host:1 jsonrpc:host:2"))
    assert isinstance(tree, Failover)
    assert [type(child) for child in tree.declared] == [PlainSink, JsonRpcSink]


def test_conflicts() -> None:
    """Two schemes of one name can't both be there."""
    with pytest.raises(ConfigError, match="the scheme 'jsonrpc' is there already; two distributions can't both add it"):
        register(Scheme("jsonrpc", parse, make))


def distribution(folder: Path, points: str, code: str) -> None:
    """An installed distribution with entry points, as pip leaves it."""
    info = folder / "carrier_pigeon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier-pigeon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[failover.schemes]\n{points}\n")
    (folder / "carrier_pigeon_for_tests.py").write_text(code)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path for another distribution."""
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]
    monkeypatch.delitem(sys.modules, "carrier_pigeon_for_tests", raising=False)
    schemes._searched.clear()  # pyright: ignore[reportPrivateUsage]
    return tmp_path


CODE = """
from failover.address import parse_socket
from failover.schemes import Scheme
pigeon = Scheme("pigeon", parse_socket, None)
wrong = 5
"""


def test_entry_points(installed: Path) -> None:
    """Another distribution adds a scheme by being installed."""
    distribution(installed, "pigeon = carrier_pigeon_for_tests:pigeon", CODE)
    assert str(parse_address("virtual:FAILOVER pigeon:loft:1 jsonrpc:a:2")) == (
        "virtual:FAILOVER pigeon:loft:1 jsonrpc:a:2"
    )
    scheme = find("pigeon")
    assert scheme is not None
    assert scheme.name == "pigeon"


@pytest.mark.parametrize("point", ["pigeon = carrier_pigeon_for_tests:wrong", "dove = carrier_pigeon_for_tests:pigeon"])
def test_bad_entry_points(installed: Path, point: str) -> None:
    """What doesn't lead to a scheme of its name is told by name, not used, and told again."""
    distribution(installed, point, CODE)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"the entry point '(pigeon|dove)' of failover.schemes must lead to"):
            parse_address("pigeon:loft:1")


def test_build_sockets() -> None:
    """Both spellings make the same kind of sink, with what the defaults say and the address's own name."""
    defaults = Defaults(timeout=0.25, confirm=False, event_param="event", id_param="ref", null_id=False)
    for text in ("jsonrpc:10.0.0.5:8080/cdr", "tcp:[::1]:8080"):
        sink = build(parse_address(text), defaults)
        assert isinstance(sink, JsonRpcSink)
        assert sink.name == text
        assert (sink.timeout, sink.confirm) == (0.25, False)
        dialect = sink.dialect
        assert (dialect.event_param, dialect.id_param, dialect.null_id) == ("event", "ref", False)


@pytest.mark.parametrize(
    ("policy", "kind"), [("FAILOVER", Failover), ("PARALLEL", Parallel), ("ROUND-ROBIN", RoundRobin)]
)
def test_build_virtual(policy: str, kind: type[Failover | Parallel | RoundRobin]) -> None:
    """Each policy makes its strategy, named by its text, over its sockets in order."""
    text = f"virtual:{policy} jsonrpc:a:1 tcp:b:2/m"
    sink = build(parse_address(text), Defaults(quarantine=7))
    assert isinstance(sink, (Failover, Parallel, RoundRobin))
    assert type(sink) is kind
    assert sink.name == text
    assert [str(getattr(child, "name", child)) for child in sink.declared] == ["jsonrpc:a:1", "tcp:b:2/m"]
    if isinstance(sink, Parallel):
        assert sink.need == 2
    else:
        assert sink.quarantine == 7


def test_unknown_schemes_can_not_be_built() -> None:
    """An address made by hand, of a scheme that nobody registered, is one clear error."""
    with pytest.raises(ConfigError, match="no scheme 'smoke' is registered; it is needed for smoke:a:1"):
        build(SocketAddress("smoke", "a", 1, None))


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"timeout": -1}, {"quarantine": -1}, {"event_param": ""}, {"id_param": ""}]
)
def test_bad_defaults(settings: dict[str, float]) -> None:
    """Told where they are given, not when a group opens."""
    with pytest.raises(ConfigError, match="must be a"):
        Defaults(**settings)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
