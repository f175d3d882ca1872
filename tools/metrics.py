"""Print the shape of the packages: how dense, how branched, how wide, how much is explained.

``python tools/metrics.py [PACKAGE ...]``: one row for each package. ``make check`` prints it;
nothing fails here, a reader decides. ``--over`` lists what stands above the limits, too.

tokens      what Python's tokenizer finds in a function, without comments, docstrings and line ends;
            a function inside another one counts on its own, and in the outer one too; f-strings
            are one token before Python 3.12 and several since
complexity  McCabe's, as ruff counts it (rule C901)
wide        lines over 100 columns
comments    comments that say something (no ``noqa``, ``type:`` ...), of 100 lines with code
public      names without an underscore at the top of modules: classes, functions, constants
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import statistics
import subprocess
import sys
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("opea_core", "langchain_opea", "llama_index_opea")
COLUMNS = 100
LONGEST = 350
COMPLEXITY = 12

_LAYOUT = {
    tokenize.ENCODING,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_PRAGMA = re.compile(r"#\s*(noqa|type:|pragma|pyright:|fmt:|ruff:|mypy:)")
_COUNTED = re.compile(r"\((\d+) > \d+\)")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Shape:
    """What was counted in a package."""

    files: int = 0
    code: int = 0
    tokens: int = 0
    wide: int = 0
    comments: int = 0
    public: int = 0
    functions: list[tuple[int, str]] = field(default_factory=list)
    """(tokens, where it stands) of each function."""
    branches: list[tuple[int, str]] = field(default_factory=list)
    """(complexity, where it stands) of each function."""

    def row(self) -> list[str]:
        """The figures as they are printed."""
        sizes = [size for size, _ in self.functions] or [0]
        return [
            str(self.files),
            str(self.code),
            f"{self.tokens / max(1, self.code):.1f}",
            str(len(self.functions)),
            f"{statistics.median(sizes):.0f}",
            str(max(sizes)),
            str(max((count for count, _ in self.branches), default=0)),
            f"{self.wide} ({100 * self.wide / max(1, self.code):.1f} %)",
            f"{100 * self.comments / max(1, self.code):.1f} %",
            str(self.public),
        ]


HEAD = [
    "files",
    "code lines",
    "tokens/line",
    "functions",
    "median tokens",
    "longest",
    "complexity",
    "wide",
    "comments",
    "public",
]


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """Where the docstrings of a module begin, those of attributes included."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.lineno, value.col_offset


def _public(tree: ast.Module) -> int:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | _Function):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return sum(not name.startswith("_") for name in names)


def measure(path: Path, shape: Shape) -> None:
    """Add a file to what was counted."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    documented = set(_docstrings(tree))
    lines: list[int] = []  # of each token, in order
    coded: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            shape.comments += not _PRAGMA.match(token.string)
        elif token.type not in _LAYOUT and token.start not in documented:
            lines.append(token.start[0])
            coded.update(range(token.start[0], token.end[0] + 1))
    shape.files += 1
    shape.tokens += len(lines)
    shape.code += len(coded)
    shape.wide += sum(len(line) > COLUMNS for line in text.splitlines())
    shape.public += _public(tree)
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            first, last = node.lineno, node.end_lineno or node.lineno
            size = bisect_right(lines, last) - bisect_left(lines, first)
            shape.functions.append((size, f"{path.relative_to(ROOT)}:{first} {node.name}"))


def complexities(package: str) -> list[tuple[int, str]]:
    """The complexity of each function, from ruff; none if it is not installed."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--exit-zero", "--ignore-noqa"]
    options = ["--select=C901", "--config=lint.mccabe.max-complexity=0", "--output-format=json"]
    run = [*command, *options, package]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        print(f"complexity was not counted: {done.stderr.strip()}", file=sys.stderr)
        return []
    found = []
    for problem in json.loads(done.stdout):
        counted = _COUNTED.search(problem["message"])
        if counted is not None:
            where = f"{Path(problem['filename']).relative_to(ROOT)}:{problem['location']['row']}"
            found.append((int(counted[1]), where))
    return found


def shape_of(package: str) -> Shape:
    """Count a package."""
    shape = Shape(branches=complexities(package))
    for path in sorted((ROOT / package).rglob("*.py")):
        measure(path, shape)
    return shape


def table(rows: dict[str, list[str]]) -> str:
    """The rows under their heads, one column as wide as its longest cell."""
    lines = [["", *HEAD], *([name, *cells] for name, cells in rows.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    printed = []
    for first, *others in lines:
        padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        printed.append("  ".join([first.ljust(widths[0]), *padded]))
    return "\n".join(printed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES)
    parser.add_argument("--over", action="store_true", help="list what is above the limits, too")
    given = parser.parse_args()
    shapes = {package: shape_of(package) for package in given.packages}
    print(table({name: shape.row() for name, shape in shapes.items()}))
    sizes = [found for shape in shapes.values() for found in shape.functions]
    branches = [found for shape in shapes.values() for found in shape.branches]
    over = {
        f"functions over {LONGEST} tokens": [found for found in sizes if found[0] > LONGEST],
        f"complexity over {COMPLEXITY}": [found for found in branches if found[0] > COMPLEXITY],
    }
    for title, found in over.items() if given.over else ():
        print(f"\n{title}: {len(found)}")
        for size, where in sorted(found, reverse=True):
            print(f"{size:5}  {where}")


if __name__ == "__main__":
    main()
