"""The regular expressions of a package, and texts that make a bad one slow."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

PARSER: Any = importlib.import_module("re._parser")
COMPILER: Any = importlib.import_module("re._compiler")
SETS = {"IN", "ANY", "NOT_LITERAL"}
GROUPS: dict[str, Callable[[Any], Any]] = {
    "SUBPATTERN": lambda about: about[3],
    "ATOMIC_GROUP": lambda about: about,
}
ONCE = {"match", "fullmatch"}
METHODS = {"search", "match", "fullmatch", "finditer", "findall", "sub", "subn", "split", "compile"}
SIZES = (16, 24, 36, 54, 80, 120, 180, 270, 2048)
"""Small steps first: an exponential pattern must be found out before it takes for ever."""
ENOUGH = 0.001
"""Seconds of CPU below which nothing is slow."""
A_LETTER = 2e-6
"""Seconds of CPU that each letter of a large text may take."""
EDGE = "\x00"
"""What few patterns match: it stands at the end."""
LETTERS = " \nax1.,:{}[]<>\"'\\-_/é"


class Expression(NamedTuple):
    """A regular expression, and how it is used."""

    name: str
    pattern: re.Pattern[Any]
    anchored: bool = False
    """Whether it is only tried at the beginning of a text."""

    def run(self, text: str) -> None:
        """Look for all that it finds in a text."""
        subject: Any = text.encode() if isinstance(self.pattern.pattern, bytes) else text
        if self.anchored:
            self.pattern.match(subject), self.pattern.fullmatch(subject)
        else:
            for _ in self.pattern.finditer(subject):
                pass


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """All modules of a package; one that cannot be imported fails the test."""
    yield package
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def takers(package: ModuleType) -> frozenset[str]:
    """Functions that are given patterns: those that use one whose text is not in them."""
    found = set[str]()
    for module in modules(package):
        source = inspect.getsource(module)
        if "import re\n" not in source:
            continue
        tree = ast.parse(source)
        for function in [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]:
            if any(_is_handed_on(call.args[0], module, tree) for call in _calls_of_re(function)):
                found.add(function.name)
    return frozenset(found)


def expressions(
    module: ModuleType, source: str = "", given_to: frozenset[str] = frozenset()
) -> Iterator[Expression]:
    """The expressions of a module: compiled ones, all that its calls of ``re`` are given,
    those for ``given_to``, and built ones.
    """
    tree = ast.parse(source or inspect.getsource(module))
    compiled = {
        name: value for name, value in vars(module).items() if isinstance(value, re.Pattern)
    }
    methods = dict[str, set[str]]()
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            methods.setdefault(call.func.value.id, set()).add(call.func.attr)
        if called(call) in given_to:
            texts_ = [
                text
                for node in call.args
                for text in values(node, module, tree)
                if isinstance(text, str)
            ]
            yield from (
                Expression(f"{module.__name__}: {ast.unparse(call)[:60]}", re.compile(text))
                for text in texts_
            )
    for call in _calls_of_re(tree):
        name, method = ast.unparse(call.args[0]), call.func.attr  # type: ignore[attr-defined]
        flags = [
            eval(ast.unparse(node), {"re": re})
            for node in call.args[1:]
            if ast.unparse(node).startswith("re.")
        ]
        found = [re.compile(pattern, *flags) for pattern in values(call.args[0], module, tree)]
        assert found or _is_handed_on(call.args[0], module, tree), (
            f"{module.__name__}: what is {name}?"
        )
        for pattern in found:
            if pattern not in compiled.values():
                yield Expression(f"{module.__name__}: {name}", pattern, method in ONCE)
    for name, pattern in compiled.items():
        yield Expression(f"{module.__name__}.{name}", pattern, methods.get(name, {""}) <= ONCE)
    for name in built_in(tree):
        yield from (
            Expression(f"{module.__name__}.{name}[{key}]", re.compile(text))
            for key, text in vars(module)[name].items()
        )


def called(call: ast.Call) -> str:
    """The name of what is called, whatever it belongs to."""
    return (
        call.func.attr
        if isinstance(call.func, ast.Attribute)
        else call.func.id
        if isinstance(call.func, ast.Name)
        else ""
    )


def built_in(tree: ast.Module) -> list[str]:
    """Names of the mappings whose patterns ``pattern_of`` makes."""
    assigned = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
    ]
    built = [
        node
        for node in assigned
        if any(
            isinstance(part, ast.Call) and called(part) == "pattern_of" for part in ast.walk(node)
        )
    ]
    return [
        ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        for node in built
    ]


def _calls_of_re(tree: ast.AST) -> list[ast.Call]:
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    return [
        call for call in calls if ast.unparse(call.func.value) == "re" and call.func.attr in METHODS
    ]  # type: ignore[attr-defined]


def _is_handed_on(node: ast.expr, module: ModuleType, tree: ast.Module) -> bool:
    """Whether it is a name that only a caller, or what a caller gives, has a value for."""
    if not isinstance(node, ast.Name) or hasattr(module, node.id) or values(node, module, tree):
        return False
    bound = {part.arg for part in ast.walk(tree) if isinstance(part, ast.arg)}
    targets = [
        part.target for part in ast.walk(tree) if isinstance(part, ast.comprehension | ast.For)
    ]
    return node.id in bound | {
        part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
    }


def values(node: ast.expr, module: ModuleType, tree: ast.Module) -> list[Any]:
    """What an expression of the source may be; a word stands for what only a call knows."""
    if isinstance(node, ast.JoinedStr):
        return [
            "".join(
                str(part.value) if isinstance(part, ast.Constant) else _told(part, module)
                for part in node.values
            )
        ]
    if isinstance(node, ast.IfExp):
        return [
            value for branch in (node.body, node.orelse) for value in values(branch, module, tree)
        ]
    if isinstance(node, ast.Name) and not hasattr(module, node.id):
        assigned = [
            each
            for each in ast.walk(tree)
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == node.id
        ]
        return [value for each in assigned for value in values(each.value, module, tree)]
    try:
        return [eval(ast.unparse(node), dict(vars(module)))]
    except NameError:
        return []


def _told(part: ast.expr, module: ModuleType) -> str:
    """What stands in a text for a value: its own text if the module has it."""
    name = (
        part.value.id
        if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name)
        else ""
    )
    return str(getattr(module, name, "word"))


# --- texts


def texts(pattern: re.Pattern[Any]) -> list[Callable[[int], str]]:
    """Makers of texts of a size: for each repetition of the pattern,
    what comes before it and then what it repeats, or only one of both.
    """
    source, flags = pattern.pattern, pattern.flags
    if isinstance(source, bytes):
        source = source.decode("latin-1")
    nodes = list(PARSER.parse(source, flags & ~re.UNICODE))
    marks = "".join(
        dict.fromkeys(letter for letter in source if letter in LETTERS and not letter.isalnum())
    )
    pumps = {pump: None for first in ("", *marks) for pump in pumps_of(nodes, "", first)}
    pairs = {
        pair: None
        for head, unit in pumps
        for pair in ((head, unit), ("", unit), ("", head), (head, " "), ("", head + unit * 20))
    }
    return [
        lambda size, head=head, unit=unit: head + unit * (size // len(unit)) + EDGE
        for head, unit in pairs
        if unit
    ]


def pumps_of(nodes: list[Any], head: str, first: str) -> Iterator[tuple[str, str]]:
    """(what comes before, what is repeated) for each repetition of a parsed pattern;
    sets stand for the ``first`` letter if they may.
    """
    for at, (op, about) in enumerate(nodes):
        before = head + example(nodes[:at], first)
        kind = str(op)
        if kind.endswith("_REPEAT"):
            _, most, inner = about
            if most > 8:
                yield from ((before, unit) for unit in units(list(inner), first))
            yield from pumps_of(list(inner), before, first)
        elif kind in GROUPS:
            yield from pumps_of(list(GROUPS[kind](about)), before, first)
        elif kind == "BRANCH":
            for branch in about[1]:
                yield from pumps_of(list(branch), before, first)
                yield before + example(list(branch), first), " "


def units(nodes: list[Any], first: str) -> list[str]:
    """Some texts that a repeated part matches."""
    kind, about = str(nodes[0][0]), nodes[0][1]
    if len(nodes) == 1 and kind == "BRANCH":
        return [unit for branch in about[1] for unit in units(list(branch), first)]
    if len(nodes) == 1 and kind in SETS:
        return matching(nodes[0], first)[:4]
    return [example(nodes, first)]


def example(nodes: list[Any], first: str) -> str:
    """A text that a part of a pattern may match."""
    return "".join(_example(op, about, first) for op, about in nodes)


def _example(op: Any, about: Any, first: str) -> str:
    kind = str(op)
    if kind == "LITERAL":
        return chr(about)
    if kind in SETS:
        return matching((op, about), first)[0]
    if kind.endswith("_REPEAT"):
        least, _, inner = about
        return example(list(inner), first) * max(1, least)
    if kind in GROUPS:
        return example(list(GROUPS[kind](about)), first)
    if kind == "BRANCH":
        return example(list(about[1][0]), first)
    return ""  # a place, or what stands before or behind it


_MATCHING = dict[tuple[str, str], list[str]]()


def matching(node: Any, first: str) -> list[str]:
    """Letters that a set matches; the same sets stand in most patterns."""
    known = _MATCHING.get((str(node), first))
    if known is None:
        parsed = PARSER.parse("x", re.DOTALL)
        parsed.data[:] = [node]
        pattern = COMPILER.compile(parsed)
        letters = (*first, *LETTERS, *map(chr, range(33, 127)))
        known = [letter for letter in letters if pattern.match(letter)] or ["x"]
        _MATCHING[str(node), first] = known
    return known


# --- time


def seconds(run: Callable[[], object]) -> float:
    """CPU time of this thread."""
    began = time.thread_time()
    run()
    return time.thread_time() - began


def slow_at(expression: Expression, text: Callable[[int], str]) -> int | None:
    """The size at which twice the text takes more than three times as long, whenever it is tried;
    None if there is none.
    """
    for size in SIZES:
        runs = [partial(expression.run, text(size // 2)), partial(expression.run, text(size))]
        enough = max(ENOUGH, size * A_LETTER)
        if seconds(runs[1]) < enough:
            continue
        least = [float("inf"), float("inf")]
        for _ in range(6):
            least = [min(known, seconds(run)) for known, run in zip(least, runs, strict=True)]
            if least[1] < max(enough, 3 * least[0]):
                break
        else:
            return size
    return None
