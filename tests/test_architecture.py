"""The shape of the package: imports point down the layers, and what each module says of itself is true."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import failover.strategies

ROOT = Path(__file__).parents[1]

TEXT = {"address", "options", "policy", "tokens", "grammar", "schemes"}
WORDS = {
    "errors",
    "event",
    "outcome",
    "receipt",
    "verdict",
    "status",
    "records",
    "pacing",
    "health",
    "foresight",
} | TEXT
BASES = {
    "sink",
    "strategy",
    "judging",
    "sequential",
    "fan_out",
    "held",
    "probing",
    "waiting",
    "taking",
    "leg",
}  # of the words these alone know the loop

# Lowest first. A module is named by what follows `failover.` first; it imports its own layer and those below it.
LAYERS = {
    "words": WORDS | BASES,
    "protocol": {"protocol"},
    "net": {"net"},
    "sinks": {"sinks", "spool"},
    "strategies": {"strategies"},
    "faces": {
        "build",
        "policies",
        "group",
        "interface",
        "subscription",
        "subscriber",
        "blocking",
        "adapters",
        "shared",
    },
    "package": {"failover"},
    "testing": {"sim", "testing", "conformance"},
    "apps": {"cli", "relay", "drill", "plugin", "__main__"},
}
ORDER = list(LAYERS)
LAYER_OF = {part: layer for layer, parts in LAYERS.items() for part in parts}

# The layers that may be imported by each, where that is less than "everything below".
ONLY = {"strategies": {"words", "strategies"}}

# The standard library that a layer must not know: its input and output, its clock and its chance come from above.
INPUT_OUTPUT = {"asyncio", "random", "select", "selectors", "socket", "ssl", "threading", "time"}
FOREIGN = {
    "words": INPUT_OUTPUT,
    "protocol": INPUT_OUTPUT,
    "strategies": {"select", "selectors", "socket", "ssl", "threading", "time"},
}
LOOP = {"asyncio", "random"}  # what the bases know of these: the loop, and the type of the Random they are given


def _modules() -> Iterator[tuple[str, Path]]:
    """Every module on the disk with the name it is imported under; `strategies/` once, without its link."""
    for folder, package in (("failover", "failover"), ("strategies", "failover.strategies")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "failover" and parts[0] == "strategies":
                continue
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


MODULES = dict(_modules())
every_module = pytest.mark.parametrize("module", list(MODULES))


def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _imports(module: str, *, executed: bool = False) -> Iterator[tuple[str, int]]:
    """Each module that `module` imports, anywhere in it, with the line; `executed`: but what type checkers see only."""
    waiting: list[ast.AST] = [_tree(module)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively; imports are absolute here"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield (submodule if submodule in MODULES else node.module), node.lineno
        elif not (executed and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            waiting.extend(ast.iter_child_nodes(node))


@every_module
def test_every_module_has_a_layer(module: str) -> None:
    """A new module can't slip past the rules: it has to be given a layer first."""
    assert _part(module) in LAYER_OF


@every_module
def test_imports_point_down(module: str) -> None:
    """A module imports its own layer and lower ones only; the testing layer serves the apps alone."""
    layer = LAYER_OF[_part(module)]
    allowed = ONLY.get(layer) or set(ORDER[: ORDER.index(layer) + 1])
    wrong = [
        f"line {line}: {imported} is {LAYER_OF[_part(imported)]}, this is {layer}"
        for imported, line in _imports(module)
        if imported.split(".")[0] == "failover" and LAYER_OF[_part(imported)] not in allowed
    ]
    assert not wrong


@every_module
def test_lower_layers_do_no_input_or_output(module: str) -> None:
    """Words and protocol run without loop, socket, clock, chance; of the words only the sinks know asyncio."""
    foreign = FOREIGN.get(LAYER_OF[_part(module)], set()) - (LOOP if _part(module) in BASES else set())
    assert not [(name, line) for name, line in _imports(module) if name.split(".")[0] in foreign]


def test_no_import_cycles() -> None:
    """Modules import each other in no circle, also within a layer."""
    waiting = {module: {name for name, _ in _imports(module, executed=True)} for module in MODULES}
    while ready := {module for module, imported in waiting.items() if not imported & waiting.keys()}:
        waiting = {module: imported for module, imported in waiting.items() if module not in ready}
    assert not waiting


@every_module
def test_all_is_true(module: str) -> None:
    """`__all__` is written out, sorted as ruff sorts it, and names only what exists."""
    if _part(module) == "__main__":
        return
    loaded = importlib.import_module(module)
    assert "__all__" in vars(loaded)
    names: list[str] = loaded.__all__

    def kind(name: str) -> int:
        return 0 if name.isupper() else 1 if name[0].isupper() else 2

    assert names == sorted(set(names), key=lambda name: (kind(name), name))
    assert [name for name in names if not hasattr(loaded, name)] == []


@every_module
def test_modules_take_from_each_other_what_is_offered(module: str) -> None:
    """What a module imports from another one of ours stands in the `__all__` of that one."""
    taken = [
        (node.module, alias.name)
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and node.module in MODULES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in MODULES
    ]
    assert [f"{source}.{name}" for source, name in taken if name not in importlib.import_module(source).__all__] == []


@every_module
def test_what_is_public_is_documented(module: str) -> None:
    """Every module, and every class and function in its `__all__`, has a docstring of its own."""
    if _part(module) == "__main__":
        return
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    public = [(name, getattr(loaded, name)) for name in loaded.__all__]
    assert [name for name, value in public if inspect.isclass(value) and not value.__dict__.get("__doc__")] == []
    assert [name for name, value in public if inspect.isroutine(value) and not value.__doc__] == []


def test_package_list_equals_the_disk() -> None:
    """The packages that pyproject lists are the folders that hold modules: a wheel lacks nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    on_disk = {name if path.name == "__init__.py" else name.rpartition(".")[0] for name, path in MODULES.items()}
    assert project["tool"]["setuptools"]["packages"] == sorted(on_disk)
    assert [name for name in on_disk if name not in MODULES] == [], "a package without __init__.py"


def test_strategies_refuse_their_generic_name() -> None:
    """`import strategies` is an error that says what to do: the folder is one package, under one name."""
    origin = failover.strategies.__file__
    assert origin is not None
    spec = importlib.util.spec_from_file_location("strategies", origin)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"failover\.strategies: install failover"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
