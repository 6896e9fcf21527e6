"""Write files that are there as a whole or not at all."""

import contextlib
import os
import posixpath
import uuid
from io import BytesIO
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from bulk.files import open_location

OBJECT_STORES: Final = frozenset({"s3", "gs", "abfs"})
"""By protocol: what is written there is seen once all of it has come, and a new name is a copy."""


class Output(NamedTuple):
    """Hold the folder that a job writes to.

    Attributes:
        fs: its file system.
        folder: its path there.
    """

    fs: Any
    folder: str

    @classmethod
    def at(cls, url: str) -> "Output":
        """Return the output at a path or URL. Raise BulkError if the file system is unknown."""
        return cls(*open_location(url))

    def write(self, path: str, data: bytes) -> None:
        """Write a file, under a temporary name that is then changed where it could be seen half-written.

        Args:
            path: from the folder of the output; what is there is replaced.
            data: its bytes.
        """
        temporary, target = f"{self.folder}/_job/tmp/{uuid.uuid4().hex}", f"{self.folder}/{path}"
        if self._is_object_store:
            self.fs.pipe_file(target, data)
            return
        for each in (temporary, target):
            self.fs.makedirs(posixpath.dirname(each), exist_ok=True)
        try:
            self.fs.pipe_file(temporary, data)
            if isinstance(self.fs, LocalFileSystem):
                os.replace(temporary, target)  # noqa: PTH105 (mv would move it into a folder of that name)
            else:
                self.fs.mv(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                self.fs.rm_file(temporary)
            raise

    @property
    def _is_object_store(self) -> bool:
        protocols = self.fs.protocol
        return not OBJECT_STORES.isdisjoint([protocols] if isinstance(protocols, str) else protocols)

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file; None if there is none."""
        try:
            data: bytes = self.fs.cat_file(f"{self.folder}/{path}")
        except FileNotFoundError:
            return None
        return data

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write a table as Parquet."""
        buffer = BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.write(path, buffer.getvalue())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Return a table, or some of its columns."""
        return pq.read_table(BytesIO(self.read(path) or b""), columns=columns)

    def tables(self, folder: str) -> list[str]:
        """Return the paths of the tables in a folder, sorted; none if there is no such folder."""
        self.fs.invalidate_cache()
        try:
            paths = self.fs.ls(f"{self.folder}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{posixpath.basename(path)}" for path in paths if path.endswith(".parquet"))

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.folder}/{path}")

    def remove_temporary(self) -> None:
        """Remove what processes that were killed have left under temporary names."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(f"{self.folder}/_job/tmp", recursive=True)
