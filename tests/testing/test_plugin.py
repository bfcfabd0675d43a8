"""The pytest plugin as users have it: pytest in a process of its own, on files that they might have written."""

from __future__ import annotations

import re
import shlex
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.slow  # half a minute in all; `.ci/run` runs it

pytest_plugins = ["pytester"]

# What runs in each of these is as strict as can be: every warning fails, unknown marks too.
STRICT = ("-W", "error", "--strict-markers", "--strict-config", "-p", "no:cacheprovider", "-q")

IMPORTS = """
import asyncio
import pytest
from failover import Event, Group, jsonrpc
from failover.strategies import Failover, RoundRobin
from failover.testing import ConfirmUnhandled, HandleThenDrop, Refuse, Silent
"""


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    """Run pytest on one file, in a process of its own."""
    pytester.makepyfile(test_it=IMPORTS + dedent(source))
    return pytester.runpytest_subprocess(*STRICT, *arguments, timeout=60)


def test_tests_that_pass(pytester: pytest.Pytester) -> None:
    """Plain, blocking, asynchronous and simulated tests use the fixtures, without any other plugin or a warning."""
    result = run(
        pytester,
        """
        seen = []

        def test_with_asyncio_run(scripted_subscriber, watched_group):
            one, two = scripted_subscriber(HandleThenDrop()), scripted_subscriber()

            async def main():
                async with watched_group(Failover(one.socket, two.socket)) as group:
                    assert (await group.deliver(Event("E_X", {"n": 1}))).confirmed
                await two.until(lambda: two.processed)

            asyncio.run(main())
            assert one.processed[0].params["n"] == two.processed[0].params["n"] == 1

        def test_without_a_loop(scripted_subscriber, watched_group):
            one, two = scripted_subscriber(), scripted_subscriber()
            with watched_group(Failover(one.socket, two.socket)).blocking(within=5) as group:
                assert group.deliver(Event("E_X")).confirmed
                asyncio.run(one.crash())
                assert group.deliver(Event("E_X")).confirmed
            assert len(one.processed) == len(two.processed) == 1

        def test_a_proxy(scripted_subscriber, fault_proxy, watched_group):
            subscriber = scripted_subscriber()
            proxy = fault_proxy(subscriber)
            with watched_group(Failover(proxy.socket)).blocking(within=5) as group:
                assert group.deliver(Event("E_X", {"n": 1})).confirmed
                proxy.latency(0.05)
                receipt = group.deliver(Event("E_X", {"n": 2}))
                assert receipt.confirmed
                assert receipt.ended - receipt.began >= 0.1
                assert proxy.reset() == 1

        @pytest.fixture
        def cluster(simulated_network, scripted_subscriber):
            yield [scripted_subscriber(), scripted_subscriber()]
            seen.append(sorted(simulated_network.hosts))

        @pytest.mark.seeds(20, latency=0.01)
        class TestSimulated:
            async def test_in_the_simulation(self, cluster, watched_group, failover_seed, simulation):
                assert simulation.seed == failover_seed == len(seen)
                one, two = cluster
                one.once(HandleThenDrop())
                async with watched_group(RoundRobin(one.socket, two.socket)) as group:
                    receipt = await group.deliver(Event("E_X", {"n": 1}))
                    assert receipt.confirmed
                    assert receipt.possible_duplicates == 1
                assert asyncio.get_running_loop().time() >= 0.06

        def test_each_seed_had_its_own_fixtures():
            assert seen == [["app1", "app2", "main"]] * 20

        @pytest.mark.seeds(5)
        def test_plain(simulation, scripted_subscriber, fault_proxy, watched_group):
            proxy = fault_proxy(scripted_subscriber(Refuse(-32600)))

            async def main():
                proxy.latency(0.5)
                async with watched_group(Failover(jsonrpc(proxy.socket, timeout=2))) as group:
                    return await group.deliver(Event("E_X", {"n": 1}))

            receipt = simulation.run(main())
            assert receipt.outcome.value == "rejected"
            assert receipt.ended > 1.0

        def test_one_seed(simulation):
            assert simulation.seed == 0

        def test_fixtures_are_optional():
            assert "failover.sim.simulation" in __import__("sys").modules
        """,
    )
    result.assert_outcomes(passed=8)
    assert result.ret == 0
    assert "warning" not in result.stdout.str()


FAILING = """
        @pytest.mark.seeds(100)
        @pytest.mark.parametrize("name", ["a b"])
        async def test_unlucky(name, scripted_subscriber, watched_group, failover_seed):
            one, two = scripted_subscriber(Silent()), scripted_subscriber()
            async with watched_group(Failover(jsonrpc(one.socket, timeout=0.2), two.socket)) as group:
                for n in range(30):
                    await group.deliver(Event("E_X", {"n": n}))
            print("seed", failover_seed)
            assert failover_seed != 7
"""


