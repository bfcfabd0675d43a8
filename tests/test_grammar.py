"""The extended text: what was an address stays it, what is new parses and prints back, what is wrong is shown where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from failover.address import SCHEMES, Address, SocketAddress, Span, one_of, parse_socket
from failover.errors import AddressError
from failover.grammar import DEEPEST, VirtualAddress, parse
from failover.options import TEXT, TIME, TIME_OR_ZERO, Kind
from failover.policy import OPENSIPS, POLICIES, SOCKETS

A, B, C = (SocketAddress("jsonrpc", "10.0.0.1", port) for port in (1, 2, 3))
JSONRPC = one_of([f"{name}=" for name in SOCKETS["jsonrpc"]])
NONE = "'' is no number"


def tree_or_error(text: str) -> Address | AddressError:
    """What `parse` makes of a text; anything but an AddressError is raised on."""
    try:
        return parse(text)
    except AddressError as error:
        return error


EXAMPLE = (
    "virtual:FAILOVER quarantine=10s jsonrpc:10.0.0.1:1 timeout=200ms"
    " (PARALLEL require=any jsonrpc:10.0.0.1:2 jsonrpc:10.0.0.1:3)"
)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        (
            EXAMPLE,
            VirtualAddress(
                "FAILOVER",
                [A, VirtualAddress("PARALLEL", [B, C], {"require": "any"})],
                {"quarantine": "10s"},
                [{"timeout": "200ms"}, {}],
            ),
        ),
        (
            "virtual:TIERS jsonrpc:10.0.0.1:1 timeout=1s tier=1 weight=3 (QUORUM k=1 jsonrpc:10.0.0.1:2) tier=2",
            VirtualAddress(
                "TIERS",
                [A, VirtualAddress("QUORUM", [B], {"k": "1"})],
                said=[[("timeout", "1s"), ("tier", "1"), ("weight", "3")], {"tier": "2"}],
            ),
        ),
        (
            'virtual:FAILOVER name="the near site" "jsonrpc:a:1/my method" (RETRY "tcp:b:2/say(\\"\\\\\\")")',
            VirtualAddress(
                "FAILOVER",
                [
                    SocketAddress("jsonrpc", "a", 1, "my method"),
                    VirtualAddress("RETRY", [SocketAddress("tcp", "b", 2, 'say("\\")')]),
                ],
                {"name": "the near site"},
            ),
        ),
        # Without a strategy in parentheses, a ')' is a part of its word; with one, what holds it stands in quotes.
        ("virtual:FAILOVER jsonrpc:a:1/m()", VirtualAddress("FAILOVER", [SocketAddress("jsonrpc", "a", 1, "m()")])),
        ("virtual:STICKY key=f(x) jsonrpc:10.0.0.1:1", VirtualAddress("STICKY", [A], {"key": "f(x)"})),
        (
            'virtual:FAILOVER "jsonrpc:a:1/m()" (FAILOVER name="b)" jsonrpc:10.0.0.1:2)',
            VirtualAddress(
                "FAILOVER",
                [SocketAddress("jsonrpc", "a", 1, "m()"), VirtualAddress("FAILOVER", [B], {"name": "b)"})],
            ),
        ),
        (
            "virtual:FAILOVER (FAILOVER (FAILOVER jsonrpc:10.0.0.1:1 name=x))",
            VirtualAddress(
                "FAILOVER",
                [VirtualAddress("FAILOVER", [VirtualAddress("FAILOVER", [A], said=[{"name": "x"}])])],
            ),
        ),
    ],
)
def test_the_extended_text_parses_and_prints_back(text: str, tree: VirtualAddress) -> None:
    """Options and strategies in parentheses stand in the tree where they stand in the text, and print as they were."""
    assert parse(text) == tree
    assert str(tree) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("virtual: FAILOVER\tjsonrpc:a:1  name=x ", "virtual:FAILOVER jsonrpc:a:1 name=x"),
        ("virtual:FAILOVER ( PARALLEL jsonrpc:a:1 ) ", "virtual:FAILOVER (PARALLEL jsonrpc:a:1)"),
        ('virtual:FAILOVER "jsonrpc:a:1" name="x"', "virtual:FAILOVER jsonrpc:a:1 name=x"),
        ("virtual:FAILOVER (RETRY (RETRY jsonrpc:a:1\t) )", "virtual:FAILOVER (RETRY (RETRY jsonrpc:a:1))"),
    ],
)
def test_blanks_and_quotes_that_are_not_needed(text: str, printed: str) -> None:
    """Blanks may stand around parentheses, quotes around anything; printing leaves what is needed."""
    assert str(parse(text)) == printed


CHILD = "in FAILOVER"
BAD = [
    # Options.
    ("virtual:FAILOVER timeout=1s jsonrpc:a:1", 17, "unknown option timeout=", None),
    ("virtual:FAILOVER jsonrpc:a:1 timeot=1s", 29, "unknown option timeot=", f"{JSONRPC} after jsonrpc: {CHILD}"),
    (
        "virtual:FAILOVER jsonrpc:a:1 quarantine=1s",
        29,
        "unknown option quarantine=",
        f"{JSONRPC} after jsonrpc: {CHILD}; quarantine= stands right after the policy",
    ),
    (
        "virtual:FAILOVER (RETRY jsonrpc:a:1) weight=1",
        37,
        "unknown option weight=",
        f"no options after a strategy {CHILD}",
    ),
    ("virtual:WEIGHTED-RANDOM (RETRY jsonrpc:a:1) timeout=1s", 44, "unknown option timeout=", None),
    ("virtual:FAILOVER Name=x jsonrpc:a:1", 17, "unknown option Name=", None),
    ("virtual:FAILOVER name=x name=y jsonrpc:a:1", 24, "name= a second time", "each option once"),
    ("virtual:FAILOVER jsonrpc:a:1 name=x lazy=no name=y", 44, "name= a second time", "each option once"),
    ("virtual:FAILOVER quarantine= jsonrpc:a:1", 28, NONE, TIME_OR_ZERO.expected),
    ("virtual:FAILOVER quarantine=soon jsonrpc:a:1", 28, "'soon' is no number", TIME_OR_ZERO.expected),
    ("virtual:FAILOVER quarantine=10 jsonrpc:a:1", 30, "no unit", TIME_OR_ZERO.expected),
    ("virtual:FAILOVER quarantine=10sec jsonrpc:a:1", 30, "unknown unit 'sec'", TIME_OR_ZERO.expected),
    ("virtual:FAILOVER quarantine=-1s jsonrpc:a:1", 28, "'-1s' is no number", TIME_OR_ZERO.expected),
    ("virtual:FAILOVER jsonrpc:a:1 timeout=0s", 37, "0s is too little", TIME.expected),
    ("virtual:FAILOVER jsonrpc:a:1 timeout=0", 38, "no unit", TIME.expected),
    (f"virtual:FAILOVER jsonrpc:a:1 timeout={'9' * 400}s", 37, f"{'9' * 400}s is too much", None),
    ("virtual:FAILOVER jsonrpc:a:1 lazy=true", 34, "'true' is neither", "yes or no"),
    ("virtual:FAILOVER jsonrpc:a:1 at_limit=stop", 38, "'stop' is unknown", "wait, next or reject"),
    ("virtual:FAILOVER jsonrpc:a:1 name=", 34, "nothing after '='", TEXT.expected),
    ('virtual:FAILOVER jsonrpc:a:1 name=""', 35, "nothing after '='", TEXT.expected),
    ("virtual:FAILOVER jsonrpc:a:1 name=a\x07", 35, "'\\x07' in a value", None),
    ("virtual:RETRY share=5 jsonrpc:a:1", 21, "no unit", "a share such as 5%"),
    ("virtual:RETRY floor=5/d jsonrpc:a:1", 21, "unknown unit '/d'", "a rate such as 100/s, 30/m or 5/h"),
    ("virtual:RETRY attempts=0 jsonrpc:a:1", 23, "'0' is none", "a whole number from 1"),
    ("virtual:RETRY attempts=1.5 jsonrpc:a:1", 23, "'1.5' is none", "a whole number from 1"),
    ("virtual:RETRY attempts=\u0663 jsonrpc:a:1", 23, "'\u0663' is none", "a whole number from 1"),
    ("virtual:RETRY growth=0.5 jsonrpc:a:1", 21, "0.5 is too little", None),
    ("virtual:FAILOVER ratio=0% jsonrpc:a:1", 23, "0% is too little", None),
    ("virtual:FAILOVER jitter=101% jsonrpc:a:1", 24, "101% is too much", None),
    ("virtual:FAILOVER failback=soon jsonrpc:a:1", 26, "'soon' is unknown", "cautious, eager, stay or manual"),
    ("virtual:FAILOVER probe_interval=1s jsonrpc:a:1", 32, "probe_interval= without a probe", None),
    ("virtual:HEDGE delay=1s percentile=100 jsonrpc:a:1 jsonrpc:b:1", 34, "100 is too much", None),
    ("virtual:PARALLEL require=most jsonrpc:a:1", 25, "'most' is unknown", "all, any or a whole number from 1"),
    ("virtual:PARALLEL require=0 jsonrpc:a:1", 25, "'0' is none", "a whole number from 1"),
    # What a policy needs.
    ("virtual:QUORUM jsonrpc:a:1", 14, "no k= after QUORUM", "k=, a whole number from 1"),
    ("virtual:QUORUM name=x jsonrpc:a:0", 14, "no k= after QUORUM", "k=, a whole number from 1"),
    ("virtual:QUORUM k=2 jsonrpc:a:1", 17, "k=2 of 1", "at most 1, the children"),
    ("virtual:FAILOVER (PARALLEL require=3 jsonrpc:a:1 jsonrpc:b:1)", 35, "require=3 of 2", "at most 2, the children"),
    ("virtual:TIERS jsonrpc:a:1 tier=1 jsonrpc:b:1", 44, "no tier= of this child", "tier=, a whole number from 0"),
    ("virtual:TIERS jsonrpc:a:1 weight=10 jsonrpc:b:1", 35, "no tier= of this child", "tier=, a whole number from 0"),
    ("virtual:RETRY jsonrpc:a:1 jsonrpc:b:1", 26, "one child more than RETRY has", "at most 1"),
    ("virtual:MIRROR jsonrpc:a:1 jsonrpc:b:1 (RETRY jsonrpc:c:1)", 39, "one child more than MIRROR has", "at most 2"),
    ("virtual:MIRROR jsonrpc:a:1", 26, "too few children of MIRROR", "at least 2"),
    ("virtual:FAILOVER (MIRROR jsonrpc:a:1) jsonrpc:b:1", 36, "too few children of MIRROR", "at least 2"),
    ("virtual:LIMIT jsonrpc:a:1", 14, "no in_flight= and no rate=", None),
    ("virtual:LIMIT in_flight=2 burst=2 jsonrpc:a:1", 32, "burst= without a rate", None),
    ("virtual:LIMIT rate=0/s jsonrpc:a:1", 19, "0/s is too little", None),
    ("virtual:DEDUP jsonrpc:a:1", 13, "no window= after DEDUP", None),
    ("virtual:ROUTE jsonrpc:a:1 jsonrpc:b:1 when=E jsonrpc:c:1", 45, "a second child without when=", None),
    ("virtual:ROUTE jsonrpc:a:1", 14, "no child has a when=", None),
    # Parentheses.
    ("virtual:FAILOVER (PARALLEL jsonrpc:a:1", 38, "no ')'", "one for the '(' at position 17"),
    ("virtual:FAILOVER (PARALLEL jsonrpc:a:1 name=x ", 46, "no ')'", "one for the '(' at position 17"),
    ("virtual:FAILOVER (PARALLEL jsonrpc:a:1))", 39, "a ')' that closes nothing", None),
    ("virtual:FAILOVER (RETRY jsonrpc:a:1) jsonrpc:b:1/m)", 50, "a ')' that closes nothing", None),
    ("virtual:FAILOVER (RETRY jsonrpc:a:1/f(x) jsonrpc:b:1)", 52, "a ')' that closes nothing", None),
    ("virtual:FAILOVER (RETRY jsonrpc:a:1) ) jsonrpc:b:1", 37, "a ')' that closes nothing", None),
    ("virtual:FAILOVER )", 17, "unknown scheme ')'", None),
    ("virtual:FAILOVER (", 18, "no policy", one_of(POLICIES)),
    ("virtual:FAILOVER ()", 18, "no policy", one_of(POLICIES)),
    ("virtual:FAILOVER ((RETRY jsonrpc:a:1))", 18, "no policy", one_of(POLICIES)),
    ("virtual:(RETRY jsonrpc:a:1)", 8, "no policy", one_of(POLICIES)),
    ("virtual:name=x FAILOVER jsonrpc:a:1", 8, "no policy", one_of(POLICIES)),
    ('virtual:"FAILOVER" jsonrpc:a:1', 8, "no policy", one_of(POLICIES)),
    ("virtual:FAILOVER (RETRY)", 23, "no socket after the policy", None),
    ("virtual:FAILOVER (RETRY ) jsonrpc:a:1", 24, "no socket after the policy", None),
    ("virtual:FAILOVER (jsonrpc:a:1)", 18, "unknown policy 'jsonrpc:a:1'", one_of(POLICIES)),
    ("virtual:FAILOVER (PARALEL jsonrpc:a:1)", 23, "unknown policy 'PARALEL'", one_of(POLICIES)),
    ("virtual:FAILOVER (virtual:RETRY jsonrpc:a:1)", 18, "unknown policy 'virtual:RETRY'", one_of(POLICIES)),
    ("virtual:FAILOVER (RETRY jsonrpc:a:0)", 34, "port 0 with a 0 first", None),
    ("virtual:FAILOVER (RETRY jsonrpc:a:1 timeout=1) jsonrpc:b:1", 45, "no unit", None),
    # Quotes.
    ('virtual:FAILOVER "jsonrpc:a:1', 29, "no closing quote", "one for that at position 17"),
    ('virtual:FAILOVER jsonrpc:a:1 name="x', 36, "no closing quote", "one for that at position 34"),
    ('virtual:FAILOVER "jsonrpc:a:1\\m"', 29, "a backslash by itself", None),
    ('virtual:FAILOVER "jsonrpc:a:1"x', 30, "'x' right after a quote", "a blank, or a ')'"),
    ('virtual:FAILOVER "jsonrpc:a:1")', 30, "a ')' that closes nothing", None),
    ('virtual:FAILOVER (RETRY "jsonrpc:a:1")x', 38, "'x' right after a quote", "a blank, or a ')'"),
    ('virtual:FAILOVER "jsonrpc:a:0x"', 29, "'x' in a port", None),
    ('virtual:FAILOVER "jsonrpc:a\\"b:1"', 27, "'\"' in a host", None),
    ('virtual:FAILOVER jsonrpc:a:1 "name=x"', 30, "unknown scheme 'name=x'", None),
    ('virtual:FAILOVER ""', 18, "no scheme", None),
    ('virtual:FAILOVER quarantine="10x" jsonrpc:a:1', 31, "unknown unit 'x'", None),
    # What is neither.
    ("virtual:FAILOVER lazy jsonrpc:a:1", 17, "unknown scheme 'lazy'", None),
    ("virtual:FAILOVER =x jsonrpc:a:1", 17, "unknown scheme '=x'", None),
]


@pytest.mark.parametrize(("text", "position", "problem", "expected"), BAD)
def test_every_kind_of_mistake_is_shown_where_it_is(
    text: str, position: int, problem: str, expected: str | None
) -> None:
    """What doesn't fit is named, at its position in the whole text, and where it helps with what is known there."""
    with pytest.raises(AddressError) as caught:
        parse(text)
    error = caught.value
    assert (error.text, error.position, error.problem) == (text, position, problem)
    assert expected is None or error.expected == expected


