"""The rules of the architecture, read from the source: who imports whom, and what is never written."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import httpx
import pytest

import langchain_opea
import llama_index_opea
import opea_core

ROOT = Path(opea_core.__file__).parent.parent
PACKAGES = ("opea_core", "langchain_opea", "llama_index_opea")
PURE = ("opea_core.wire", "opea_core.policy", "opea_core.flow")
IMPURE = {"httpx", "httpcore", "asyncio", "threading", "time", "random", "os", "socket", "logging", "ssl", "queue", "select", "concurrent"}
HTTP_MODULES = tuple(f"opea_core.transport.{name}" for name in ("http", "drivers", "deadline", "exchange"))
FRAMEWORKS = {"langchain", "langchain_core", "llama_index", "langchain_opea", "llama_index_opea"}
BELOW = {
    "opea_core.bounded_dict",
    "opea_core.types",
    "opea_core.errors",
    "opea_core.config",
    "opea_core.events",
    "opea_core.urls",
    "opea_core.version",
    "opea_core.display_text",
}
"""What everybody in opea_core may import."""
MAY_IMPORT = {
    "opea_core.wire": BELOW | {"opea_core.wire"},
    "opea_core.policy": BELOW | {"opea_core.policy"},
    "opea_core.flow": BELOW | {"opea_core.wire", "opea_core.policy", "opea_core.flow", "opea_core.settings"},
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
CORE = [name for name in FILES if name.startswith("opea_core")]
every_module = pytest.mark.parametrize("name", FILES)


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run: what stands under TYPE_CHECKING does not."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield other
                yield from statements(other)
            continue
        yield child
        yield from statements(child)


def imports(name: str, typing_too: bool = False) -> set[str]:
    """The full names of what a module imports at run time."""
    found: set[str] = set()
    for node in ast.walk(tree(name)) if typing_too else statements(tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in FILES)
    return found


def top(imported: str) -> str:
    return imported.partition(".")[0]


def of(package: str) -> list[str]:
    return [name for name in FILES if name == package or name.startswith(f"{package}.")]


def test_there_are_modules_to_look_at() -> None:
    assert len(CORE) > 30
    assert all(of(package) for package in PURE)


# --- who imports whom


@pytest.mark.parametrize("name", [name for package in PURE for name in of(package)])
def test_wire_policy_and_flow_know_no_clock_no_chance_and_no_io(name: str) -> None:
    assert {imported for imported in imports(name) if top(imported) in IMPURE} == set()


@pytest.mark.parametrize("name", [name for package in PURE for name in of(package)])
def test_wire_policy_and_flow_import_downward_only(name: str) -> None:
    allowed = next(names for package, names in MAY_IMPORT.items() if name == package or name.startswith(f"{package}."))
    ours = {imported for imported in imports(name, typing_too=True) if top(imported) == "opea_core" and imported != "opea_core"}
    assert {imported for imported in ours if not any(imported == a or imported.startswith(f"{a}.") for a in allowed)} == set()


@pytest.mark.parametrize("name", CORE)
def test_only_the_transport_knows_httpx(name: str) -> None:
    http = {imported for imported in imports(name) if top(imported) in ("httpx", "httpcore", "h11", "anyio")}
    assert name.startswith(HTTP_MODULES) or http == set()


@pytest.mark.parametrize("name", CORE)
def test_only_the_transport_and_the_core_use_threads_and_loops(name: str) -> None:
    allowed = name.startswith(("opea_core.transport", "opea_core.testing", "opea_core.cli", "opea_core.batch")) or name in (
        "opea_core.engine",
        "opea_core.backend",
        "opea_core.lazy_imports",
    )
    assert allowed or not {imported for imported in imports(name) if top(imported) in ("asyncio", "threading", "concurrent", "queue")}


@pytest.mark.parametrize("name", CORE)
def test_the_core_knows_no_framework_and_no_model_library(name: str) -> None:
    extra = {"aiohttp"} if name != "opea_core.transport.http.aiohttp_connections" else set()
    unwanted = FRAMEWORKS | extra | {"openai", "tiktoken", "tenacity", "requests", "rich", "typer", "trio", "yaml"}
    assert {imported for imported in imports(name, typing_too=True) if top(imported) in unwanted} == set()


ABOVE = ("opea_core.testing", "opea_core.cli", "opea_core.adapters", "opea_core.pytest_plugin")


@pytest.mark.parametrize("name", [name for name in CORE if not name.startswith((*ABOVE, "opea_core.__main__"))])
def test_the_core_needs_neither_its_tests_nor_what_adapters_share(name: str) -> None:
    assert not {imported for imported in imports(name, typing_too=True) if imported.startswith(ABOVE)}


def test_only_the_gate_knows_the_dispatchers_inside() -> None:
    """It is no structure for two owners: the others read its values (tickets, reasons) and call nothing."""
    users = {name for name in FILES for node in ast.walk(tree(name)) if isinstance(node, ast.Name) and node.id == "Scheduler"}
    assert users <= {"opea_core.policy.scheduler", "opea_core.transport.limiter"}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("langchain_opea", "llama_index_opea"))])
def test_adapters_use_public_names_only(name: str) -> None:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and top(node.module) == "opea_core":
            public = importlib.import_module(node.module).__all__
            assert node.module in (
                "opea_core",
                "opea_core.adapters",
                "opea_core.errors",
                "opea_core.events",
                "opea_core.lazy_imports",
                "opea_core.testing",
            ), node.module
            assert {alias.name for alias in node.names} <= set(public)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("client", "opea", "_client"):
            assert not node.attr.startswith("_"), f"{name}:{node.lineno} uses {node.attr}"


# --- what is never written


def test_the_flow_holds_nothing() -> None:
    """No try/finally and no with in the call: what is held is given back by the driver."""
    kinds = (ast.Try, ast.With, ast.AsyncWith, ast.TryStar)
    for node in ast.walk(tree("opea_core.flow.call")):
        if isinstance(node, ast.Try | ast.TryStar):
            assert not node.finalbody, f"line {node.lineno}"
        assert not isinstance(node, kinds[1:3]), f"line {getattr(node, 'lineno', '?')}"


@every_module
def test_no_yield_inside_a_finally(name: str) -> None:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Try | ast.TryStar):
            for inner in (found for statement in node.finalbody for found in ast.walk(statement)):
                assert not isinstance(inner, ast.Yield | ast.YieldFrom), f"{name}:{inner.lineno}"


@every_module
def test_no_bare_except(name: str) -> None:
    for node in ast.walk(tree(name)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", CORE)
def test_nothing_happens_at_import(name: str) -> None:
    """No call at the top of a module that reads files, opens sockets or starts threads."""
    forbidden = {"open", "print", "exec", "eval", "input", "system", "socket", "Thread", "run", "get_event_loop", "new_event_loop"}
    for statement in tree(name).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
                assert called not in forbidden, f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", CORE)
def test_one_private_name_of_others(name: str) -> None:
    """``transport._pool._network_backend`` and the running loop of asyncio; everything else private is ours."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            root = base.id if isinstance(base, ast.Name) else ""
            if root in ("transport", "asyncio", "httpx", "httpcore", "ssl", "socket", "threading"):
                found.add(node.attr)
    assert found <= ({"_pool", "_network_backend"} if name == "opea_core.transport.http.transports" else {"_get_running_loop"})


