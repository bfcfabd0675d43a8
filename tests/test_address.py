"""Addresses: what is accepted means one tree and prints back; what isn't is one error at its true position."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from failover.address import SCHEMES, Address, SocketAddress, SocketParser, Span, one_of, parse_socket
from failover.errors import AddressError, ConfigError
from failover.grammar import VirtualAddress, parse
from failover.policy import OPENSIPS, POLICIES

HOST = "a host name, an IPv4 address, or an IPv6 address in brackets"
PORT = "a port from 1 to 65535"
POLICY = one_of(POLICIES)
IPV4 = "four numbers from 0 to 255, as in 127.0.0.1"
LABEL = "1 to 63 letters, digits, '_' or '-', no '-' first or last"


def local(port: int, method: str | None = None, scheme: str = "jsonrpc") -> SocketAddress:
    """A socket on the loopback."""
    return SocketAddress(scheme, "127.0.0.1", port, method)


# Each answered "OK" by real OpenSIPS 2.4 and 3.0 (`jsonrpc:`) and 4.1-dev (`tcp:`), as its modules document.
ACCEPTED_REST = [
    ("127.0.0.1:9000", "127.0.0.1", 9000, None),
    ("127.0.0.1:9000/m", "127.0.0.1", 9000, "m"),
    ("127.0.0.1:9000/a/b", "127.0.0.1", 9000, "a/b"),
    ("127.0.0.1:9000/my method", "127.0.0.1", 9000, "my method"),
    ("127.0.0.1:9000//", "127.0.0.1", 9000, "/"),
    ("127.0.0.1:65535", "127.0.0.1", 65535, None),
    ("localhost:9000/m", "localhost", 9000, "m"),
    ("0.0.0.0:9000", "0.0.0.0", 9000, None),  # noqa: S104 (an address to send to is nothing that listens)
    # OpenSIPS can't: it has no IPv6, and it resolves names when it subscribes; here that happens when a group opens.
    ("[::1]:9000/m", "::1", 9000, "m"),
    ("[2001:db8::7]:1", "2001:db8::7", 1, None),
    ("[fe80::1%eth0]:8080", "fe80::1%eth0", 8080, None),
    ("no.such.host.invalid:9000/m", "no.such.host.invalid", 9000, "m"),
    ("app_1.sip-core.example.:9000", "app_1.sip-core.example.", 9000, None),
    ("a:1/ü €", "a", 1, "ü €"),
    ("a:1/m ", "a", 1, "m "),
]


@pytest.mark.parametrize("scheme", ["jsonrpc", "tcp"])
@pytest.mark.parametrize(("rest", "host", "port", "method"), ACCEPTED_REST)
def test_socket_parses_and_prints_back(scheme: str, rest: str, host: str, port: int, method: str | None) -> None:
    """A socket in either spelling becomes its parts, and its parts become the very same text."""
    text = f"{scheme}:{rest}"
    assert parse(text) == SocketAddress(scheme, host, port, method)
    assert str(parse(text)) == text


def test_empty_method_is_no_method() -> None:
    """After `host:port/` OpenSIPS sends the event's name as the method, as it does without the slash."""
    assert parse("jsonrpc:127.0.0.1:9000/") == local(9000)
    assert str(parse("tcp:127.0.0.1:9000/")) == "tcp:127.0.0.1:9000"
    assert SocketAddress("tcp", "a", 1, "").method is None