def test_depth_is_bounded() -> None:
    """As many strategies one inside the other as are allowed, and not one more, in text and in code."""
    text = "virtual:" + "RETRY (" * (DEEPEST - 1) + "RETRY jsonrpc:a:1" + ")" * (DEEPEST - 1)
    tree = parse(text)
    assert isinstance(tree, VirtualAddress)
    assert tree.depth == DEEPEST
    assert str(tree) == text
    with pytest.raises(AddressError, match="more than 32 strategies one inside the other at position 231"):
        parse("virtual:" + "RETRY (" * 5000 + "RETRY jsonrpc:a:1" + ")" * 5000)
    with pytest.raises(AddressError, match="more than 32 strategies one inside the other"):
        VirtualAddress("RETRY", [tree])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: VirtualAddress("FAILOVER", [A], {"quarantin": "1s"}), "unknown option quarantin="),
        (lambda: VirtualAddress("FAILOVER", [A], {"quarantine": "1"}), "no unit"),
        (lambda: VirtualAddress("FAILOVER", [A], [("name", "a"), ("name", "b")]), "name= a second time"),
        (lambda: VirtualAddress("FAILOVER", [A], said=[{"weight": "1"}]), "unknown option weight="),
        (lambda: VirtualAddress("FAILOVER", [A, B], said=[{}]), "options of some children only"),
        (lambda: VirtualAddress("QUORUM", [A], {"k": "2"}), "k=2 of 1"),
        (lambda: VirtualAddress("MIRROR", [A]), "too few children of MIRROR"),
        (lambda: VirtualAddress("FAILOVER", [A], {"name": "a\n"}), "'\\n' in a value"),
    ],
)
def test_what_has_no_text_can_not_be_made(make: Callable[[], VirtualAddress], problem: str) -> None:
    """A tree made in code obeys the same rules as one that was parsed: every one that exists can be printed."""
    with pytest.raises(AddressError) as caught:
        make()
    assert caught.value.problem == problem


