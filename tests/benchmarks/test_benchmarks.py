"""The peers of the benchmarks do what they claim: a figure is worth nothing if an event went missing."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.processes import CLIENT, ROOT, BenchmarkError, Subscriber, build, measure, why_not
from tests.benchmarks.race import Contender, Goal, Race, Settings, in_round
from tests.benchmarks.tables import aligned

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

NAIVE = (sys.executable, "-m", "tests.benchmarks.naive")
BARE = (sys.executable, "-m", "tests.benchmarks.bare")
FIGURES = {"events", "seconds", "events_per_second", "p50_us", "p99_us", "p999_us", "cpu_us_per_event"}


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    """The C programs, compiled without a warning."""
    build()


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    """One that confirms everything."""
    with Subscriber() as running:
        yield running


def connect(subscriber: Subscriber) -> socket.socket:
    """A connection whose every wait is bounded."""
    return socket.create_connection(("127.0.0.1", subscriber.port), timeout=5)


def reply(request_id: object) -> bytes:
    """What the subscriber answers."""
    return b'{"jsonrpc":"2.0","result":"OK","id":%b}' % json.dumps(request_id).encode()


def receive(connection: socket.socket, length: int) -> bytes:
    """Exactly so many bytes."""
    received = b""
    while len(received) < length:
        chunk = connection.recv(65536)
        assert chunk, f"closed after {len(received)} of {length} bytes"
        received += chunk
    return received


def request(request_id: int, size: int = 64) -> bytes:
    """What the contenders send."""
    call = {"id": request_id, "jsonrpc": "2.0", "method": METHOD, "params": request_params(size)}
    return json.dumps(call, separators=(",", ":")).encode()


@pytest.mark.parametrize("command", [(str(CLIENT),), NAIVE, BARE], ids=["c", "naive", "bare"])
@pytest.mark.parametrize("window", [1, 64])
def test_closed_loop(subscriber: Subscriber, command: tuple[str, ...], window: int) -> None:
    """Each event of a closed loop is sent once, confirmed once and in the figures."""
    arguments = ["--window", str(window), "--events", "2000", "--seconds", "20"]
    figures = measure([*command, str(subscriber.port), *arguments], timeout=20)
    assert set(figures) >= FIGURES
    assert figures["sent"] == figures["answered"] == figures["events"] == 2000
    assert figures["errors"] == figures["lost"] == 0
    assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"]
    counters = subscriber.finish()
    assert counters["requests"] == counters["replied"] == 2000
    assert counters["connections"] == 1


@pytest.mark.parametrize("command", [(str(CLIENT),), NAIVE], ids=["c", "naive"])
def test_open_loop(subscriber: Subscriber, command: tuple[str, ...]) -> None:
    """Events leave at the rate that was asked for, and each is confirmed."""
    arguments = ["--rate", "2000", "--seconds", "0.2", "--warmup", "0.05"]
    figures = measure([*command, str(subscriber.port), *arguments], timeout=20)
    assert set(figures) >= FIGURES
    assert 250 <= figures["events"] <= 420
    assert figures["sent"] == figures["answered"] == subscriber.finish()["replied"]
    assert 300 <= figures["sent"] <= 700  # a machine that is busy ends late


@pytest.mark.parametrize("size", [28, 64, 100, 4096, 65536])
def test_same_bytes(size: int) -> None:
    """The C client and the Python contenders send the same bytes, and the params are as long as they say."""
    printed = subprocess.run([CLIENT, "--print", "--size", str(size)], capture_output=True, check=True).stdout
    assert printed == request(1, size)
    assert len(json.dumps(request_params(size), separators=(",", ":"))) == size


@pytest.mark.parametrize(
    "arguments",
    [
        ("ours", "--window", "8"),
        ("ours", "--window", "8", "--mode", "many", "--premade"),
        ("ours", "--window", "1", "--loop", "uvloop"),
        ("ours", "--rate", "1000"),
        ("ours_blocking", "--threads", "3", "--window", "8"),
        ("ours_blocking", "--threads", "3", "--window", "8", "--mode", "many"),
    ],
    ids=" ".join,
)
def test_ours(subscriber: Subscriber, arguments: tuple[str, ...]) -> None:
    """Every event of ours goes to the first of the two subscribers once, and is confirmed."""
    if "uvloop" in arguments:
        pytest.importorskip("uvloop")
    module, *rest = arguments
    with Subscriber() as second:
        ports = f"{subscriber.port},{second.port}"
        times = ["--seconds", "0.05", "--warmup", "0.01"]
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", "--ports", ports, *rest, *times]
        figures = measure(command, timeout=20)
        assert second.finish()["requests"] == 0
    assert set(figures) >= FIGURES
    assert 0 < figures["events"] <= figures["answered"]
    assert figures["lost"] == figures["errors"] == 0
    assert subscriber.finish()["replied"] == figures["sent"] + 1  # the first one is to be connected


def test_any_segmentation(subscriber: Subscriber) -> None:
    """Requests are told apart by their braces alone: in single bytes, all at once, with the id anywhere or nowhere."""
    tricky = rb'{"id":7,"jsonrpc":"2.0","method":"id","params":{"id":1,"a":"}{\"\\","b":["]",{"c":"\\\""}]}}'
    late = b'{ "method" : "id" , "params" : [ { "id" : 3 } ] , "id" : 8 }\n'
    silent = b'{"id":null,"method":"E"}{"method":"E","params":{"id":4}}'
    named = rb'{"id":"a\"}","method":"E"} {"method":"E","id":2147483647}'
    expected = reply(7) + reply(8) + reply('a"}') + reply(2147483647)
    with connect(subscriber) as connection:
        stream = tricky + late + silent + named
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(stream)):
            connection.sendall(stream[at : at + 1])
        assert receive(connection, len(expected)) == expected
        connection.sendall(stream * 500)
        assert receive(connection, 500 * len(expected)) == 500 * expected
    counters = subscriber.finish()
    assert counters["replied"] == 4 * 501
    assert counters["notifications"] == 2 * 501


def test_large_requests(subscriber: Subscriber) -> None:
    """Requests far larger than one read, cut anywhere, are confirmed in order with the small ones between them."""
    sizes = [65536, 64, 1 << 20, 64, 64, 300_000]
    stream = b"".join(request(at + 1, size) for at, size in enumerate(sizes))
    random_cut = random.Random(20).randrange
    with connect(subscriber) as connection:
        at = 0
        while at < len(stream):
            length = random_cut(1, 200_000)
            connection.sendall(stream[at : at + length])
            at += length
        expected = b"".join(reply(at + 1) for at in range(len(sizes)))
        assert receive(connection, len(expected)) == expected


def test_replies_nobody_takes(subscriber: Subscriber) -> None:
    """A peer that does not read its replies gets all of them once it does."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", subscriber.port))
        count = 30_000
        writer = threading.Thread(target=connection.sendall, args=(b'{"id":1}' * count,))
        writer.start()
        with connect(subscriber) as other:  # is served meanwhile
            other.sendall(b'{"id":2}')
            assert receive(other, len(reply(2))) == reply(2)
        assert receive(connection, count * len(reply(1))) == reply(1) * count
        writer.join()


