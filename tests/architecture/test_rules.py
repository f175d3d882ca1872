"""The rules of the architecture, read from the source:
who imports whom, and what is never written.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
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
IMPURE = {
    "httpx",
    "httpcore",
    "asyncio",
    "threading",
    "time",
    "random",
    "os",
    "socket",
    "logging",
    "ssl",
    "queue",
    "select",
    "concurrent",
}
HTTP_MODULES = (
    *(f"opea_core.transport.{name}" for name in ("http", "drivers", "deadline", "exchange")),
    "opea_core.transports",
)
FRAMEWORKS = {"langchain", "langchain_core", "llama_index", "langchain_opea", "llama_index_opea"}
BELOW = {
    "opea_core.bounded_dict",
    "opea_core.types",
    "opea_core.errors",
    "opea_core.capabilities",
    "opea_core.config",
    "opea_core.header_checks",
    "opea_core.events",
    "opea_core.urls",
    "opea_core.values",
    "opea_core.version",
    "opea_core.display_text",
}
"""What everybody in opea_core may import."""
MAY_IMPORT = {
    "opea_core.wire": BELOW | {"opea_core.wire"},
    "opea_core.policy": BELOW | {"opea_core.policy"},
    "opea_core.flow": BELOW
    | {"opea_core.wire", "opea_core.policy", "opea_core.flow", "opea_core.settings"},
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
CORE = [name for name in FILES if name.startswith("opea_core")]
ADAPTERS = [name for name in FILES if not name.startswith("opea_core")]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def nodes(name: str) -> list[ast.AST]:
    return list(ast.walk(tree(name)))


def all_nodes(names: Iterable[str]) -> Iterator[tuple[str, ast.AST]]:
    """The nodes of several modules, each with its module's name."""
    return ((name, node) for name in names for node in nodes(name))


def is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


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


@cache
def imports(name: str, typing_too: bool = False) -> set[str]:
    """The full names of what a module imports at run time;
    a relative import has a test of its own.
    """
    found: set[str] = set()
    for node in nodes(name) if typing_too else statements(tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found.update(
                f"{node.module}.{alias.name}"
                for alias in node.names
                if f"{node.module}.{alias.name}" in FILES
            )
    return found


def top(imported: str) -> str:
    return imported.partition(".")[0]


def of(package: str) -> list[str]:
    return [name for name in FILES if name == package or name.startswith(f"{package}.")]


def pure() -> list[str]:
    return [name for package in PURE for name in of(package)]


def importing(
    names: Iterable[str], unwanted: Callable[[str], bool], typing_too: bool = False
) -> list[str]:
    """The imports that break a rule: ``module imports other``."""
    return [
        f"{name} imports {other}"
        for name in names
        for other in sorted(imports(name, typing_too))
        if unwanted(other)
    ]


def line_of(name: str, node: ast.AST) -> str:
    return f"{name}:{getattr(node, 'lineno', '?')}"


def check_none(broken: Iterable[str]) -> None:
    """Fails with everything that breaks a rule; each test is one rule for all modules."""
    found = list(broken)
    assert not found, "\n".join(found)


def test_there_are_modules_to_look_at() -> None:
    assert len(CORE) > 30
    assert len(ADAPTERS) > 20
    assert all(of(package) for package in PURE)


# --- who imports whom


def test_no_module_imports_relatively() -> None:
    check_none(
        line_of(name, node)
        for name, node in all_nodes(FILES)
        if isinstance(node, ast.ImportFrom) and node.level
    )


def test_wire_policy_and_flow_know_no_clock_no_chance_and_no_io() -> None:
    check_none(importing(pure(), lambda other: top(other) in IMPURE))


@pytest.mark.parametrize("package", PURE)
def test_wire_policy_and_flow_import_downward_only(package: str) -> None:
    def upward(other: str) -> bool:
        ours = top(other) == "opea_core" and other != "opea_core"
        return ours and not any(
            other == allowed or other.startswith(f"{allowed}.") for allowed in MAY_IMPORT[package]
        )

    check_none(importing(of(package), upward, typing_too=True))


def test_only_the_transport_knows_httpx() -> None:
    others = [name for name in CORE if not name.startswith(HTTP_MODULES)]
    check_none(
        importing(
            others, lambda other: top(other) in ("httpx", "httpx2", "httpcore", "h11", "anyio")
        )
    )


def test_only_the_transport_and_the_core_use_threads_and_loops() -> None:
    allowed = (
        *("opea_core.transport", "opea_core.testing", "opea_core.cli"),
        *("opea_core.batch", "opea_core.on_ray"),
    )
    exactly = (
        "opea_core.engine",
        "opea_core.backend",
        "opea_core.lazy_imports",
        "opea_core.shared.renewal",
    )
    others = [name for name in CORE if not name.startswith(allowed) and name not in exactly]
    check_none(
        importing(
            others, lambda other: top(other) in ("asyncio", "threading", "concurrent", "queue")
        )
    )


def test_the_core_knows_no_framework_and_no_model_library() -> None:
    unwanted = FRAMEWORKS | {
        "openai",
        "tiktoken",
        "tenacity",
        "requests",
        "typer",
        "trio",
        "yaml",
    }
    others = [name for name in CORE if name != "opea_core.transports.openai_clients"]
    check_none(importing(others, lambda other: top(other) in unwanted, typing_too=True))
    others = [name for name in CORE if name != "opea_core.transport.http.aiohttp_connections"]
    check_none(importing(others, lambda other: top(other) == "aiohttp", typing_too=True))
    drawing = ("opea_core.cli.rich_screen", "opea_core.batch.bar")
    others = [name for name in CORE if name not in drawing]
    check_none(importing(others, lambda other: top(other) == "rich", typing_too=True))


ABOVE = ("opea_core.testing", "opea_core.cli", "opea_core.adapters", "opea_core.pytest_plugin")


def test_the_core_needs_neither_its_tests_nor_what_adapters_share() -> None:
    below = [name for name in CORE if not name.startswith((*ABOVE, "opea_core.__main__"))]
    check_none(importing(below, lambda other: other.startswith(ABOVE), typing_too=True))


def test_only_the_limiter_knows_the_inside_of_the_scheduler() -> None:
    """It has one owner: the others read its values (tickets, reasons) and call nothing."""
    users = {
        name
        for name, node in all_nodes(FILES)
        if isinstance(node, ast.Name) and node.id == "Scheduler"
    }
    owner = {"opea_core.transport.limiter", "opea_core.transport.waking"}
    check_none(sorted(users - {"opea_core.policy.scheduler"} - owner))


OPEN_TO_ADAPTERS = (
    "opea_core",
    "opea_core.adapters",
    "opea_core.errors",
    "opea_core.events",
    "opea_core.lazy_imports",
    "opea_core.testing",
)


def test_adapters_use_public_names_only() -> None:
    broken = []
    for name, node in all_nodes(ADAPTERS):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module is not None
            and top(node.module) == "opea_core"
        ):
            public = (
                getattr(importlib.import_module(node.module), "__all__", ())
                if node.module in OPEN_TO_ADAPTERS
                else ()
            )
            broken += [
                f"{line_of(name, node)}: {node.module}.{alias.name}"
                for alias in node.names
                if alias.name not in public
            ]
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("client", "opea", "_client")
        ):
            broken += (
                [f"{line_of(name, node)}: {node.value.id}.{node.attr}"]
                if node.attr.startswith("_")
                else []
            )
    check_none(broken)


