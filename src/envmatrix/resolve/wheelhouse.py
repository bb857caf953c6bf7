"""The wheelhouse: every wheel is downloaded once, checked by hash, and shared by all cells.

pip downloads the wheels, so the user's indexes, credentials, certificates and proxies count. uv
downloads interpreters (`resolve/interpreters.py`). A file whose hash is not the hash in the lock is
put aside (quarantine) and downloaded again. An archive that would write outside of its folder is
refused. No build gets such a file.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from envmatrix.model.errors import InputError, NetworkError, SurroundingsError
from envmatrix.model.interpreters import Interpreter, Wanted
from envmatrix.model.locks import Lock, Wheel, check_wheel
from envmatrix.resolve.archives import outside
from envmatrix.store.files import using

if TYPE_CHECKING:
    from envmatrix.resolve.downloading import Downloads
    from envmatrix.resolve.interpreters import Interpreters


class Wheelhouse:
    """The wheels under a folder, at `wheels/SHA-256/FILE`, and interpreters as a mirror has them.

    `tell` gets what a user should know. A download ends at once when `stopped` is set.
    """

    def __init__(
        self,
        root: Path,
        tell: Callable[[str], None],
        stopped: threading.Event | None = None,
    ) -> None:
        self.root = root
        self._tell = tell
        self._stopped = stopped or threading.Event()
        self._downloading = threading.Lock()
        # Two locks: the wheels of one build can be checked while others are downloaded.
        self._checking = threading.Lock()
        self._sound: set[Path] = set()
        self._downloaded: set[Path] = set()

    # What downloads is imported where something is missing: most often nothing is.
    @cached_property
    def _downloads(self) -> Downloads:
        from envmatrix.resolve.downloading import Downloads  # noqa: PLC0415

        return Downloads(self._stopped)

    @cached_property
    def _interpreters(self) -> Interpreters:
        from envmatrix.resolve.interpreters import Interpreters  # noqa: PLC0415
        from envmatrix.resolve.pip_settings import pip_settings  # noqa: PLC0415

        return Interpreters(pip_settings(), self._stopped)

    def path(self, file: Wheel | Interpreter) -> Path:
        """Return the place of a file of a lock, whether the file is there or not.

        Raises:
            InputError: a field of the wheel is not as it must be. No path leaves the folder so.
        """
        if isinstance(file, Interpreter):
            return self.root / "python" / file.place
        try:
            check_wheel(file)
        except ValueError as error:
            raise InputError(
                f"a lock names a wheel that cannot be one: {error}",
                next_step="make the lock anew with `envmatrix lock --fresh`",
            ) from None
        return self.root / "wheels" / file.sha256 / file.filename

    def missing(self, lock: Lock) -> list[Wheel]:
        """Return the wheels of a lock that are not here or have another size. No wheel is read."""
        return [wheel for wheel in lock.wheels if not self._is_here(wheel)]

    def _is_here(self, wheel: Wheel) -> bool:
        try:
            size = self.path(wheel).stat().st_size
        except OSError:
            return False
        return wheel.size in (0, size)

    def fetch(self, lock: Lock, *, python: str, glibc: str, arch: str, index: str | None) -> int:
        """Download the files of a lock that are missing or damaged. Return the bytes downloaded.

        Raises:
            NetworkError: a file cannot be downloaded.
            SurroundingsError: the disk is full, or a file on it cannot be used.
        """
        with self._downloading, using(self.root):
            self._remove_leftovers()
            wanted = [wheel for wheel in lock.wheels if not self._is_sound(wheel)]
            size = sum(wheel.size for wheel in wanted)
            if wanted:
                from envmatrix.resolve.downloading import target_of  # noqa: PLC0415

                with self._incoming() as folder:
                    target = target_of(python, glibc, arch)
                    self._downloads.bring(wanted, folder, target, index)
                    for wheel in wanted:
                        self._keep(folder, wheel)
                        self._downloaded.add(self.path(wheel))
            if lock.interpreter and not self._is_sound(lock.interpreter):
                self._bring(lock.interpreter.filename, lock.interpreter)
                size += lock.interpreter.size
            return size

    def pin(self, wanted: Wanted, known: Interpreter | None) -> Interpreter:
        """Return the newest interpreter that meets a want. It is downloaded, unless it is `known`.

        Raises:
            NetworkError: it cannot be downloaded, or there is none.
            SurroundingsError: the disk is full, or a file on it cannot be used.
        """
        filename = self._interpreters.newest(wanted)
        if known and known.filename == filename:
            return known
        with self._downloading, using(self.root):
            self._remove_leftovers()
            return self._bring(filename)

    def _bring(self, filename: str, pinned: Interpreter | None = None) -> Interpreter:
        """Download an interpreter and keep it, if it is the pinned one or none is pinned."""
        with self._incoming() as folder:
            arrived = self._interpreters.download(filename, folder, pinned)
            with arrived.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            found = Interpreter(filename, sha256, arrived.stat().st_size)
            if pinned not in (None, found):
                from envmatrix.resolve.interpreters import other_bytes  # noqa: PLC0415

                raise other_bytes(filename, sha256)
            _check_members(arrived, filename)
            place = self.path(found)
            place.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(place)
        return found

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.root, prefix="incoming-") as folder:
            yield Path(folder)

    def _remove_leftovers(self) -> None:
        """Remove what killed runs left behind. One run at a time works in this folder."""
        for folder in self.root.glob("incoming-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _is_sound(self, wanted: Wheel | Interpreter) -> bool:
        """Return whether a file is here and has its SHA-256. Put the file aside where it has not.

        Each file is read once in the life of this object: many cells of a run share wheels.

        Raises:
            SurroundingsError: the file cannot be read, or would write outside of its folder.
        """
        path = self.path(wanted)
        with self._checking, using(path):
            if path in self._sound:
                return True
            if not path.exists():
                return False
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != wanted.sha256:
                self._quarantine(wanted, found)
                return False
            if isinstance(wanted, Wheel):  # To read an interpreter again takes a second.
                _check_members(path, wanted.filename)
            self._sound.add(path)
            return True

    def doubt(self) -> None:
        """Forget which files were read and found sound: each is read again before its next use."""
        with self._checking:
            self._sound.clear()

    def discard(self, wheels: Iterable[Wheel]) -> None:
        """Remove those of these wheels that this object downloaded. What was here before stays.

        Raises:
            SurroundingsError: a file cannot be removed.
        """
        for path in map(self.path, wheels):
            if path not in self._downloaded:
                continue
            with self._checking, using(path):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # another file of the same bytes has another name there
                    path.parent.rmdir()
                self._sound.discard(path)
            self._downloaded.discard(path)

    def _quarantine(self, wanted: Wheel | Interpreter, found: str) -> None:
        # The folder is named after the bytes that were found, so no other file is overwritten.
        place = self.root / "quarantine" / found / wanted.filename
        place.parent.mkdir(parents=True, exist_ok=True)
        self.path(wanted).replace(place)
        self._tell(
            f"{wanted.filename} was corrupted (its SHA-256 is {found[:12]}…, not "
            f"{wanted.sha256[:12]}…) and has to be fetched again; "
            f"the damaged file is in {place.parent}"
        )

    def _keep(self, folder: Path, wheel: Wheel) -> None:
        arrived = folder / wheel.filename
        if not arrived.exists():
            raise NetworkError(
                f"pip brought no {wheel.filename}",
                next_step="lock the cell again: the index has changed",
            )
        _check_members(arrived, wheel.filename)
        place = self.path(wheel)
        with using(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(place)

    def check(self, lock: Lock) -> None:
        """Check that every file of a lock is here and undamaged, so that a build can take it.

        Raises:
            SurroundingsError: a file is damaged or missing, or the disk fails.
        """
        for file in lock.files:
            if not self._is_sound(file):
                raise SurroundingsError(
                    f"{file.filename} is not in the wheelhouse, or was damaged there",
                    where=str(self.path(file)),
                    next_step="run again: it is fetched then",
                )


def _check_members(path: Path, filename: str) -> None:
    """Check that no member of an archive would be written outside of its folder.

    Raises:
        SurroundingsError: one would, and which.
    """
    if member := outside(path):
        raise SurroundingsError(
            f"{filename} is refused: it would write {member} outside of its folder",
            where=str(path),
            next_step="take another release of it, and tell its publisher",
            kind="unsafe-archive",
        )