@pytest.mark.parametrize("garbage", [b"hello", b"[1]", b'"id"', b"}", b"1 {}"])
def test_no_json_object(subscriber: Subscriber, garbage: bytes) -> None:
    """A peer that sends no JSON object is shown the door, others are not."""
    with connect(subscriber) as other, connect(subscriber) as connection:
        connection.sendall(garbage)
        with connection:
            assert connection.recv(1) == b""
        other.sendall(b'{"id":2}')
        assert receive(other, len(reply(2))) == reply(2)


def test_many_connections(subscriber: Subscriber) -> None:
    """Connections are served side by side."""
    connections = [connect(subscriber) for _ in range(300)]
    for at, connection in enumerate(connections):
        connection.sendall(request(at + 1))
    for at, connection in enumerate(connections):
        assert receive(connection, len(reply(at + 1))) == reply(at + 1)
        connection.close()
    assert subscriber.finish()["connections"] == 300


def test_silence_and_reset() -> None:
    """A subscriber can fall silent after some requests, reset all connections after some more, and listen on."""
    with Subscriber("--silent-after", "2", "--reset-held", "3") as subscriber:
        with connect(subscriber) as connection, connect(subscriber) as idle:
            connection.sendall(b"".join(map(request, range(1, 5))))
            assert receive(connection, len(reply(1) + reply(2))) == reply(1) + reply(2)
            connection.sendall(request(5))
            assert subscriber.wait_reset() > 0
            for one in (connection, idle):
                with pytest.raises(ConnectionResetError):
                    one.recv(1)
        connect(subscriber).close()
        counters = subscriber.finish()
    assert (counters["requests"], counters["replied"], counters["resets"]) == (5, 2, 1)


def test_reset_on_signal() -> None:
    """A signal resets all connections, and with --refuse further connects are refused."""
    with Subscriber("--reset-on-signal", "--refuse") as subscriber, connect(subscriber) as connection:
        connection.sendall(request(1))
        assert receive(connection, len(reply(1))) == reply(1)
        os.kill(subscriber.pid, signal.SIGUSR1)
        subscriber.wait_reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connect(subscriber)


