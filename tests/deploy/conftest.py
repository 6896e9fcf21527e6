"""The tools that tests of deployment need, and what these make of the files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program, beside this interpreter or on the PATH; skips where it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


def run(*command: str | Path, **options: Any) -> str:
    """Return what a command printed; fail with all that it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session", params=["cpu", "gpu", "components"])
def manifests(
    request: pytest.FixtureRequest, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What kustomize makes of an overlay; `components` is the one for CPUs with all components."""
    folder = KUBERNETES / request.param
    if request.param == "components":
        copy = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
        shutil.copytree(KUBERNETES, copy)
        folder = copy / "all"
        folder.mkdir()
        components = [f"../components/{each.name}" for each in (copy / "components").iterdir()]
        (folder / "kustomization.yaml").write_text(yaml.dump({"resources": ["../cpu"], "components": components}))
    return list(yaml.safe_load_all(run(tool("kubectl"), "kustomize", folder)))
