"""What is promised about names and links: docs/stability.md,
and README as the package page shows it.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/stability.md").read_text("utf-8")
PUBLIC = (
    "opea_core",
    "opea_core.batch",
    "opea_core.on_ray",
    "opea_core.shared",
    "opea_core.testing",
    "opea_core.transports",
    "langchain_opea",
    "llama_index_opea",
    "llama_index_opea.errors",
    "llama_index_opea.testing",
)


def listed(module: str) -> list[str]:
    """The names under a module's heading."""
    section = re.search(
        rf"^### `{re.escape(module)}`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert section is not None, f"docs/stability.md has no section for {module}"
    block = re.search(r"```names\n(.*?)```", section[1], re.DOTALL)
    assert block is not None, f"docs/stability.md lists no names for {module}"
    return block[1].split()


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_listed(module: str) -> None:
    """A name that comes or goes is a decision: the page and CHANGELOG.md say it."""
    assert listed(module) == sorted(importlib.import_module(module).__all__, key=str.lower)


def test_no_other_module_is_promised() -> None:
    assert set(re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)) == set(PUBLIC)


def test_what_is_provisional_is_public() -> None:
    section = PAGE.partition("\n## Provisional\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    assert named != []
    for name in named:
        package, *path = name.split(".")
        value: object = importlib.import_module(package)
        for attribute in path:
            if isinstance(value, ModuleType) and not hasattr(value, attribute):
                importlib.import_module(f"{value.__name__}.{attribute}")
            value = getattr(value, attribute)


def package_page() -> str:
    """README as it is built into the package: with the substitutions of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = "".join((ROOT / fragment["path"]).read_text("utf-8") for fragment in hook["fragments"])
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def test_links_are_absolute_on_the_package_page() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", package_page())
    assert len(links) > 5
    assert [link for link in links if not re.match(r"https?://", link)] == []


def test_links_in_the_repository_lead_somewhere() -> None:
    pages = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md"))
    links = {
        page: re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text("utf-8")) for page in pages
    }
    here = (
        (page, link) for page in pages for link in links[page] if not re.match(r"[a-z]+:", link)
    )
    assert [(page.name, link) for page, link in here if not (page.parent / link).exists()] == []


def test_every_package_is_typed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if not (ROOT / package / "py.typed").is_file()] == []