@pytest.mark.parametrize(
    ("text", "policy", "children"),
    [
        (
            "virtual:FAILOVER jsonrpc:127.0.0.1:9000/m1 jsonrpc:127.0.0.1:9001/m2",
            "FAILOVER",
            [local(9000, "m1"), local(9001, "m2")],
        ),
        ("virtual:ROUND-ROBIN tcp:127.0.0.1:9000", "ROUND-ROBIN", [local(9000, scheme="tcp")]),
        ("virtual:PARALLEL jsonrpc:127.0.0.1:9000 jsonrpc:127.0.0.1:9000", "PARALLEL", [local(9000), local(9000)]),
        (
            "virtual:PARALLEL jsonrpc:127.0.0.1:1 tcp:127.0.0.1:2",
            "PARALLEL",
            [local(1), local(2, scheme="tcp")],
        ),
    ],
)
def test_virtual_parses_and_prints_back(text: str, policy: str, children: list[Address]) -> None:
    """A virtual socket is its policy and its sockets in order, of any scheme, and prints as the same text."""
    assert parse(text) == VirtualAddress(policy, children)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "virtual:PARALLEL\tjsonrpc:127.0.0.1:9000\tjsonrpc:127.0.0.1:9001",
        "virtual: PARALLEL jsonrpc:127.0.0.1:9000 jsonrpc:127.0.0.1:9001",
        "virtual:PARALLEL \t jsonrpc:127.0.0.1:9000   jsonrpc:127.0.0.1:9001/\t ",
    ],
)
def test_any_run_of_blanks_separates(text: str) -> None:
    """Spaces and tabs separate in any number, as in OpenSIPS; printing leaves single spaces."""
    assert str(parse(text)) == "virtual:PARALLEL jsonrpc:127.0.0.1:9000 jsonrpc:127.0.0.1:9001"


ONE_OF_ALL = "jsonrpc:, tcp: or virtual:, in lower case"

