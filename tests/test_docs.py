"""Everything shown in README and docs is run: Python blocks in the order of their page, and what they print; commands.

Blocks of a page share their names, as in a notebook; `await` stands at the top, as in `python -m asyncio`. A fence
without a language is a drawing. Comments that readers don't see say what a block needs:

- `<!-- subscribers: 10.0.0.5:8080; 10.0.0.6:8080 down -->` starts subscribers on loopback; from there on, code and
  output that name such an address mean them. They confirm, or do what stands beside the address, see `BEHAVIOURS`.
- `<!-- as a program -->`: the next block is run by an interpreter of its own.
- `<!-- file: name -->`: the next block is that file, in the directory where commands run.
- `<!-- numbers vary -->`: the next output is compared without its numbers. (Durations are never compared.)
- `<!-- not run: why -->`: the next block isn't run; `NOT_RUN` says how many there are.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import itertools
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import pytest
import trustme
from attrs import field, frozen

from failover import schemes
from failover.adapters.prometheus import Metrics
from failover.errors import AddressError
from failover.schemes import parse_address
from failover.subscriber import Request, RpcError, Subscriber

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = {"docs/command-line.md", "docs/testing/drill.md", "docs/testing/simulation.md"}  # many commands, many seeds
NOT_RUN = {"README.md": 2}  # both are run by .ci/run, word for word, on a copy of the checkout


@frozen
class Block:
    """One fenced block of a page.

    Args:
        place: File and line of its fence, as `docs/page.md:12`.
        line: That line, 1 first.
        language: What stands behind the fence.
        text: What it holds.
        notes: The comments since the block before it.
    """

    place: str
    line: int
    language: str
    text: str
    notes: tuple[str, ...] = ()


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    name = str(path.relative_to(ROOT))
    notes: list[str] = []
    fence: re.Match[str] | None = None
    begun, held = 0, list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = re.fullmatch(r"(?P<indent> *)(?P<ticks>```+)(?P<language>.*)", line)
        if fence is None and found:
            fence, begun, held = found, number, []
        elif fence is not None and found and found["ticks"] == fence["ticks"] and not found["language"]:
            indent = len(fence["indent"])
            yield Block(
                f"{name}:{begun}",
                begun,
                fence["language"].strip(),
                "".join(f"{each[indent:]}\n" for each in held),
                tuple(notes),
            )
            fence, notes = None, []
        elif fence is not None:
            held.append(line)
        elif note := re.fullmatch(r" *<!-- (.*) -->", line):
            notes.append(note[1])
    assert fence is None, f"{name}:{begun}: this fence is never closed"


# What subscribers do, by the word beside their address.


def _confirm(words: list[str]) -> Callable[[Request], object]:
    return lambda _: " ".join(words) or None


def _refuse(words: list[str]) -> Callable[[Request], object]:
    def refuse(_: Request) -> object:
        raise RpcError(int(words[0]), " ".join(words[1:]) or "refused")

    return refuse


def _slow(words: list[str]) -> Callable[[Request], object]:
    return lambda _: asyncio.sleep(float(words[0]))


def _silent(_: list[str]) -> Callable[[Request], object]:
    return lambda _: asyncio.get_running_loop().create_future()


BEHAVIOURS = {"confirms": _confirm, "refuses": _refuse, "slow": _slow, "silent": _silent, "tls": _confirm}


def _start(stack: contextlib.ExitStack, place: str, words: list[str]) -> str:
    """Have a place on loopback do what the words say; its address."""
    port = int(place.rpartition(":")[2])
    behaviour, *rest = words
    if behaviour in {"down", "ours"}:  # a port that refuses, and one that the page itself listens on
        with contextlib.ExitStack() as kept:
            held = kept.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", port))
            if behaviour == "down":
                stack.push(kept.pop_all())
            return f"127.0.0.1:{held.getsockname()[1]}"
    context = _certified() if behaviour == "tls" else None
    subscriber = Subscriber("127.0.0.1", port, in_order=False, drain=0, ssl_context=context)
    subscriber.default(whole=True)(BEHAVIOURS[behaviour](rest))
    stack.enter_context(subscriber.blocking())
    stack.callback(_settle, subscriber)
    return subscriber.socket.removeprefix("jsonrpc:")


def _settle(subscriber: Subscriber) -> None:
    """Wait until all connections so far are taken: asyncio leaves one open that it is just taking when it closes."""
    with socket.create_connection(subscriber.address) as last, contextlib.suppress(ConnectionError):
        last.sendall(b"{}      ")  # is refused at once, by what speaks TLS too
        last.recv(1)


@frozen
class Stage:
    """Where one page plays: its subscribers, its names, what runs beside it.

    Args:
        stack: Ends what was started.
        ports: The real `host:port` of each address that the page names.
        playing: What ends the subscriber there.
        names: The globals of its Python blocks.
    """

    stack: contextlib.ExitStack
    ports: dict[str, str] = field(factory=dict[str, str])
    playing: dict[str, contextlib.ExitStack] = field(factory=dict[str, contextlib.ExitStack])
    names: dict[str, Any] = field(factory=lambda: dict[str, Any](__name__="__main__"))

    def cast(self, text: str) -> None:
        """Start the subscribers that a comment names; one that plays already is ended, and keeps its port."""
        for part in text.split(";"):
            shown, *words = part.split()
            if shown in self.playing:
                self.playing.pop(shown).close()
            own = self.playing[shown] = self.stack.enter_context(contextlib.ExitStack())
            self.ports[shown] = _start(own, self.ports.get(shown, "127.0.0.1:0"), words or ["confirms"])

    def real(self, text: str) -> str:
        """Code or a command with the addresses that the page's subscribers really have."""
        for shown, real in self.ports.items():
            host, port = shown.rsplit(":", 1)
            text = re.sub(rf"(?<![\w.]){re.escape(shown)}(?!\d)", real, text)
            text = re.sub(rf'"{re.escape(host)}", {port}\b', f'"127.0.0.1", {real.rsplit(":", 1)[1]}', text)
        return text

    def local(self, text: str) -> str:
        """The same for what runs in a process of its own, where nothing else keeps it from leaving this machine."""
        text = self.real(text)
        assert not (far := re.search(r"\b(?!127\.)\d+\.\d+\.\d+\.\d+:\d+", text)), f"nobody plays {far[0]}"
        return text

    def shown(self, text: str) -> str:
        """Output with the addresses that the page shows."""
        for shown, real in self.ports.items():
            text = text.replace(real, shown)
        return text

    def python(self, block: Block) -> str:
        """Run a block; what it prints, and the exception that ends it."""
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile("\n" * block.line + self.real(block.text), block.place, "exec", flags, dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                begun = FunctionType(code, self.names)()
                if inspect.iscoroutine(begun):
                    asyncio.run(begun)
            except Exception as error:  # noqa: BLE001  # raised again, unless the page shows it
                printed.write(f"{type(error).__name__}: {error}\n")
                error.add_note(f"while {block.place} ran")
                self.names["__error__"] = error
        return self.shown(printed.getvalue())

    def program(self, block: Block) -> str:
        """Run a block in an interpreter of its own; what it prints."""
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", self.local(block.text)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{block.place}\n{ended.stderr}"
        return self.shown(ended.stdout)

    def console(self, block: Block) -> None:
        """Run commands and compare what follows each of them; `failover listen` runs until the page's end."""
        status = 0
        for words, expected in _commands(block):
            if words == ["echo", "$?"]:
                compare(block, f"{status}\n", expected)
                continue
            if words[:2] == ["sed", "-i"]:  # a reader's editor
                subprocess.run(words, check=True)
                continue
            assert words[0] == "failover", f"{block.place}: only failover and 'echo $?' are run here, not {words}"
            cast = self.local if words[1] == "send" else self.real  # the others connect to nobody
            command = [sys.executable, "-m", "failover.cli", *map(cast, words[1:])]
            process = self.stack.enter_context(
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"},
                )
            )
            if words[1] == "listen":
                assert process.stdout is not None
                heard = process.stdout.readline()
                self.stack.callback(self._listened, process, block, heard, expected)
                continue
            printed, _ = process.communicate(timeout=60)
            status = process.returncode
            compare(block, self.shown(printed), expected)

    def _listened(self, process: subprocess.Popen[str], block: Block, heard: str, expected: str) -> None:
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        compare(block, self.shown(heard + printed), expected)


