"""Who may import whom: see the house in the README's file tree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


def loaded_by(module: str) -> set[str]:
    """Top-level packages and our own modules that importing a module brings in."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


FAST = ["client", "server", "amt.midi", "amt.events", "amt.dynamics", "amt.arrangement", "amt.part"]


@pytest.mark.parametrize("module", FAST)
def test_what_starts_fast_never_loads_torch(module: str) -> None:
    assert not loaded_by(module) & {"torch", "transformers"}


def test_the_service_never_loads_transformers() -> None:
    assert "transformers" not in loaded_by("serving.worker, api, models, amt.embedding")


def test_the_client_needs_neither_the_service_nor_litserve() -> None:
    assert not loaded_by("client") & {"litserve", "fastapi", "api", "server", "models", "amt"}


def test_the_music_knows_nothing_of_http() -> None:
    loaded = loaded_by("amt.engine, amt.embedding, amt.arrangement, amt.part")
    assert not loaded & {"litserve", "fastapi", "serving", "api", "models", "schemas", "server"}


@pytest.mark.parametrize("path", sorted((PROJECT / "serving").glob("*.py")), ids=lambda path: path.name)
def test_serving_knows_nothing_of_music(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not {name for name in imported if name.split(".")[0] in {"amt", "api", "models", "schemas", "server"}}