# -- what was an address is the same address -----------------------------------------------------------------------

odd_methods = st.text(st.sampled_from(list('ab/()="\\:.%')), max_size=12)


@given(
    st.sampled_from(OPENSIPS),
    st.lists(
        st.builds("{}:h:{}/{}".format, st.sampled_from(["jsonrpc", "tcp"]), st.integers(1, 9), odd_methods), min_size=1
    ),
)
@example("FAILOVER", ["jsonrpc:h:1/)))", "tcp:h:1/(x", 'tcp:h:2/name="y"'])
def test_what_opensips_takes_keeps_its_meaning(policy: str, words: list[str]) -> None:
    """A policy and its sockets between blanks mean just that, whatever their methods hold, and print as they did."""
    sockets = [parse_socket(word.partition(":")[0], Span(word, word.index(":") + 1)) for word in words]
    tree = parse(" ".join([f"virtual:{policy}", *words]))
    assert tree == VirtualAddress(policy, sockets)
    assert str(tree) == " ".join([f"virtual:{policy}", *map(str, sockets)])


# -- random trees ----------------------------------------------------------------------------------------------------

VALUES = (
    *("200ms", "1.5s", "2m", "1h", "0", "5%", "0.5%", "100/s", "30/m", "1", "2", "2.5", "95", "yes", "no"),
    *("all", "any", "cancel", "keep", "wait", "next", "reject", "enclosed", "as-it-was"),
    *("cautious", "eager", "stay", "manual", "params", "id"),
)
texts = st.text(st.sampled_from(list(' "\\()=ab:é%')), min_size=1, max_size=8)