@every_module
def test_every_module_class_and_public_function_has_a_docstring(name: str) -> None:
    assert ast.get_docstring(tree(name)), name
    for node in tree(name).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or name.startswith("opea_core.cli"), f"{name}.{node.name}"


# --- what is public


@pytest.mark.parametrize("name", [name for name in FILES if "__all__" in FILES[name].read_text(encoding="utf-8")])
def test_all_is_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name) if name.startswith("opea_core") else pytest.importorskip(name, exc_type=ImportError)
    assert list(module.__all__) == sorted(module.__all__, key=_as_ruff), name
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert len(set(module.__all__)) == len(module.__all__)


def _as_ruff(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_all_is_complete() -> None:
    """Every name without an underscore that the package has is public, and is there for somebody."""
    for name in opea_core.__all__:
        getattr(opea_core, name)  # they come when they are asked for
    names = {name for name, value in vars(opea_core).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    names |= {"errors", "events", "__version__"}
    assert names == set(opea_core.__all__)


def test_every_error_and_event_is_public() -> None:
    assert {n for n, v in vars(opea_core.errors).items() if inspect.isclass(v) and issubclass(v, opea_core.OPEAError)} <= set(
        opea_core.__all__
    )


# --- in a fresh process


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_pulls_in_neither_asyncio_nor_a_framework_and_touches_no_network() -> None:
    code = """
import sys, socket
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith(("socket.", "subprocess.", "os.system")) else None)
from opea_core import *
OPEA()
unwanted = {"asyncio", "langchain", "langchain_core", "llama_index", "openai", "tiktoken", "trio", "concurrent.futures.thread"}
print(sorted(unwanted & set(sys.modules)), [event for event in opened if event not in ("socket.gethostname",)])
import threading
print(threading.active_count())
"""
    assert run(code).split("\n")[:2] == ["[] []", "1"]


def test_the_import_writes_and_reads_nothing_but_code() -> None:
    code = """
import sys
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[0], str) and not args[0].endswith((".py", ".pyc", ".so", ".pth", ".cfg", ".zip")):
        opened.append(args[0])
import httpx, pydantic, certifi
sys.addaudithook(hook)
from opea_core import *
print([name for name in opened if "__pycache__" not in name and "METADATA" not in name and "entry_points" not in name])
"""
    assert run(code).strip() == "[]"


def test_the_public_names_come_without_their_modules_being_imported_first() -> None:
    assert run("from opea_core import *; OPEA; errors; events; print('ok')").strip() == "ok"


def test_a_package_imports_what_is_asked_of_it() -> None:
    """pytest imports the plugin in every run, wherever this project is installed."""
    code = "import sys, pytest; before = set(sys.modules); import opea_core.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    names = ("display_text", "errors", "lazy_imports", "pytest_plugin", "version")
    assert run(code).split() == ["opea_core", *(f"opea_core.{name}" for name in names)]
    code = "from opea_core import OPEA; import sys; print({'httpx', 'opea_core.events', 'opea_core.engine'} & set(sys.modules))"
    assert run(code) == "set()\n"
    assert run("import opea_core; print(opea_core.config.Timeouts.__name__, 'OPEA' in dir(opea_core))") == "Timeouts True\n"
    for package, name, unwanted in (("langchain_opea", "ChatOPEA", "embeddings"), ("llama_index_opea", "OPEALLM", "rerank")):
        assert run(f"from {package} import {name}; import sys; print('{package}.{unwanted}' in sys.modules)") == "False\n"


@pytest.mark.parametrize("package", [opea_core, langchain_opea, llama_index_opea])
def test_names_are_where_the_package_says(package: ModuleType) -> None:
    assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = package.Nonsense


# --- the one private name of httpx


def test_the_private_name_of_httpx_is_still_there() -> None:
    """``transport/http.py`` sets it: that it exists and is used by connections made later is what we rely on."""
    for transport in (httpx.HTTPTransport(), httpx.AsyncHTTPTransport(), httpx.HTTPTransport(proxy="http://localhost:1")):
        assert hasattr(transport._pool, "_network_backend"), type(transport)
        assert callable(transport._pool.create_connection)


def test_connections_use_the_backend_that_was_set() -> None:
    class Used(Exception):
        pass

    class Backend:
        def connect_tcp(self, *args: object, **options: object) -> None:
            raise Used

        async def aconnect(self) -> None: ...

    transport = httpx.HTTPTransport()
    transport._pool._network_backend = Backend()  # type: ignore[assignment]
    with pytest.raises(Used):
        transport.handle_request(httpx.Request("GET", "http://localhost:1/"))
    transport.close()


async def test_async_connections_use_it_too() -> None:
    class Used(Exception):
        pass

    class Backend:
        async def connect_tcp(self, *args: object, **options: object) -> None:
            raise Used

    transport = httpx.AsyncHTTPTransport()
    transport._pool._network_backend = Backend()  # type: ignore[assignment]
    with pytest.raises(Used):
        await transport.handle_async_request(httpx.Request("GET", "http://localhost:1/"))
    await transport.aclose()