def test_black_hole() -> None:
    """A connect to a black hole neither succeeds nor fails."""
    with Subscriber("--black-hole") as subscriber, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", subscriber.port), timeout=0.1)


def test_silence_is_no_success() -> None:
    """A contender that got no reply to some event ends in an error, not in a figure."""
    with (
        Subscriber("--silent-after", "100", "--reset-held", "1") as subscriber,
        pytest.raises(BenchmarkError) as caught,
    ):
        measure([str(CLIENT), str(subscriber.port), "--events", "200"], timeout=20)
    assert "Connection reset" in str(caught.value)


def scripted(folder: Path, name: str, *values: float) -> tuple[str, ...]:
    """The command of a contender that prints the next of its figures at each run."""
    file = folder / name
    file.write_text("\n".join(map(str, values)))
    text = (
        "import json, pathlib, sys; file = pathlib.Path(sys.argv[1]); now, *later = file.read_text().split();"
        "file.write_text(' '.join(later)); print(json.dumps(dict(events_per_second=float(now))))"
    )
    return (sys.executable, "-c", text, str(file))


def test_race_takes_ratios_within_a_round(tmp_path: Path) -> None:
    """Each ratio is of two figures of one round, and a goal is judged by the median."""
    goals = (
        Goal("events_per_second", 1.6),
        Goal("events_per_second", 1.5),
        Goal("events_per_second", 0.6, against="third"),
    )
    race = Race(
        "r",
        "R",
        (
            Contender("c", scripted(tmp_path, "c", 10, 20)),
            Contender("other", scripted(tmp_path, "other", 10, 40), goals=goals),
            Contender("third", scripted(tmp_path, "third", 20, 50)),
        ),
    )
    result = race.run(Settings(rounds=2, say=list[str]().append))
    ratios = result.figures["other"]["ratios"]["events_per_second"]
    assert ratios == {"median": 1.5, "min": 1.0, "max": 2.0, "rounds": [1.0, 2.0]}
    assert [run["events_per_second"] for run in result.figures["c"]["runs"]] == [10, 20]
    assert result.missed == ["r: other: events_per_second is 1.500 of c's, the goal is >= 1.6"]
    assert "1.500 (1.000..2.000)" in result.table[-2]
    assert ">= 1.6 MISSED, >= 1.5 met, >= 0.6 x third met" in result.table[-2]
    assert not result.failures


def test_race_goes_on(tmp_path: Path) -> None:
    """Who breaks off is reported and harms nobody else; who can't run here is left out aloud."""
    race = Race(
        "r",
        "R",
        (
            Contender("c", scripted(tmp_path, "c", 10)),
            Contender("broken", (sys.executable, "-c", "raise SystemExit('out of order')")),
            Contender("absent", (), needs="no_such_module"),
        ),
    )
    said: list[str] = []
    result = race.run(Settings(rounds=1, say=said.append))
    assert result.figures["c"]["runs"] == [{"events_per_second": 10}]
    assert result.figures["broken"]["runs"] == [None]
    assert len(result.failures) == 1
    assert "out of order" in result.failures[0]
    assert "absent" not in result.figures
    assert "r: absent left out, no_such_module is not installed" in said


def test_rounds_rotate() -> None:
    """Every contender is first once in as many rounds as there are contenders, and each runs in each round."""
    contenders = [Contender(name, ()) for name in "abc"]
    orders = ["".join(one.name for one in in_round(contenders, turn)) for turn in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_table() -> None:
    """Names stand to the left, figures to the right, and a column that nobody fills is left out."""
    assert aligned(["", "a", "b"], [["x", "1", ""], ["long", "23", ""]]) == [
        "       a",
        "--------",
        "x      1",
        "long  23",
    ]


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    """The one command prints tables and writes the machine, every raw figure and the ratios."""
    file = tmp_path / "figures.json"
    arguments = ["--rounds", "1", "--seconds", "0.05", "--only", "one-in-flight", "--json", str(file)]
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Latency with one in flight" in done.stdout
    report = json.loads(file.read_text())
    assert report["machine"]["python"]
    assert list(report["sections"]) == ["one-in-flight"]
    figures = report["sections"]["one-in-flight"]["figures"]
    for name in ("c", "naive", "await asyncio"):
        assert figures[name]["runs"][0]["events"] > 0
    assert figures["naive"]["ratios"]["p50_us"]["median"] > 0


def test_command_refuses_unknown_names(tmp_path: Path) -> None:
    """Asking for something that isn't there is an error, not an empty report."""
    command = [sys.executable, "-m", "tests.benchmarks", "--only", "nothing", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing is named nothing" in done.stderr
    assert not (tmp_path / "figures.json").exists()