def accepts(kind: Kind, value: str) -> bool:
    """Whether it is a value of this kind."""
    try:
        kind.read(Span(value))
    except AddressError:
        return False
    return True


FITTING = {
    id(kind): [value for value in VALUES if accepts(kind, value)]
    for policy in POLICIES.values()
    for kind in (*policy.known.values(), *policy.said.values(), *SOCKETS["jsonrpc"].values())
}


@st.composite
def options(draw: DrawFn, known: Mapping[str, Kind], required: Sequence[str]) -> list[tuple[str, str]]:
    """Some of the options in any order, those that are required among them."""
    names = draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=3)) if known else []
    names += [name for name in required if name not in names]
    return [
        (name, draw(texts if known[name] is TEXT else st.sampled_from(FITTING[id(known[name])])))
        for name in draw(st.permutations(names))
    ]


sockets = st.builds(
    SocketAddress,
    st.sampled_from(list(SCHEMES)),
    st.sampled_from(["a", "10.0.0.1", "::1"]),
    st.integers(1, 9),
    st.none() | texts,
)


@st.composite
def trees(draw: DrawFn, depth: int = 3) -> VirtualAddress:
    """Any tree of any policies with any of their options."""
    policy = POLICIES[draw(st.sampled_from(sorted(POLICIES)))]
    count = draw(st.integers(policy.least, policy.most or 4))
    said: list[list[tuple[str, str]]] = []
    children: list[Address] = []
    for number in range(count):
        inner = depth > 1 and draw(st.booleans())
        children.append(draw(trees(depth - 1) if inner else sockets))
        own: Mapping[str, Kind] = {} if inner else SOCKETS["jsonrpc"]
        required = [*policy.said_required, *(["when"] if "when" in policy.said and not number else [])]
        said.append(draw(options({**own, **policy.said}, required)))
    own_options = draw(options(policy.known, policy.required))
    try:
        return VirtualAddress(policy.name, children, own_options, said)
    except AddressError as error:  # of what was drawn independently
        assume(not any(word in error.problem for word in ("when=", " of ", " without a ", "no in_flight=")))
        raise


