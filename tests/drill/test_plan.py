"""A drill's file: what is wrong with it is said with the key."""

from __future__ import annotations

import math

import pytest

from failover.drill import parse_drill
from failover.drill.plan import Drill
from failover.drill.run import prepare
from failover.errors import ConfigError

HEAD = '[drill]\nname = "x"\nduration = 2.0\n'
GROUP = '[group]\nsocket = "virtual:FAILOVER jsonrpc:app1:8080 jsonrpc:app2:8080"\n'


def read(text: str) -> Drill:
    """A drill of the text, with all that is looked at before it runs."""
    drill = parse_drill(text)
    prepare(drill)
    return drill


def test_the_least_file_has_defaults() -> None:
    """A name and a socket are enough: ten seconds of twenty events a second in the simulation."""
    drill = read('[drill]\nname = "x"\n' + GROUP)
    assert (drill.name, drill.drill.on, drill.events, drill.trouble) == ("x", "simulation", 200, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "not TOML: "),
        (GROUP, "drill: this key is missing"),
        ("[drill]\n" + GROUP, "drill.name: this key is missing"),
        ('[drill]\nname = "x"\nduraton = 3\n' + GROUP, "drill.duraton: there is no such key; did you mean 'duration'?"),
        ('[drill]\nname = "x"\nduration = "3"\n' + GROUP, "drill.duration: expected `float`, got `str`"),
        ('[drill]\nname = "x"\nduration = 0\n' + GROUP, "drill.duration: expected `float` > 0"),
        ('[drill]\nname = "x"\non = "mars"\n' + GROUP, "drill.on: invalid enum value 'mars'"),
        (HEAD + "[group]\n", "group: give a socket or a tree"),
        (HEAD + GROUP + 'tree = "app1"\n', "group: give a socket or a tree"),
        (HEAD + '[group]\nsocket = "virtual:FAILOVR jsonrpc:a:1"\n', "group.socket: "),
        (HEAD + '[group]\nsocket = "virtual:RETRY jsonrpc:a:1 timeout=1"\n', "group.socket: no unit at position 35"),
        (HEAD + '[group]\nsocket = "virtual:HEDGE delay=9s jsonrpc:a:1 jsonrpc:b:1"\n', "group.socket: HEDGE: a delay"),
        (
            HEAD + '[group]\nsocket = "virtual:FAILOVER jsonrpc:a:1 (RETRY jsonrpc:10.0.0.5:1)"\n',
            "10.0.0.5 is not this",
        ),
        (HEAD + '[group]\nsocket = "jsonrpc:10.0.0.5:8080"\n', "group.socket: 10.0.0.5 is not this machine's loopback"),
        (HEAD + '[group]\nsocket = "jsonrpc:127.0.0.1:8080"\n', "which a simulation can't reach"),
        (HEAD + '[group]\ntree = { strategy = "Failover" }\n', "group.tree: expected `strategy"),
        (
            HEAD + '[group]\ntree = { strategy = "Best", children = ["a"] }\n',
            "group.tree.strategy: there is no strategy",
        ),
        (
            HEAD + '[group]\ntree = { strategy = "Parallel", children = ["a"], quarantine = 1 }\n',
            "group.tree.quarantine: Parallel has no such argument; known are name, require",
        ),
        (
            HEAD + '[group]\ntree = { strategy = "Parallel", children = ["a"], require = 2 }\n',
            "group.tree: Parallel of 1 can require",
        ),
        (
            HEAD + '[group]\ntree = { strategy = "Failover", children = ["a", { socket = "b", tmeout = 1 }] }\n',
            "group.tree.children[1].tmeout: a socket has no such argument",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "App 1"\n',
            "subscriber[0].name: expected a name of lower-case letters",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "a"\n[[subscriber]]\nname = "a"\n',
            "subscriber[1].name: there is another",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\nscript = "dance"\n',
            "subscriber[0].script: there is no action",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\nscript = { delay = 1 }\n',
            "subscriber[0].script: expected an action's name",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\nscript = []\n',
            "subscriber[0].script: expected one action or more",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\nprocessed = "f"\n',
            "subscriber[0].processed: a scripted subscriber",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\naddress = "127.0.0.1:1"\ncommand = ["x"]\n',
            "subscriber[0].command: it has an address",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\naddress = "127.0.0.1:1"\nscript = "silent"\n',
            "subscriber[0].script: a subscriber of your own",
        ),
        (
            HEAD + GROUP + '[[subscriber]]\nname = "app1"\nhost = "0.0.0.0"\n',
            "subscriber[0].host: 0.0.0.0 is not this machine's loopback",
        ),
        (HEAD + GROUP + '[[fault]]\nwhat = "crash"\n', "fault[0].at: this key is missing"),
        (
            HEAD + GROUP + '[[fault]]\nat = 1\nwhat = "crash"\non = "app3"\n',
            "fault[0].on: no subscriber 'app3'; did you mean",
        ),
        (HEAD + GROUP + '[[fault]]\nat = 1\nwhat = "meteor"\n', "fault[0]: there is no fault 'meteor'"),
        (
            HEAD + GROUP + '[[fault]]\nat = 1\nwhat = "latency"\n',
            "fault[0]: fault 'latency' on the simulated host app1: ",
        ),
        (
            HEAD + GROUP + '[[fault]]\nat = 3\nwhat = "crash"\n',
            "fault[0].at: it begins at 3 s, after the load has ended",
        ),
        (HEAD + GROUP + '[[fault]]\nat = 1\nwhat = "crash"\ntimes = 2\n', "fault[0].every: it comes 2 times"),
        (
            HEAD + GROUP + '[[fault]]\nat = 0\nwhat = "crash"\ntimes = 2\nevery = 0.5\nfor = 0.5\n',
            "fault[0].for: it would still last",
        ),
        (HEAD + GROUP + "[checks]\nfiar = true\n", "checks.fiar: there is no such checker; did you mean 'fair'?"),
        (HEAD + GROUP + "[checks]\nnobody_left_untried = 3\n", "checks.nobody_left_untried: it takes no arguments"),
        (HEAD + GROUP + "[checks]\nfair = { tolerence = 3 }\n", "checks.fair: got an unexpected keyword argument"),
        (HEAD + GROUP + '[checks]\nmoved_on_within = "soon"\n', "checks.moved_on_within.seconds: expected a number"),
        (HEAD + GROUP + '[checks]\n"no_such_module:f" = true\n', 'checks."no_such_module:f": No module named'),
        (HEAD + GROUP + "[steady]\nconfirmed = 99\n", "steady.confirmed: expected `float` <= 1.0"),
        (HEAD + GROUP + "[load]\nrate = 100000\n[drill.x]\n", "drill.x: there is no such key"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(text: str, expected: str) -> None:
    """Whatever can't be done is refused before anything is, by the path of the key, and says what was expected."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert str(raised.value).startswith(expected) or expected in str(raised.value)


def test_a_million_events_at_most() -> None:
    """A load that nobody's machine could bear is refused; with a count it is bounded, and passes."""
    text = '[drill]\nname = "x"\nduration = 3600\n' + GROUP + "[load]\nrate = 1000\n"
    with pytest.raises(ConfigError, match=r"load\.rate: that makes more than 1,000,000 events"):
        read(text)
    assert read(text + "count = 5\n").events == 5


def test_faults_that_come_again() -> None:
    """A fault comes as often as it says, and the time of the faults reaches from the first to the end of the last."""
    drill = read(
        '[drill]\nname = "x"\n'
        + GROUP
        + '[steady]\nsettle = 0.5\n[[fault]]\nwhat = "crash"\nat = 2\nfor = 1\nevery = 2\ntimes = 3\n'
    )
    assert drill.fault[0].begins == (2, 4, 6)
    assert drill.trouble == (2, 7.5)


def test_what_never_ends_leaves_no_time_after_it() -> None:
    """A fault without an end lasts for ever; one of a moment doesn't."""
    forever = read(HEAD + GROUP + '[[fault]]\nat = 1\nwhat = "crash"\n')
    moment = read(HEAD + GROUP + '[[fault]]\nat = 1\nwhat = "reset"\n')
    assert forever.trouble == (1, math.inf)
    assert moment.trouble == (1, 1)