# --- what is never written


def test_the_flow_holds_nothing() -> None:
    """No try/finally and no with in the call: what is held is given back by the driver."""
    held = [
        line_of("opea_core.flow.call", node)
        for node in nodes("opea_core.flow.call")
        if isinstance(node, ast.With | ast.AsyncWith)
        or (isinstance(node, ast.Try | ast.TryStar) and node.finalbody)
    ]
    check_none(held)


def test_no_yield_inside_a_finally() -> None:
    ends = [
        (name, end)
        for name, node in all_nodes(FILES)
        if isinstance(node, ast.Try | ast.TryStar)
        for end in node.finalbody
    ]
    yields = [
        line_of(name, node)
        for name, end in ends
        for node in ast.walk(end)
        if isinstance(node, ast.Yield | ast.YieldFrom)
    ]
    check_none(yields)


def test_no_bare_except() -> None:
    bare = [
        line_of(name, node)
        for name, node in all_nodes(FILES)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    check_none(bare)


def test_no_repetition_in_a_pattern_is_taken_for_a_field_of_an_f_string() -> None:
    """In an rf-string ``{0,3}`` is a tuple and ``{3}`` a number:
    the pattern means something else, and nothing fails.
    """

    def is_number(node: ast.expr) -> bool:
        return isinstance(node, ast.Constant | ast.Tuple)

    found = [
        f"{name}:{n.lineno}"
        for name, n in all_nodes(FILES)
        if isinstance(n, ast.FormattedValue) and is_number(n.value)
    ]
    assert found == []


def test_nothing_happens_at_import() -> None:
    """No call at the top of a module that reads files, opens sockets or starts threads."""
    forbidden = {
        "open",
        "print",
        "exec",
        "eval",
        "input",
        "system",
        "socket",
        "Thread",
        "run",
        "get_event_loop",
        "new_event_loop",
    }
    calls = [
        (name, node)
        for name in CORE
        for statement in tree(name).body
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If)
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    ]
    check_none(
        f"{line_of(name, node)}: {called(node)}"
        for name, node in calls
        if called(node) in forbidden
    )


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    return (
        node.func.id
        if isinstance(node.func, ast.Name)
        else node.func.attr
        if isinstance(node.func, ast.Attribute)
        else ""
    )


