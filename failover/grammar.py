r"""Several sockets in one text, `virtual:`: to a tree of addresses with their options, and back to the same text.

OpenSIPS's grammar, and what goes beyond it. Only what was an error there has a new meaning::

    virtual  = "virtual:" [ blanks ] strategy
    strategy = policy *( blanks option ) 1*( blanks child *( blanks option ) )
    child    = socket | quoted | "(" [ blanks ] strategy [ blanks ] ")"
    option   = name "=" ( value | quoted )
    policy   = "FAILOVER" | "PARALLEL" | "ROUND-ROBIN" | one of failover.policies
    name     = ( ALPHA | "_" ) *( ALPHA | DIGIT | "_" | "-" )
    value    = 1*( any character but blanks )
    quoted   = DQUOTE *( any character | "\" DQUOTE | "\\" ) DQUOTE
    blanks   = 1*( SP | HTAB )

An option after a policy belongs to the strategy, one after a child to that child. A `(` begins a strategy only where a
child may begin, a `)` ends one only at the end of a word, and only in a text that has such a `(`: elsewhere a method
may hold both. What holds a blank, begins with a quote, or would be taken for a `)` stands in quotes.

Source: OpenSIPS event_virtual, "socket syntax".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import Factory, field, frozen

from failover.address import SCHEMES, VIRTUAL, Address, SocketParser, Span, one_of
from failover.errors import AddressError
from failover.options import Given, Options
from failover.policy import POLICIES, SOCKETS, Policy
from failover.tokens import Token, quote, tokens

__all__ = ["DEEPEST", "Pairs", "VirtualAddress", "parse"]

DEEPEST: Final = 32
"""How many strategies may stand one inside the other in a text."""

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Options as they are written, name and value, in their order."""


