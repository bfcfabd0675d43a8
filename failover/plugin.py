"""The pytest plugin: subscribers, proxies, simulations and watched groups as fixtures, and tests that run per seed.

It is loaded by every run of pytest where failover is installed, so it lies outside of `failover.testing`, which is
imported by the first test that needs it. `pytest -p no:failover` does without.
"""

from __future__ import annotations

import gc
import inspect
import os
import shlex
from collections.abc import Generator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

if TYPE_CHECKING:
    from failover.sim.network import Network
    from failover.sim.simulation import Simulation
    from failover.testing.history import History
    from failover.testing.trials import Proxies, Subscribers, Trial, WatchedGroups

__all__ = [
    "failover_history",
    "failover_seed",
    "fault_proxy",
    "pytest_addoption",
    "pytest_configure",
    "pytest_pycollect_makeitem",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "scripted_subscriber",
    "simulated_network",
    "simulation",
    "watched_group",
]

_MARK: Final = "seeds"
_VARIABLE: Final = "FAILOVER_SEED"  # as of failover.sim, which is not to be imported here
_SIMULATED: Final = {"simulation", "simulated_network"}
_SEEDED: Final = _SIMULATED | {"failover_seed"}
_TRIAL: Final = pytest.StashKey["Trial"]()
_FOUND: Final = "found by the checkers: "
_COLLECTED: Final = 50  # seeds between two collections: one is dearer than a seed, and a seed leaves 200 KB
_FINDINGS: Final = 5  # as many are listed of a failure


# -- fixtures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def failover_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run of the test."""
    return _trial(request.node).seed


@pytest.fixture
def failover_history(request: pytest.FixtureRequest) -> History:
    """What watched groups, scripted subscribers and proxies of this test have told."""
    return _trial(request.node).history


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Simulation:
    """A simulation with this run's seed; an `async def` test that is marked `seeds` runs in it already."""
    return _trial(request.node).simulation


@pytest.fixture
def simulated_network(request: pytest.FixtureRequest) -> Network:
    """The network of `simulation`."""
    return _trial(request.node).simulation.network


@pytest.fixture
def scripted_subscriber(request: pytest.FixtureRequest) -> Subscribers:
    """Makes scripted subscribers that listen; they are closed at the end of the test."""
    return _trial(request.node).subscriber


@pytest.fixture
def fault_proxy(request: pytest.FixtureRequest) -> Proxies:
    """Makes fault proxies that listen; they are closed at the end of the test."""
    return _trial(request.node).proxy


@pytest.fixture
def watched_group(request: pytest.FixtureRequest) -> WatchedGroups:
    """Makes groups that are watched, or watches yours; what checkers find at the end fails the test."""
    return _trial(request.node).group


# -- options -------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and settings."""
    group = parser.getgroup("failover", "reliability of virtual subscriber groups")
    group.addoption("--failover-seed", type=int, metavar="N", help="run tests with this seed alone: repeat a failure")
    group.addoption(
        "--failover-seeds",
        type=_range,
        metavar="N|FIRST:END",
        help="how many seeds, or which, the tests that are marked 'seeds' run with, whatever their mark says",
    )
    parser.addini("failover_seed", "the first seed of every test (default: 0)", default="0")
    parser.addini("failover_seeds", "how many seeds a mark without a number means (default: 100)", default="100")
    parser.addini("failover_history_lines", "lines of history shown of a failure (default: 40)", default="40")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(count, first=0, **settings): run the test once for each of so many seeds, an 'async def' test in a "
        "simulation with these settings; see failover's docs, 'Tests with pytest'",
    )


def _range(text: str) -> range:
    first, colon, end = text.rpartition(":")
    return range(int(first or 0), int(end)) if colon else range(int(end))


# -- running -------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, trylast=True)  # before plugins that run coroutines look at what was collected
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Have `async def` tests that are marked run in a simulation."""
    made = yield
    items: list[Any] = cast("Any", made) if isinstance(made, list) else [made]
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and _mark(item) is not None:
            item.obj = _in_simulation(item, item.obj)
    return cast("Any", made)


def _in_simulation(item: pytest.Function, test: Any) -> Any:
    @wraps(test)
    def run(**arguments: Any) -> None:
        _trial(item).simulation.run(test(**arguments))

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin anew when a test is run again, as plugins do that repeat what failed."""
    if _TRIAL in item.stash:
        del item.stash[_TRIAL]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run the test with each of its seeds, and judge what was watched each time."""
    if isinstance(item, pytest.Function) and _mark(item) is not None:
        _refuse_without_use(item)
    result = yield
    if isinstance(item, pytest.Function):
        _judge(item)
        if _mark(item) is not None:
            for passed, seed in enumerate(_seeds(item)[1:], 1):
                _renew(item, seed, passed)
                item.runtest()
                _judge(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Close what the test has begun, after the user's fixtures are done with it."""
    try:
        return (yield)
    finally:
        if _TRIAL in item.stash:
            item.stash[_TRIAL].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Forget the history once it was reported."""
    try:
        return (yield)
    finally:
        if _TRIAL in item.stash:
            del item.stash[_TRIAL]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the history and the seed to the report of a failure."""
    report: pytest.TestReport = yield
    trial = item.stash.get(_TRIAL, None)
    if trial is not None and report.failed:
        findings = trial.findings()
        text = trial.account(findings, int(item.config.getini("failover_history_lines")))
        if findings and _FOUND not in report.longreprtext:
            text = f"{_list([trial.shown(str(finding)) for finding in findings])}\n{text}"
        if text:
            report.sections.append(("failover history", text))
        if trial.simulated or _mark(item) is not None:
            passed = f", after {trial.passed} that passed" if trial.passed else ""
            report.sections.append(("failover seed", f"{trial.seed}{passed}; to repeat it: {trial.repeat}"))
    return report