def test_a_test_that_fails(pytester: pytest.Pytester) -> None:
    """A failure shows the history before it and its seed, and the command that it prints repeats it."""
    result = run(pytester, FAILING)
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    history = shown.partition("- failover history -")[2].partition("- failover seed -")[0].splitlines()
    assert "-- failover seed --" in shown
    assert re.search(r"^ +… +\(\d+ before\)$", history[1])
    assert len(history) == 43  # two halves of headings, what was left out, 40 lines
    assert re.search(r"\[[0-9a-f]{8}\] watched ended: event E_X: Failover confirmed after 1.0 ms", shown)
    assert "closed" not in shown
    command = re.search(r"^7, after 7 that passed; to repeat it: (pytest .*)$", shown, re.MULTILINE)
    assert command is not None
    assert command[1] == "pytest 'test_it.py::test_unlucky[a b]' --failover-seed 7"
    assert "simulation with seed 7, at 0.23" in shown
    assert shown.count(command[1]) >= 2  # with CI set, pytest's summary says it once more
    again = pytester.run(sys.executable, "-m", *shlex.split(command[1]), "-q")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["7; to repeat it: pytest *--failover-seed 7"])
    assert "seed 7\n" in again.stdout.str()
    assert "seed 6\n" not in again.stdout.str()