def _tuple(children: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(children)


def _pairs(options: Mapping[str, str] | Sequence[tuple[str, str]]) -> Pairs:
    return tuple(options.items()) if isinstance(options, Mapping) else tuple(options)


def _each(said: Iterable[Mapping[str, str] | Sequence[tuple[str, str]]]) -> tuple[Pairs, ...]:
    return tuple(map(_pairs, said))


def _nothing_said(address: VirtualAddress) -> tuple[Pairs, ...]:
    return ((),) * len(address.children)


@frozen
class VirtualAddress(Address):
    """Several sockets or strategies under one policy: `virtual:POLICY option=value a b option=value (POLICY c d) …`.

    Args:
        policy: The word of a policy, in capitals.
        children: The addresses of sockets, or strategies; at least one.
        options: What is said of the strategy: names and values as they are written, a mapping or pairs.
        said: What is said of each child, as many as there are children; of none by default.

    Raises:
        AddressError: they can't be written as one address.
    """

    scheme: str = field(default=VIRTUAL, init=False, repr=False)
    policy: str
    children: tuple[Address, ...] = field(converter=_tuple)
    options: Pairs = field(default=(), converter=_pairs)
    said: tuple[Pairs, ...] = field(default=Factory(_nothing_said, takes_self=True), converter=_each)

    def __attrs_post_init__(self) -> None:
        policy = Span(self.policy)
        known = _policy(policy)
        if len(self.said) != len(self.children):
            raise policy.error(len(self.policy), "options of some children only", "as many as children, empty or not")
        if self.depth > DEEPEST:
            raise _too_deep(policy.cut(0, 0))
        given = _options_of(known, policy, [Token.of(*pair) for pair in self.options])
        said = [
            _said_of(known, number, _Child(child, Span(str(child)), [Token.of(*pair) for pair in pairs]))
            for number, (child, pairs) in enumerate(zip(self.children, self.said, strict=True))
        ]
        whole = Span(f"{VIRTUAL}:{self.policy}")
        _check(known, given, said, whole.cut(len(str(whole))))

    @property
    def depth(self) -> int:
        """How many strategies stand one inside the other, 1 or more."""
        return 1 + max((child.depth for child in self.children if isinstance(child, VirtualAddress)), default=0)

    @property
    def called(self) -> str:
        """Its `name=`, else its text."""
        return dict(self.options).get("name") or str(self)

    def __str__(self) -> str:
        return f"{self.scheme}:{self._words(closing=self.depth > 1)}"

    def canonical(self) -> VirtualAddress:
        """The same with children in one order wherever the order means nothing, as in PARALLEL."""
        children = [child.canonical() if isinstance(child, VirtualAddress) else child for child in self.children]
        placed = list(zip(children, self.said, strict=True))
        if not POLICIES[self.policy].in_order:
            placed.sort(key=lambda one: (str(one[0]), one[1]))
        return VirtualAddress(self.policy, [child for child, _ in placed], self.options, [said for _, said in placed])

    def _words(self, *, closing: bool) -> str:
        options = _written(self.options, closing=closing)
        children = [self._child(index, closing=closing) for index in range(len(self.children))]
        return " ".join((self.policy, *options, *children))

    def _child(self, index: int, *, closing: bool) -> str:
        child = self.children[index]
        if isinstance(child, VirtualAddress):
            text = f"({child._words(closing=True)})"  # noqa: SLF001  # the same class
        else:
            text = quote(str(child), closing=closing)
        return " ".join((text, *_written(self.said[index], closing=closing)))


def parse(text: str, *, schemes: Mapping[str, SocketParser] = SCHEMES) -> Address:
    """The tree that an address means; the same text comes back from `str`, with single spaces between its words.

    Args:
        text: The address, whole: nothing may stand before or after it.
        schemes: The known schemes of sockets, each with what parses the rest; `{**SCHEMES, "x": parse_x}` adds one.

    Returns:
        A `SocketAddress`, a `VirtualAddress`, or what the parser of another scheme gives.

    Raises:
        AddressError: the first thing that doesn't fit, with its position in `text` and what was expected.
    """
    whole = Span(text)
    if text.partition(":")[0] != VIRTUAL:
        return _socket(whole, schemes, (*schemes, VIRTUAL))
    reader = _Reader(_after_scheme(whole, VIRTUAL), schemes)
    tree = reader.strategy(1, None)
    if (closing := reader.next()) is not None:
        raise closing.place.error(
            0, "a ')' that closes nothing", "one '(' for each; what ends with a ')' of its own stands in quotes"
        )
    return tree


@frozen
class _Child:
    """A child as it is read, and where it stands."""

    address: Address
    place: Span
    options: Sequence[Token]


class _Reader:
    """Reads a text word by word."""

    def __init__(self, text: Span, schemes: Mapping[str, SocketParser]) -> None:
        self._end = text.cut(len(str(text)))
        self._schemes = schemes
        self._tokens = list(reversed(tokens(text)))

    def next(self) -> Token | None:
        """The next token; None at the end."""
        return self._tokens.pop() if self._tokens else None

    def strategy(self, depth: int, opened: Span | None) -> VirtualAddress:
        """A strategy, up to the `)` that ends it or the end of the text."""
        first = self.next()
        if first is None or first.kind != "word" or first.quoted or first.name is not None:
            place = self._end if first is None else first.name or first.place
            raise place.error(0, "no policy", one_of(POLICIES))
        policy = _policy(first.place)
        options = self._options()
        given = _options_of(policy, first.place, options)
        children: list[_Child] = []
        said: list[Given] = []
        end = self._end
        while (token := self.next()) is not None:
            if token.kind == ")":
                end = token.place
                if opened is None:
                    self._tokens.append(token)
                break
            if token.kind == "(":
                if depth == DEEPEST:
                    raise _too_deep(token.place)
                address: Address = self.strategy(depth + 1, token.place)
            else:
                address = token.read(self._one)
            children.append(_Child(address, token.place, self._options()))
            said.append(_said_of(policy, len(said), children[-1]))
        if opened is not None and token is None:
            raise self._end.error(0, "no ')'", f"one for the '(' at position {opened.start}")
        _check(policy, given, said, end)
        pairs = [_as_pairs(child.options) for child in children]
        return VirtualAddress(policy.name, [child.address for child in children], _as_pairs(options), pairs)

    def _options(self) -> list[Token]:
        options: list[Token] = []
        while self._tokens and self._tokens[-1].name is not None:
            options.append(self._tokens.pop())
        return options

    def _one(self, socket: Span) -> Address:
        return _socket(socket, self._schemes, self._schemes)


def _options_of(policy: Policy, word: Span, options: Sequence[Token]) -> dict[str, Given]:
    """What is said of a strategy."""
    given = _given(options, policy.known, f"right after {policy.name}")
    for name in policy.required:
        if name not in given:
            expected = f"{name}=, {policy.known[name].expected}"
            raise word.error(len(str(word)), f"no {name}= after {policy.name}", expected)
    return given


def _said_of(policy: Policy, number: int, child: _Child) -> Given:
    """What is said of a child as the policy's own; what is said of its socket is looked at as well."""
    if number == policy.most:
        raise child.place.error(0, f"one child more than {policy.name} has", f"at most {policy.most}")
    scheme = child.address.scheme
    after = "a strategy" if scheme == VIRTUAL else f"{scheme}:"
    own = SOCKETS.get(scheme, {})
    given = _given(child.options, {**own, **policy.said}, f"after {after} in {policy.name}", policy.known)
    for name in policy.said_required:
        if name not in given:
            last = child.options[-1].place if child.options else child.place
            raise last.error(len(str(last)), f"no {name}= of this child", f"{name}=, {policy.said[name].expected}")
    return Given({name: one for name, one in given.items() if name in policy.said}, child.place)


def _check(policy: Policy, given: Mapping[str, Given], said: Sequence[Given], end: Span) -> None:
    """Refuse a strategy that can't be meant."""
    if not said:
        raise end.error(0, "no socket after the policy", "at least one, such as jsonrpc:host:port")
    if len(said) < policy.least:
        raise end.error(0, f"too few children of {policy.name}", f"at least {policy.least}")
    if policy.check is not None:
        policy.check(given, said)


def _given(options: Sequence[Token], known: Options, where: str, others: Options | None = None) -> dict[str, Given]:
    """The values of options.

    Args:
        options: As they are written.
        known: Those that may stand here.
        where: Where that is.
        others: Those that may stand after the policy instead.
    """
    given: dict[str, Given] = {}
    for option in options:
        assert option.name is not None  # noqa: S101  # what makes it an option
        name = str(option.name)
        if name not in known:
            expected = f"{one_of(f'{one}=' for one in known)} {where}" if known else f"no options {where}"
            if others is not None and name in others:
                expected += f"; {name}= stands right after the policy"
            raise option.name.error(0, f"unknown option {name}=", expected)
        if name in given:
            raise option.name.error(0, f"{name}= a second time", "each option once")
        given[name] = Given(option.read(known[name].read), option.place)
    return given


def _as_pairs(options: Sequence[Token]) -> list[tuple[str, str]]:
    return [(str(option.name), option.read(str)) for option in options]


def _written(options: Pairs, *, closing: bool) -> list[str]:
    return [f"{name}={quote(value, closing=closing)}" for name, value in options]


def _socket(socket: Span, schemes: Mapping[str, SocketParser], expected: Iterable[str]) -> Address:
    scheme = str(socket).partition(":")[0]
    if scheme == VIRTUAL:
        raise socket.error(0, f"{VIRTUAL}: inside {VIRTUAL}:", "a strategy in parentheses: (POLICY socket …)")
    if scheme not in schemes:
        problem = f"unknown scheme {scheme!r}" if scheme else "no scheme"
        raise socket.error(0, problem, f"{one_of([f'{known}:' for known in expected])}, in lower case")
    return schemes[scheme](scheme, _after_scheme(socket, scheme))


def _after_scheme(socket: Span, scheme: str) -> Span:
    if str(socket) == scheme:
        raise socket.error(len(scheme), f"nothing after {scheme!r}", "a colon and the rest of the address")
    return socket.cut(len(scheme) + 1)


def _policy(span: Span) -> Policy:
    word = str(span)
    if word not in POLICIES:
        fits = next(end for end in range(len(word), -1, -1) if any(p.startswith(word[:end]) for p in POLICIES))
        raise span.error(fits, f"unknown policy {word!r}", one_of(POLICIES))
    return POLICIES[word]


def _too_deep(place: Span) -> AddressError:
    return place.error(0, f"more than {DEEPEST} strategies one inside the other", "a tree that is less deep")