def _mark(item: pytest.Item) -> pytest.Mark | None:
    return item.get_closest_marker(_MARK)


def _seeds(item: pytest.Item) -> Sequence[int]:
    """The seeds that a test runs with."""
    config, mark = item.config, _mark(item)
    only = config.getoption("failover_seed")
    if only is None and os.environ.get(_VARIABLE):
        only = _whole(f"{_VARIABLE} in the environment", os.environ[_VARIABLE])
    if only is not None:
        return (only,)
    chosen: range | None = config.getoption("failover_seeds")
    first = _whole("the setting failover_seed", config.getini("failover_seed"))
    if mark is None:
        return (first,)
    if chosen is None:
        first = _whole(f"first= of the mark {_MARK!r}", mark.kwargs.get("first", first))
        count = _whole("the setting failover_seeds", config.getini("failover_seeds"))
        if len(mark.args) > 1:
            pytest.fail(
                f"the mark {_MARK!r} takes one number, of seeds, and settings by name, not {mark.args}", pytrace=False
            )
        for given in mark.args:
            count = _whole(f"the mark {_MARK!r}", given)
        chosen = range(first, first + count)
    if not chosen:
        pytest.fail(f"there is no seed to run this test with, in {chosen}", pytrace=False)
    return chosen


def _whole(of: str, value: Any) -> int:
    """A whole number that a user gave; anything else fails the test."""
    try:
        return int(value)
    except (TypeError, ValueError):
        pytest.fail(f"{of} must be a whole number, as in 100, not {value!r}", pytrace=False)


def _refuse_without_use(item: pytest.Function) -> None:
    simulated = hasattr(item.obj, "__wrapped__") and inspect.iscoroutinefunction(item.obj.__wrapped__)
    if not simulated and not _SEEDED & set(item.fixturenames):
        pytest.fail(
            "a test that is marked 'seeds' must be 'async def', which runs it in a simulation, or use one of the "
            f"fixtures {', '.join(sorted(_SEEDED))}: nothing in this one depends on the seed",
            pytrace=False,
        )


def _trial(item: Any) -> Trial:
    """What belongs to this run of a test; begun with its first seed by whatever needs it first."""
    trial = item.stash.get(_TRIAL, None)
    return _begin(item, _seeds(item)[0], 0) if trial is None else trial


def _begin(item: pytest.Item, seed: int, passed: int) -> Trial:
    from failover.testing.trials import Trial

    mark = _mark(item)
    settings = {} if mark is None else _settings(mark)
    simulated = mark is not None or bool(_SIMULATED & set(getattr(item, "fixturenames", ())))
    trial = item.stash[_TRIAL] = Trial(
        seed, simulated=simulated, settings=settings, repeat=_command(item, seed), passed=passed
    )
    return trial


def _settings(mark: pytest.Mark) -> dict[str, Any]:
    """What a mark says of the simulation; a setting that there isn't fails the test."""
    from failover.errors import did_you_mean
    from failover.sim.simulation import Simulation

    known = ["first", *(name for name in inspect.signature(Simulation).parameters if name not in {"seed", "repeat"})]
    for name in mark.kwargs:
        if name not in known:
            meant = did_you_mean(name, known)
            pytest.fail(
                f"the mark {_MARK!r} has no setting {name!r}; {meant}known are {', '.join(known)}", pytrace=False
            )
    return {name: value for name, value in mark.kwargs.items() if name != "first"}


def _renew(item: pytest.Function, seed: int, passed: int) -> None:
    """Set the test's own fixtures up anew, for another seed; those of wider scope stay."""
    again: Any = item  # pytest has no public way to run an item again; plugins that repeat failed tests do this too
    state = again.session._setupstate  # noqa: SLF001
    state.teardown_exact(item.parent)
    _trial(item).close()
    if passed % _COLLECTED == 0:
        gc.collect()  # simulations switch the automatic collection off, so that it comes by no chance
    again._initrequest()  # noqa: SLF001
    _begin(item, seed, passed)
    state.setup(item)


def _judge(item: pytest.Item) -> None:
    trial = item.stash.get(_TRIAL, None)
    if trial is not None and (findings := trial.findings()):
        pytest.fail(_list([trial.shown(str(finding)) for finding in findings]), pytrace=False)


def _list(findings: Sequence[str]) -> str:
    more = [f"and {len(findings) - _FINDINGS} more"] if len(findings) > _FINDINGS else []
    return "\n".join([*(f"{_FOUND}{finding}" for finding in findings[:_FINDINGS]), *more])


def _command(item: pytest.Item, seed: int) -> str:
    """The command that runs one test with one seed, from where pytest was started."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    _, colons, rest = str(item.nodeid).partition("::")
    return f"pytest {shlex.quote(f'{path}{colons}{rest}')} --failover-seed {seed}"
