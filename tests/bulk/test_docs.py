import shutil
import sys
from pathlib import Path

import pytest

from tests.bulk.conftest import Namespace
from tests.conftest import GOLDEN
from tests.project.test_docs import BULK

pytestmark = pytest.mark.bulk


def test_the_examples_work_and_the_nearest_piece_is_its_copy(namespace: Namespace, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        shutil.copytree(GOLDEN / "midi", tmp_path / "midis" / folder)
    [jobs] = [text for text in BULK if "-m bulk" in text]
    [search] = [text for text in BULK if "pyarrow" in text]
    script = jobs.replace("uv run --group bulk python", sys.executable)
    status, output = namespace.run("bash", "-euo", "pipefail", "-c", script, folder=tmp_path)
    assert status == 0, output
    assert len(list(tmp_path.glob("pieces/midi/*.mid"))) == 8
    status, output = namespace.run(sys.executable, "-c", search, folder=tmp_path)
    assert status == 0, output
    assert output.splitlines()[0] == "1.000 second/chorale_001.mid"
    assert len(output.splitlines()) == 3