def test_what_checkers_find_fails_the_test(pytester: pytest.Pytester) -> None:
    """A subscriber that lies fails a test that asserts nothing, simulated or on loopback, with the evidence."""
    result = run(
        pytester,
        """
        @pytest.mark.seeds(3)
        async def test_simulated(scripted_subscriber, watched_group):
            async with watched_group(Failover(scripted_subscriber(ConfirmUnhandled()).socket)) as group:
                await group.deliver(Event("E_X", {"n": 1}, id="a84b4c76e66710"))

        def test_on_loopback(scripted_subscriber, watched_group):
            application = Group("billing", Failover(scripted_subscriber(ConfirmUnhandled()).socket))
            watched_group(application)
            with application.blocking(within=5) as group:
                for n in range(7):
                    group.deliver(Event("E_X", {"n": n}))

        def test_own_checkers(scripted_subscriber, watched_group):
            from failover.testing.checkers import Finding
            checkers = [lambda history: [Finding("ours", "it is wrong", (), 0.0)]]
            with watched_group(scripted_subscriber().socket, checkers=checkers).blocking(within=5) as group:
                group.deliver(Event("E_X", {"n": 1}))
        """,
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "found by the checkers: nothing confirmed unprocessed: at * jsonrpc:app1:8080 says confirmed, *",
            "*- failover history -*",
            "*0.001500  fault confirm_unhandled at app1:8080 a84b4c76e66710 on connection 1",
            "*[[]a84b4c76e66710[]] watched ended: *",
            "0; to repeat it: pytest test_it.py::test_simulated --failover-seed 0",
            "*_ test_on_loopback _*",
            "found by the checkers: nothing confirmed unprocessed: *",
            "and 2 more",
            "*- failover history -*",
            "* group billing: billing(Failover(jsonrpc:127.0.0.1:*))",
            "*_ test_own_checkers _*",
            "found by the checkers: ours: at 0.000000 s it is wrong",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_how_many_seeds(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark, the option, the setting and the environment say with which seeds a test runs."""
    source = """
        @pytest.mark.seeds(3, first=10)
        async def test_marked(failover_seed):
            print("marked", failover_seed)

        @pytest.mark.seeds
        async def test_bare(failover_seed):
            print("bare", failover_seed)

        def test_unmarked(failover_seed):
            print("unmarked", failover_seed)
    """
    pytester.makeini("[pytest]\nfailover_seeds = 2\nfailover_seed = 5\n")

    def seeds(*arguments: str) -> dict[str, list[int]]:
        pytester.makepyfile(test_it=IMPORTS + dedent(source))
        result = pytester.runpytest_inprocess(*STRICT, "-s", *arguments)  # the last word is said by other tests
        result.assert_outcomes(passed=3)
        found = re.findall(r"(marked|bare|unmarked) (\d+)", result.stdout.str())
        return {name: [int(seed) for word, seed in found if word == name] for name in ("marked", "bare", "unmarked")}

    assert seeds() == {"marked": [10, 11, 12], "bare": [5, 6], "unmarked": [5]}
    assert seeds("--failover-seeds=3") == {"marked": [0, 1, 2], "bare": [0, 1, 2], "unmarked": [5]}
    assert seeds("--failover-seeds=7:9") == {"marked": [7, 8], "bare": [7, 8], "unmarked": [5]}
    assert seeds("--failover-seed=99") == {"marked": [99], "bare": [99], "unmarked": [99]}
    monkeypatch.setenv("FAILOVER_SEED", "42")
    assert seeds() == {"marked": [42], "bare": [42], "unmarked": [42]}


def test_misuse(pytester: pytest.Pytester) -> None:
    """A mark that has no effect, no seeds at all, and a group that is open already are told, not passed over."""
    result = run(
        pytester,
        """
        @pytest.mark.seeds(3)
        def test_without_use():
            pass

        @pytest.mark.seeds(0)
        async def test_no_seeds():
            pass

        @pytest.mark.seeds(latencyy=1)
        async def test_no_such_setting():
            pass

        @pytest.mark.seeds(seed=1)
        def test_no_setting_of_a_mark(failover_seed):
            pass

        def test_open_already(scripted_subscriber, watched_group):
            group = Group("billing", scripted_subscriber().socket)
            with group.blocking():
                watched_group(group)

        def test_values_alone(scripted_subscriber, watched_group):
            with watched_group(scripted_subscriber().socket).blocking() as group:
                group.deliver(Event("E_X", [1, 2]))
        """,
    )
    result.assert_outcomes(failed=5, errors=1)  # what is wrong with a mark shows where its fixture is made
    result.stdout.fnmatch_lines(
        ["the mark 'seeds' has no setting 'latencyy'; did you mean 'latency'? known are first, latency, bandwidth, *"]
    )
    result.stdout.fnmatch_lines(["the mark 'seeds' has no setting 'seed'; known are first, *"])
    result.stdout.fnmatch_lines(["*nothing in this one depends on the seed"])
    result.stdout.fnmatch_lines(["there is no seed to run this test with, *"])
    result.stdout.fnmatch_lines(["*group 'billing' is open already: watch it before it is opened"])
    result.stdout.fnmatch_lines(["*name the params, or watch the group with ids=False*"])


def test_a_test_that_is_run_again(pytester: pytest.Pytester) -> None:
    """A plugin that repeats what failed gets a test that begins anew, at its first seed."""
    pytester.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            first = runtestprotocol(item, False, nextitem)
            assert [report.outcome for report in first] == ["passed", "failed", "passed"]
            runtestprotocol(item, True, nextitem)
            return True
        """
    )
    result = run(
        pytester,
        """
        begun = []

        @pytest.mark.seeds(3)
        async def test_flaky(failover_seed):
            begun.append(failover_seed)
            assert len(begun) != 2, begun
            assert begun[2:] == list(range(len(begun) - 2))
        """,
    )
    result.assert_outcomes(passed=1)


def test_without_the_plugin(pytester: pytest.Pytester) -> None:
    """`-p no:failover` leaves nothing of it, and tests that don't use it never notice that it is there."""
    source = """
        import sys

        def test_bystander():
            assert not [name for name in sys.modules if name.startswith(("failover.testing", "failover.sim"))]
    """
    pytester.makepyfile(test_bystander=source)
    pytester.runpytest_subprocess(*STRICT).assert_outcomes(passed=1)
    pytester.runpytest_subprocess(*STRICT, "-p", "no:failover").assert_outcomes(passed=1)
    helped = pytester.runpytest_subprocess("-p", "no:failover", "--help")
    assert "--failover-seed" not in helped.stdout.str()
    unknown = run(pytester, FAILING, "-p", "no:failover")
    unknown.stdout.fnmatch_lines(["*'seeds' not found in `markers` configuration option"])


@pytest.mark.parametrize(
    ("mark", "environment", "expected"),
    [
        ("('ten')", {}, "the mark 'seeds' must be a whole number, as in 100, not 'ten'"),
        ("(1, 2)", {}, "the mark 'seeds' takes one number, of seeds, and settings by name, not (1, 2)"),
        ("(1, first='a')", {}, "first= of the mark 'seeds' must be a whole number, as in 100, not 'a'"),
        ("(1)", {"FAILOVER_SEED": "x"}, "FAILOVER_SEED in the environment must be a whole number, as in 100, not 'x'"),
    ],
)
def test_what_is_no_number_of_seeds(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mark: str, environment: dict[str, str], expected: str
) -> None:
    """A seed or a number of them that is none fails the test in a sentence that says where it stands."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = run(pytester, f"@pytest.mark.seeds{mark}\nasync def test_it(): pass\n")
    result.assert_outcomes(failed=1)
    assert expected in result.stdout.str()