BAD = [
    # OpenSIPS refuses these too.
    ("", 0, "no scheme", ONE_OF_ALL),
    (":", 0, "no scheme", ONE_OF_ALL),
    ("JSONRPC:127.0.0.1:9000", 0, "unknown scheme 'JSONRPC'", ONE_OF_ALL),
    ("foo:127.0.0.1:9000", 0, "unknown scheme 'foo'", ONE_OF_ALL),
    ("127.0.0.1:9000", 0, "unknown scheme '127.0.0.1'", ONE_OF_ALL),
    (" jsonrpc:127.0.0.1:9000", 0, "unknown scheme ' jsonrpc'", ONE_OF_ALL),
    ("jsonrpc:127.0.0.1:0/m", 18, "port 0 with a 0 first", PORT),
    ("jsonrpc:127.0.0.1:65536", 18, "port 65536 is out of range", PORT),
    ("jsonrpc:127.0.0.1:-1", 18, "'-' in a port", PORT),
    ("jsonrpc:127.0.0.1:80x", 20, "'x' in a port", PORT),
    ("jsonrpc:127.0.0.1: 9000", 18, "' ' in a port", PORT),
    ("jsonrpc:127.0.0.1:00009000", 18, "port 00009000 with a 0 first", PORT),
    ("jsonrpc:127.0.0.1", 17, "no port after the host", f"a colon and {PORT}"),
    ("jsonrpc:127.0.0.1/m", 17, "no port after the host", f"a colon and {PORT}"),
    ("jsonrpc:127.0.0.1:", 18, "no port", PORT),
    ("jsonrpc:127.0.0.1:/m", 18, "no port", PORT),
    ("jsonrpc::9000", 8, "no host", HOST),
    ("jsonrpc:", 8, "no host", HOST),
    ("jsonrpc: 127.0.0.1:9000", 8, "' ' in a host", HOST),
    ("jsonrpc:256.1.1.1:9000/m", 8, "'256.1.1.1' is no IPv4 address", IPV4),
    ("jsonrpc:::1:9000/m", 9, "a second colon", "host:port, an IPv6 address in brackets as in [::1]:8080"),
    ("virtual:", 8, "no policy", POLICY),
    ("virtual: \t", 10, "no policy", POLICY),
    ("virtual", 7, "nothing after 'virtual'", "a colon and the rest of the address"),
    ("virtual:failover jsonrpc:127.0.0.1:9000", 8, "unknown policy 'failover'", POLICY),
    ("virtual:ROUNDROBIN jsonrpc:127.0.0.1:9000", 13, "unknown policy 'ROUNDROBIN'", POLICY),
    # OpenSIPS accepts these by accident, or dies of them.
    ("jsonrpc", 7, "nothing after 'jsonrpc'", "a colon and the rest of the address"),
    ("tcp", 3, "nothing after 'tcp'", "a colon and the rest of the address"),
    ("jsonrpc:127.0.0.1:9000 ", 22, "' ' in a port", PORT),
    ("jsonrpc:127.0.0.1:65537", 18, "port 65537 is out of range", PORT),
    ("tcp:127.0.0.1:99999", 14, "port 99999 is out of range", PORT),
    (f"tcp:a:{'9' * 5000}", 6, f"port {'9' * 5000} is out of range", PORT),
    ("jsonrpc:127.1:9000", 8, "'127.1' is no IPv4 address", IPV4),
    ("jsonrpc:127.0.0.01:9000", 8, "'127.0.0.01' is no IPv4 address", IPV4),
    ("virtual:FAILOVER", 16, "no socket after the policy", "at least one, such as jsonrpc:host:port"),
    ("virtual:FAILOVER ", 17, "no socket after the policy", "at least one, such as jsonrpc:host:port"),
    ("virtual:PARALLELx jsonrpc:127.0.0.1:9000", 16, "unknown policy 'PARALLELx'", POLICY),
    ("virtual:PARALLEL foo:1", 17, "unknown scheme 'foo'", "jsonrpc: or tcp:, in lower case"),
    ("virtual:PARALLEL jsonrpc:127.0.0.1:0", 35, "port 0 with a 0 first", PORT),
    (
        "virtual:FAILOVER virtual:PARALLEL jsonrpc:127.0.0.1:9000",
        17,
        "virtual: inside virtual:",
        "a strategy in parentheses: (POLICY socket …)",
    ),
    # Positions hold in the whole text, here inside the third socket.
    ("virtual:FAILOVER  tcp:a:1\ttcp:b:2 tcp:c-:3", 38, "'c-' as a part of a host name", LABEL),
    ("virtual:FAILOVER tcp:a:1 tcp:b:2/m tcp:c:3x/m", 42, "'x' in a port", PORT),
    ("virtual:FAILOVER tcp:a:1 tcp:b:2 tcp", 36, "nothing after 'tcp'", "a colon and the rest of the address"),
    # Hosts and methods.
    ("tcp:exa$mple:1", 7, "'$' in a host", HOST),
    ("tcp:bücher.example:1", 5, "'ü' in a host", HOST),
    ("tcp:a..b:1", 6, "'' as a part of a host name", LABEL),
    ("tcp:.:1", 4, "'' as a part of a host name", LABEL),
    ("tcp:a.-b:1", 6, "'-b' as a part of a host name", LABEL),
    (f"tcp:a.{'b' * 64}:1", 6, f"'{'b' * 64}' as a part of a host name", LABEL),
    (f"tcp:{'a.' * 127}a:1", 257, "a host name of 255 characters", "at most 253"),
    ("tcp:[::1:80", 11, "no ']' after the IPv6 address", "']', a colon and a port"),
    ("tcp:[]:80", 5, "'' is no IPv6 address", "one as in [::1] or [2001:db8::7]"),
    ("tcp:[127.0.0.1]:80", 5, "'127.0.0.1' is no IPv6 address", "one as in [::1] or [2001:db8::7]"),
    ("tcp:[fe80::1%]:80", 12, "'%' is no zone", "an interface, as in [fe80::1%eth0]"),
    ("tcp:[fe80::1%a b]:80", 12, "'%a b' is no zone", "an interface, as in [fe80::1%eth0]"),
    ("tcp:[::1]", 9, "no port after the host", f"a colon and {PORT}"),
    ("tcp:[::1]80", 9, "no port after the host", f"a colon and {PORT}"),
    ("tcp:a:1/m\n", 9, "'\\n' in a method", "text without control characters or lone surrogates"),
    ("tcp:a:1/m\ud800", 9, "'\\ud800' in a method", "text without control characters or lone surrogates"),
]


