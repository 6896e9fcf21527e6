"""Imports point one way: docs/architecture.md draws the house, and these lists are its order."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

ORDER = [
    "amt.errors",
    "amt.midi",
    "amt.harmony",
    "amt.audio",
    "amt.tokens",
    "amt.gpt2",
    "amt.decoding",
    "amt.arranging",
    "amt.pooling",
    "amt.embedding",
    "checkpoints",
    "models",
    "worker",
    "tasks",
    "api",
    "server",
]
"""Each may import what stands before it, and itself."""

WITHIN = {
    "serving": ["serving"],
    "client": [],
    "commands": ["client"],
    "amt.gpt2": ["amt.errors", "amt.gpt2"],
    "amt.midi": ["amt.errors", "amt.midi"],
    "amt.harmony": ["amt.errors", "amt.midi", "amt.harmony"],
    "amt.audio": ["amt.errors", "amt.midi", "amt.audio"],
    "agents": ["amt.errors", "amt.midi", "amt.harmony", "client", "agents"],
    "mcp_server": ["client", "agents"],
}
"""Narrower: these may import only so much of ours."""

USES_SERVING = {"worker", "tasks", "api", "server"}

OURS = {
    "agents",
    "amt",
    "api",
    "checkpoints",
    "client",
    "commands",
    "mcp_server",
    "models",
    "server",
    "serving",
    "tasks",
    "worker",
}

MODULES = sorted(
    path
    for pattern in ("*.py", "agents/*.py", "amt/**/*.py", "serving/*.py", "tasks/*.py", "worker/*.py")
    for path in PROJECT.glob(pattern)
)


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def layer_of(module: str) -> str:
    """The entry of the lists that a module belongs to."""
    known = [*ORDER, *WITHIN]
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in known), module)


def imports(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            for alias in node.names:
                name = f"{module}.{alias.name}"
                is_module = (PROJECT / Path(*name.split("."))).with_suffix(".py").exists()
                yield name if is_module else module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    layer = layer_of(module_of(path))
    imported = {layer_of(name) for name in imports(path) if name.split(".")[0] in OURS}
    if layer in WITHIN:
        allowed = set(WITHIN[layer])
    elif layer in ORDER:
        allowed = set(ORDER[: ORDER.index(layer) + 1]) | ({"serving"} if layer in USES_SERVING else set())
    else:
        allowed = set()  # amt itself
    assert imported <= allowed


def test_every_module_has_a_place() -> None:
    assert {layer_of(module_of(path)) for path in MODULES} == {*ORDER, *WITHIN, "amt"}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    uses = {module_of(path): {name for name in imports(path) if name.split(".")[0] in OURS} for path in MODULES}
    while leaves := {module for module, used in uses.items() if not used & uses.keys() - {module}}:
        uses = {module: used for module, used in uses.items() if module not in leaves}
    assert not uses


def test_agents_import_only_what_their_environment_has() -> None:
    text = (PROJECT / "mcp_server.py").read_text()
    named = {name.replace("-", "_") for name in re.findall(r'^#     "([\w-]+)', text, flags=re.MULTILINE)}
    paths = [
        path for path in MODULES if layer_of(module_of(path)) in (*WITHIN["mcp_server"], "amt.midi", "amt.harmony")
    ]
    used = {name.split(".")[0] for path in [*paths, PROJECT / "mcp_server.py"] for name in imports(path)}
    assert used - OURS - sys.stdlib_module_names <= named


def loaded_by(modules: str) -> set[str]:
    """Top-level packages and our own modules that importing these brings in."""
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("modules", ["client", "server", "amt.midi.codec, amt.tokens.windows, amt.arranging.velocity"])
def test_what_starts_fast_never_loads_torch(modules: str) -> None:
    assert not loaded_by(modules) & {"torch", "transformers"}


def test_the_service_never_loads_transformers() -> None:
    assert "transformers" not in loaded_by("serving.process, worker.runner, api, models, amt.embedding")
