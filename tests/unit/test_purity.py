"""The pure modules reach no engine, no network and no other program."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PURE = (
    *("matrix", "cells", "yamldoc", "layers", "render", "report", "evidence", "errors", "causes"),
    *("buildkit", "graph", "layerdiff", "gpu"),
)
FORBIDDEN = {
    *("asyncio", "docker", "ftplib", "http", "httpx", "requests", "socket", "ssl", "subprocess"),
    *("urllib3", "uv"),
}
FORBIDDEN_PARTS = {"urllib.request"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules a file imports, but for those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
        yield from imported(node)


def reached(source: Path, name: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what a module of the package imports, and those of its own it imports, each once."""
    seen.add(name)
    text = (source / f"{name}.py").read_text(encoding="utf-8")
    for module in imported(ast.parse(text)):
        yield name, module
        first, _, rest = module.partition(".")
        own = rest.partition(".")[0]
        if first == "envmatrix" and own not in seen and (source / f"{own}.py").exists():
            yield from reached(source, own, seen)


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_stays_pure(root: Path, name: str) -> None:
    """Directly, and through every module of the package that it imports."""
    found = {
        f"{by} imports {module}"
        for by, module in reached(root / "src" / "envmatrix", name, {"__init__"})
        if module.partition(".")[0] in FORBIDDEN
        or any(module.startswith(part) for part in FORBIDDEN_PARTS)
    }
    assert set() == found


def test_only_the_engine_room_talks_to_docker(root: Path) -> None:
    """One module imports docker-py; whoever wants something of the engine asks that one."""
    importing = {
        path.stem
        for path in (root / "src" / "envmatrix").glob("*.py")
        if "docker" in {m.partition(".")[0] for m in imported(ast.parse(path.read_text("utf-8")))}
    }
    assert {"engine"} == importing