@pytest.mark.parametrize(("text", "position", "problem", "expected"), BAD)
def test_bad_address_is_one_clear_error(text: str, position: int, problem: str, expected: str) -> None:
    """What doesn't fit is named, at its position in the whole text, with what was expected there."""
    with pytest.raises(AddressError) as caught:
        parse(text)
    error = caught.value
    assert (error.text, error.position, error.problem, error.expected) == (text, position, problem, expected)
    assert isinstance(error, ConfigError)


def test_error_points_at_the_place() -> None:
    """Printed, the error shows the text with a mark below the character that doesn't fit."""
    with pytest.raises(AddressError) as caught:
        parse("jsonrpc:127.0.0.1:80x")
    assert str(caught.value).splitlines() == [
        "'x' in a port at position 20; expected a port from 1 to 65535",
        "  jsonrpc:127.0.0.1:80x",
        "                      ^",
    ]


@pytest.mark.parametrize(
    ("scheme", "host", "port", "method", "problem"),
    [
        ("", "a", 1, None, "scheme '' for a socket"),
        ("virtual", "a", 1, None, "scheme 'virtual' for a socket"),
        ("Json", "a", 1, None, "'J' in a scheme"),
        ("1a", "a", 1, None, "'1' in a scheme"),
        ("a:b", "a", 1, None, "':' in a scheme"),
        ("tcp", "", 1, None, "no host"),
        ("tcp", "a b", 1, None, "' ' in a host"),
        ("tcp", "[::1]", 1, None, "'[::1]' is no IPv6 address"),
        ("tcp", "a", 0, None, "port 0 with a 0 first"),
        ("tcp", "a", -1, None, "'-' in a port"),
        ("tcp", "a", 70000, None, "port 70000 is out of range"),
        ("tcp", "a", 1, "m\0", "'\\x00' in a method"),
    ],
)
def test_socket_that_has_no_text_is_refused(
    scheme: str, host: str, port: int, method: str | None, problem: str
) -> None:
    """A socket made from parts obeys the same rules as one that was parsed: every one that exists can be printed."""
    with pytest.raises(AddressError) as caught:
        SocketAddress(scheme, host, port, method)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("policy", "children", "problem"),
    [
        ("failover", [local(1)], "unknown policy 'failover'"),
        ("FAILOVER", [], "no socket after the policy"),
    ],
)
def test_virtual_without_a_text_is_refused(policy: str, children: list[Address], problem: str) -> None:
    """A virtual socket made from parts obeys the same rules as one that was parsed."""
    with pytest.raises(AddressError) as caught:
        VirtualAddress(policy, children)
    assert caught.value.problem == problem


@frozen
class Subject(Address):
    """An address of another distribution, with a syntax of its own."""

    subject: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.subject}"


def parse_subject(scheme: str, rest: Span) -> Subject:
    """Words between dots, such as `calls.ended`."""
    if ".." in str(rest):
        raise rest.error(str(rest).index("..") + 1, "an empty word", "a word between dots")
    return Subject(scheme, str(rest))


OTHERS: dict[str, SocketParser] = {**SCHEMES, "subject": parse_subject, "tls": parse_socket}


def test_schemes_of_others() -> None:
    """Another distribution's scheme parses alone and in a group, with its own syntax or with that of sockets."""
    assert parse("subject:a.b", schemes=OTHERS) == Subject("subject", "a.b")
    text = "virtual:FAILOVER tls:[::1]:5061/m subject:a.b tcp:a:1"
    tree = parse(text, schemes=OTHERS)
    assert tree == VirtualAddress(
        "FAILOVER",
        [SocketAddress("tls", "::1", 5061, "m"), Subject("subject", "a.b"), SocketAddress("tcp", "a", 1)],
    )
    assert str(tree) == text


