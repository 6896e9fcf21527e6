"""Provide the held-out pieces of the training corpus."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amt.tokens import events as ev
from benchmarks.running import PROJECT
from training.corpus import Piece

CORPUS = PROJECT.parent / "shared/corpus.tar.xz"


@contextmanager
def held_out_folder(corpus: Path) -> Iterator[Path | None]:
    """Provide the held-out pieces of a corpus in a folder of their own, until the block ends; None if it has none."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "held-out"
        for name, data in files_of(corpus):
            path = folder / name
            if Piece(path.parent.name, path.name, ev.empty()).held_out:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        yield folder if folder.exists() else None


def files_of(corpus: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (collection/name, bytes) of each MIDI file of a corpus: of a folder, an archive, or of nothing."""
    if corpus.is_dir():
        for path in corpus.glob("*/*.mid"):
            yield str(path.relative_to(corpus)), path.read_bytes()
    elif corpus.is_file():
        with tarfile.open(corpus) as archive:
            for member in archive:
                parts = Path(member.name).parts
                if member.isfile() and parts[-1].endswith(".mid") and len(parts) > 1:
                    yield "/".join(parts[-2:]), archive.extractfile(member).read()  # type: ignore[union-attr]