def _commands(block: Block) -> Iterator[tuple[list[str], str]]:
    for part in re.split(r"^\$ ", block.text.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield shlex.split(command), output


def _certified() -> ssl.SSLContext:
    """A server's context, for mutual TLS; the files that its clients need are left in the working directory."""
    ca = cast("Any", trustme.CA())  # its types are not all known
    ca.cert_pem.write_to_path("ca.pem")
    ca.issue_cert("client.example.org").private_key_and_cert_chain_pem.write_to_path("client.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.issue_cert("sip.example.org").configure_cert(context)
    ca.configure_trust(context)
    return context


def compare(block: Block, actual: str, expected: str) -> None:
    """Output is what the page shows; `...` there stands for anything (a line of it for none too), durations vary."""
    vary = "numbers vary" in block.notes
    parts = re.split(r"\n\.{3}(?=\n)|\.{3}", expected.strip())
    pattern = ".*?".join(re.escape(_plain(part, vary=vary)) for part in parts)
    if not re.fullmatch(pattern, _plain(actual.strip(), vary=vary), re.DOTALL):
        pytest.fail(f"{block.place} shows\n\n{expected}\n\nbut this is printed:\n\n{actual}", pytrace=False)


def _plain(text: str, *, vary: bool) -> str:
    text = re.sub(r"\d+\.\d+ (ms|s)\b", r"0.0 \1", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d 127\.0\.0\.1:\d+", "TIME PEER", text)
    text = re.sub(r'("(?:began|took)": )[\d.e-]+', r"\g<1>0.0", text)
    return re.sub(r" *\d+(\.\d+)?", " 0", re.sub("─+", "─", text)) if vary else text


def play(path: Path) -> None:
    """Run a page."""
    found = list(blocks(path))
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        for block, after in itertools.zip_longest(found, found[1:]):
            if after is not None and after.language == "text":
                assert block.language == "python", f"{after.place}: the output of what?"
            for note in block.notes:
                if note.startswith("subscribers: "):
                    stage.cast(note.removeprefix("subscribers: "))
            if not _reason(block):
                _run(stage, block, after)


def _run(stage: Stage, block: Block, after: Block | None) -> None:
    files = [note.removeprefix("file: ") for note in block.notes if note.startswith("file: ")]
    if files:
        Path(files[-1]).write_text(block.text, encoding="utf-8")
        return
    match block.language:
        case "python":
            stage.names.pop("__error__", None)
            printed = stage.program(block) if "as a program" in block.notes else stage.python(block)
            if after is not None and after.language == "text":
                compare(after, printed, after.text)
            elif "__error__" in stage.names:
                raise stage.names["__error__"]
            else:
                assert not printed, f"{block.place} prints what the page doesn't show:\n{printed}"
        case "console":
            stage.console(block)
        case "toml":
            tomllib.loads(block.text)
        case "yaml":
            _check_rules(block)
        case "":
            _parse_subscriptions(block)
        case "text" | "{eval-rst}" | "{toctree}":  # compared above; Sphinx's own
            pass
        case other:
            pytest.fail(f"{block.place}: a block of {other!r} can't be run; say why not, or how", pytrace=False)


def _check_rules(block: Block) -> None:
    """Rules for Prometheus; each metric that they name is one of ours."""
    families = [family.name for family in Metrics(None).describe()]
    ours = {f"{family}{ending}" for family in families for ending in ("", "_total", "_count")}
    assert (named := set(re.findall(r"\bfailover_\w+", block.text))) <= ours, f"{block.place}: {named - ours}"


def _parse_subscriptions(block: Block) -> None:
    """A drawing; if it is a piece of an OpenSIPS configuration, its sockets are addresses here too."""
    for address in re.findall(r'subscribe_event\("\w+", *"([^"]+)"', block.text):
        try:
            parse_address(address)
        except AddressError as error:
            pytest.fail(f"{block.place}: {error}", pytrace=False)


def _reason(block: Block) -> str:
    return next((note.removeprefix("not run: ") for note in block.notes if note.startswith("not run: ")), "")


def _params() -> Iterator[Any]:
    for path in PAGES:
        name = str(path.relative_to(ROOT))
        yield pytest.param(path, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize("path", list(_params()))
def test_page(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page shows can be run, and prints what stands there."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        assert str(address[0]) in {"127.0.0.1", "::1"}, f"a page connects to {address}, where nobody plays"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(schemes, "_registry", dict(schemes._registry))  # pyright: ignore[reportPrivateUsage]  # a page may add one
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # a page's files can be imported by its other blocks
    play(path)


def test_what_is_not_run() -> None:
    """No block is left out but those that are known, and each says why."""
    left_out = {str(path.relative_to(ROOT)): sum(bool(_reason(block)) for block in blocks(path)) for path in PAGES}
    assert {name: number for name, number in left_out.items() if number} == NOT_RUN


def test_a_block_after_an_output_that_differs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that shows another output than is printed, or an error that it doesn't show, fails."""
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "page.md"
    for text in ("print(1)\n```\n\n```text\n2", "print(1)", "1 / 0", "1 / 0\n```\n\n```text\nKeyError: 1"):
        page.write_text(f"```python\n{text}\n```\n")
        with pytest.raises((AssertionError, ZeroDivisionError, pytest.fail.Exception)):
            play(page)
    page.write_text("```python\nprint(1)\n1 / 0\n```\n\n```text\n1\nZeroDivisionError: division by zero\n```\n")
    play(page)
