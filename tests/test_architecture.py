"""The shape of the package: sizes, purity, and that nothing lies outside its layer."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import resilient_sse

PACKAGE = Path(resilient_sse.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
CORE = {name: path for name, path in MODULES.items() if name.startswith("_core/")}

MAX_LINES = 500
"""One idea, one module, as long as the idea: more than this is a question to the author, and answered here."""
MORE_LINES = {
    "_client/pump.py": 580,  # one loop, and all that may interrupt it
    "_client/stream.py": 520,  # a stream has many options
    "_core/session.py": 650,  # one state machine, its table of transitions and what it tells included
    "testing/script.py": 600,  # the steps, the script and the transport that plays it
}

MAX_FUNCTION_LINES = 49
LONG_FUNCTIONS = {
    ("_client/pump.py", "Pump.next"),  # one loop, which each event passes
    ("_client/pump.py", "Pump._connect"),  # one attempt, and every end that it can have
    ("_client/stream.py", "Subscription.__init__"),  # a stream has many options
    ("testing/server/app.py", "ReferenceServer.__init__"),  # so has a server
    ("_client/transport/redirects.py", "exchange"),  # one request, and each redirect that it may meet
    ("testing/load/run.py", "_result"),  # one line a figure
    ("monitoring/grafana.py", "_details"),  # twelve panels, and what each asks for
    ("_core/batches.py", "Batches._judge_blocks"),  # one pass over many blocks of any form, for its speed
}

IMPURE = """
anyio asyncio concurrent ctypes http io logging multiprocessing os pathlib queue random secrets select selectors
signal socket ssl subprocess tempfile threading time urllib uuid warnings
"""
"""What reads a clock, draws randomness, logs, keeps threads or does I/O."""

CLOCKS = {"now", "utcnow", "today", "fromtimestamp", "localtime", "gmtime"}
CALLS = {"open", "print", "input", "exec", "eval", "__import__"}


def tree(path: Path) -> ast.Module:
    """Parse a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Tell the top-level packages that a module imports anywhere, type checking included."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


def lines_of_code(function: ast.AST) -> int:
    """Count the lines that hold a statement of *function*: no blank lines, comments, docstring or decorators."""
    statements = [*function.body]
    first = statements[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        statements = statements[1:]
    held: set[int] = set(range(function.lineno, function.body[0].lineno))
    for statement in statements:
        for node in ast.walk(statement):
            if hasattr(node, "lineno"):
                held |= {node.lineno, node.end_lineno}
    return len(held)


def functions(node: ast.AST, prefix: str = ""):
    """Yield every function below *node* with its qualified name."""
    for child in ast.iter_child_nodes(node):
        name = prefix + (getattr(child, "name", None) or "")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child
        nested = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from functions(child, f"{name}." if nested else prefix)


def test_modules_are_small():
    """A module that passes the ceiling has more than one job."""
    for name, path in MODULES.items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MORE_LINES.get(name, MAX_LINES), name


def test_functions_are_short():
    """No function has 50 lines of code or more."""
    for name, path in MODULES.items():
        too_long = {
            function: lines
            for function, node in functions(tree(path))
            if (lines := lines_of_code(node)) > MAX_FUNCTION_LINES and (name, function) not in LONG_FUNCTIONS
        }
        assert too_long == {}, name


def test_the_exceptions_are_needed():
    """An exception that is no longer used is taken off the lists above."""
    assert all(name in MODULES for name in MORE_LINES)
    for name, function in LONG_FUNCTIONS:
        (node,) = [node for known, node in functions(tree(MODULES[name])) if known == function]
        assert lines_of_code(node) > MAX_FUNCTION_LINES


def test_modules_have_a_docstring():
    """Every module says what it is for."""
    for name, path in MODULES.items():
        assert ast.get_docstring(tree(path)), name


def test_no_two_classes_have_one_name():
    """One word for one thing."""
    known = {
        "ResilientStream",  # the face for threads is the same to its users
        "Reset",  # a fault of the server, and a toxic of the proxy: both do just that
    }
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert {name for name, modules in places.items() if len(modules) > 1} == known


def test_nothing_that_ships_needs_the_tests():
    """What can only prove this client lies in `tests`, and the package does without it."""
    for name, path in MODULES.items():
        assert "tests" not in imported(path), name


def test_the_core_needs_only_the_standard_library():
    """Nothing third-party, nothing of the shell, and nothing that reads a clock, draws, logs or does I/O."""
    for name, path in CORE.items():
        found = imported(path)
        assert found <= set(sys.stdlib_module_names) | {"resilient_sse"}, name
        buffers = "from io import BytesIO\n" in path.read_text(encoding="utf-8")  # bytes in memory
        assert not found & {*IMPURE.split()} - ({"io"} if buffers else set()), name
        inner = {
            node.module
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resilient_sse")
        }
        assert all(module.startswith("resilient_sse._core") for module in inner), name


def test_the_core_reads_no_clock():
    """Time enters as an argument: not even `datetime.now` is called."""
    for path in CORE.values():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Attribute):
                    assert node.func.attr not in CLOCKS, f"line {node.lineno}"
                elif isinstance(node.func, ast.Name):
                    assert node.func.id not in CALLS, f"line {node.lineno}"


def test_the_core_is_synchronous():
    """Ports are protocols and may name coroutines; nothing else in the core waits."""
    for name, path in CORE.items():
        awaits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
        assert not any(isinstance(node, awaits) for node in ast.walk(tree(path))), name


@pytest.mark.parametrize(
    "where,least", [("core", 25), ("streaming/test_sse_production.py", 16), ("monitoring", 5)]
)
def test_there_are_as_many_tests_as_in_the_report(where, least):
    """R219-R221: 25 of units, 16 of scenarios, 5 of monitoring, at the least; parameters do not count."""
    path = Path(__file__).parent / where
    modules = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    names = [name for module in modules for name, _ in functions(tree(module))]
    assert sum(name.rpartition(".")[2].startswith("test_") for name in names) >= least