def test_errors_of_others() -> None:
    """A fault in another scheme's syntax has its position in the whole text; an unknown one lists those known."""
    with pytest.raises(AddressError) as caught:
        parse("virtual:FAILOVER tcp:a:1 subject:a..b", schemes=OTHERS)
    assert caught.value.position == 35
    with pytest.raises(AddressError, match="expected jsonrpc:, tcp:, subject:, tls: or virtual:"):
        parse("nats:x", schemes=OTHERS)


def test_addresses_are_values() -> None:
    """Equal addresses are one key in a dictionary; the scheme as written is a part of them."""
    assert len({parse("tcp:a:1"), parse("tcp:a:1/"), parse("jsonrpc:a:1")}) == 2
    assert parse("virtual:FAILOVER tcp:a:1").scheme == "virtual"


labels = st.from_regex(r"[A-Za-z_]([A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
hosts = st.one_of(names, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
ports = st.integers(1, 65535)
method_characters = st.characters(exclude_categories=["Cc", "Cs"])
sockets = st.builds(
    SocketAddress,
    st.sampled_from(list(SCHEMES)),
    hosts,
    ports,
    st.none() | st.text(method_characters, min_size=1, max_size=20),
)
children = sockets.filter(lambda socket: " " not in str(socket))
virtuals = st.builds(VirtualAddress, st.sampled_from(OPENSIPS), st.lists(children, min_size=1, max_size=5))


@given(sockets | virtuals)
@example(SocketAddress("tcp", str(IPv6Address(0)), 1))
def test_printing_and_parsing_are_inverse(tree: Address) -> None:
    """Every tree prints to a text that parses to the same tree, and prints to the same text again."""
    assert parse(str(tree)) == tree
    assert str(parse(str(tree))) == str(tree)


words = ["virtual:", "jsonrpc:", "tcp:", *OPENSIPS, "a", "host", "127.0.0.1", "[::1]", "9", "80", "0"]
marks = ["[", "]", ":", "/", " ", "\t", "  ", "-", ".", "%", "x", "\n", "é", "\ud800"]
pieces = st.lists(st.sampled_from(words + marks), max_size=12).map("".join)


def tree_or_error(text: str) -> Address | AddressError:
    """What `parse` makes of a text; anything but an AddressError is raised on."""
    try:
        return parse(text)
    except AddressError as error:
        return error


@given(pieces | st.text())
@example("virtual:\u3000FAILOVER\u3000tcp:a:1")
@example("tcp:a:\u0661")  # a digit elsewhere, not in a port
def test_any_text_parses_or_is_refused_at_a_position(text: str) -> None:
    """Whatever the text: a tree that prints and parses back, or one error whose position lies in the text."""
    result = tree_or_error(text)
    if isinstance(result, AddressError):
        assert result.text == text
        assert 0 <= result.position <= len(text)
        assert result.problem in str(result)
        assert result.expected in str(result)
    else:
        assert parse(str(result)) == result


@given(st.lists(st.tuples(names, ports), min_size=1, max_size=5), st.data())
def test_a_fault_is_found_where_it_was_put(places: list[tuple[str, int]], data: st.DataObject) -> None:
    """A character that no host holds, put anywhere into any host of a group, is reported at that very place."""
    sockets = [f"tcp:{name}:{port}" for name, port in places]
    chosen = data.draw(st.integers(0, len(places) - 1))
    offset = data.draw(st.integers(0, len(places[chosen][0]))) + len("tcp:")
    sockets[chosen] = f"{sockets[chosen][:offset]}!{sockets[chosen][offset:]}"
    result = tree_or_error(" ".join(["virtual:FAILOVER", *sockets]))
    assert isinstance(result, AddressError)
    assert result.position == result.text.index("!")
    assert result.problem == "'!' in a host"