def test_one_private_name_of_others() -> None:
    """``transport._pool._network_backend`` and the running loop of asyncio;
    everything else private is ours.
    """
    broken = []
    for name, node in all_nodes(CORE):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            root = base.id if isinstance(base, ast.Name) else ""
            allowed = (
                {"_pool", "_network_backend"}
                if name == "opea_core.transport.http.transports"
                else {"_get_running_loop"}
            )
            if (
                root in ("transport", "asyncio", "httpx", "httpcore", "ssl", "socket", "threading")
                and node.attr not in allowed
            ):
                broken.append(f"{line_of(name, node)}: {node.attr}")
    check_none(broken)


def test_every_module_class_and_public_function_has_a_docstring() -> None:
    bare = [name for name in FILES if not ast.get_docstring(tree(name))]
    for name in (name for name in FILES if not name.startswith("opea_core.cli")):
        for node in tree(name).body:
            if isinstance(
                node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ) and not node.name.startswith("_"):
                bare += [] if ast.get_docstring(node) else [f"{name}.{node.name}"]
    check_none(bare)


# --- what is public


def test_all_is_sorted_and_there() -> None:
    broken = []
    for name in (
        name for name, path in FILES.items() if "__all__" in path.read_text(encoding="utf-8")
    ):
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            if name in CORE or top(error.name or "") in PACKAGES:
                raise
            continue  # its framework is not installed
        public = list(module.__all__)
        if public != sorted(set(public), key=_as_ruff):
            broken.append(f"{name}.__all__ is not sorted, or names something twice")
        broken += [f"{name}.{missing}" for missing in public if not hasattr(module, missing)]
    check_none(broken)


def _as_ruff(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_all_is_complete() -> None:
    """Every name without an underscore that the package has is public,
    and is there for somebody.
    """
    for name in opea_core.__all__:
        getattr(opea_core, name)  # they come when they are asked for
    names = {
        name
        for name, value in vars(opea_core).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    names |= {"errors", "events", "__version__"}
    assert names == set(opea_core.__all__)


def test_every_error_and_event_is_public() -> None:
    assert {
        n
        for n, v in vars(opea_core.errors).items()
        if inspect.isclass(v) and issubclass(v, opea_core.OPEAError)
    } <= set(opea_core.__all__)


# --- in a fresh process


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_pulls_in_neither_asyncio_nor_a_framework_and_touches_no_network() -> None:
    code = """
import sys, socket
opened = []
def hook(event, args):
    if event.startswith(("socket.", "subprocess.", "os.system")):
        opened.append(event)
sys.addaudithook(hook)
from opea_core import *
OPEA()
unwanted = {"asyncio", "langchain", "langchain_core", "llama_index", "openai", "tiktoken", "trio"}
unwanted.add("concurrent.futures.thread")
opened = [event for event in opened if event != "socket.gethostname"]
print(sorted(unwanted & set(sys.modules)), opened)
import threading
print(threading.active_count())
"""
    assert run(code).split("\n")[:2] == ["[] []", "1"]


def test_the_import_writes_and_reads_nothing_but_code() -> None:
    code = """
import sys
opened, code = [], (".py", ".pyc", ".so", ".pth", ".cfg", ".zip")
def hook(event, args):
    if event == "open" and isinstance(args[0], str) and not args[0].endswith(code):
        opened.append(args[0])
import httpx, pydantic, certifi
sys.addaudithook(hook)
from opea_core import *
known = ("__pycache__", "METADATA", "entry_points")
print([name for name in opened if not any(part in name for part in known)])
"""
    assert run(code).strip() == "[]"


def test_the_public_names_come_without_their_modules_being_imported_first() -> None:
    assert run("from opea_core import *; OPEA; errors; events; print('ok')").strip() == "ok"


def test_a_package_imports_what_is_asked_of_it() -> None:
    """pytest imports the plugin in every run, wherever this project is installed."""
    code = (
        "import sys, pytest; before = set(sys.modules); import opea_core.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    names = ("display_text", "errors", "lazy_imports", "pytest_plugin", "version")
    assert run(code).split() == ["opea_core", *(f"opea_core.{name}" for name in names)]
    code = (
        "from opea_core import OPEA; import sys; print({'httpx', 'opea_core.events', "
        "'opea_core.engine'} & set(sys.modules))"
    )
    assert run(code) == "set()\n"
    assert (
        run("import opea_core; print(opea_core.config.Timeouts.__name__, 'OPEA' in dir(opea_core))")
        == "Timeouts True\n"
    )


@pytest.mark.parametrize("package", [opea_core, langchain_opea, llama_index_opea])
def test_names_are_where_the_package_says(package: ModuleType) -> None:
    assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = package.Nonsense


# --- the one private name of httpx


def test_the_private_name_of_httpx_is_still_there() -> None:
    """``transport/http.py`` sets it: that it exists
    and is used by connections made later is what we rely on.
    """
    for transport in (
        httpx.HTTPTransport(),
        httpx.AsyncHTTPTransport(),
        httpx.HTTPTransport(proxy="http://localhost:1"),
    ):
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