@given(trees())
def test_printing_and_parsing_are_inverse(tree: VirtualAddress) -> None:
    """Every tree prints to a text that parses to the same tree, and prints to the same text again."""
    text = str(tree)
    assert parse(text) == tree
    assert str(parse(text)) == text


@given(trees())
def test_canonical(tree: VirtualAddress) -> None:
    """The canonical tree is canonical, has a text, and is the same for another order wherever that means nothing."""
    again = tree.canonical()
    assert again.canonical() == again
    assert parse(str(again)) == again
    backwards = VirtualAddress(tree.policy, tree.children[::-1], tree.options, tree.said[::-1])
    if not POLICIES[tree.policy].in_order:
        assert backwards.canonical() == again
    elif tree.children != tree.children[::-1]:
        assert backwards.canonical() != again


MARKS = ["(", ")", '"', "\\", "=", " ", "\t", "name=", "timeout=", "k=", "1s", "x", "jsonrpc:a:1", "virtual:", "\n"]


@given(trees(2), st.data())
def test_a_text_with_faults_is_refused_at_a_position(tree: VirtualAddress, data: st.DataObject) -> None:
    """A text that something was taken from or put into is a tree that prints back, or one error that lies in it."""
    text = str(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        mark = data.draw(st.sampled_from([*MARKS, ""]))
        text = text[:at] + mark + text[at + (not mark) :]
    check_any(text)


@given(st.lists(st.sampled_from([*MARKS, *POLICIES, "tier=1", "weight=2", "0", "(FAILOVER"]), max_size=14))
@example(["virtual:", "FAILOVER", " ", '"', "\\", '"', '"'])
def test_any_text_parses_or_is_refused_at_a_position(pieces: list[str]) -> None:
    """Whatever the text: a tree that prints and parses back, or one error whose position lies in the text."""
    check_any("virtual:FAILOVER " + "".join(pieces))


def check_any(text: str) -> None:
    """Check what becomes of any text.

    Raises:
        AssertionError: it is neither right nor clearly wrong.
    """
    result = tree_or_error(text)
    if isinstance(result, AddressError):
        assert result.text == text
        assert 0 <= result.position <= len(text)
        assert result.problem in str(result)
    else:
        assert parse(str(result)) == result
