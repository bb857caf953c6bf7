"""Where things lie: the matrix file, and the folders beside it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envmatrix.model.errors import InputError

STATE = ".envmatrix"
ATTESTATIONS = "attestations"
LOCK_NAME = "requirements.lock"
REPORT = "report.json"
"""The document of a report, in its folder."""
PUBLISHED = "published.json"
"""The images that were pushed to registries, beside the published evidence."""
HISTORY = "history.jsonl"
"""The history of verdicts, beside the document."""
SHARD = "shard.json"
"""The file in a report that says which shard it is of."""
_PACKAGE = Path(__file__).parents[1]
_PACKAGE_DATA = _PACKAGE / "_data"
_CHECKOUT = _PACKAGE.parents[1]


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a project, from the path of its matrix file. Nothing is read or made here."""

    matrix: Path

    @property
    def root(self) -> Path:
        """The folder of the matrix file. Everything else lies beneath it."""
        return self.matrix.parent

    @property
    def amendments(self) -> Path:
        """The file that marks evidence invalid; most projects have none."""
        return self.root / "amendments.yaml"

    @property
    def claims(self) -> Path:
        """The file of what vendors declare; most projects have none."""
        return self.root / "claims.yaml"

    @property
    def images(self) -> Path:
        """The rendered folders, which are committed."""
        return self.root / "images"

    @property
    def resolved(self) -> Path:
        """The committed file of what the resolver said of every cell."""
        return self.images / "resolved.json"

    @property
    def reports(self) -> Path:
        """The published evidence, which is committed."""
        return self.root / "reports"

    @property
    def publications(self) -> Path:
        """The list of published images, which is committed."""
        return self.reports / PUBLISHED

    @property
    def state(self) -> Path:
        """What this machine has done. Git ignores it."""
        return self.root / STATE

    @property
    def wheelhouse(self) -> Path:
        """The downloaded wheels."""
        return self.state / "wheelhouse"

    @property
    def report(self) -> Path:
        """The report of the last run on this machine."""
        return self.state / "report"

    def lock(self, folder: str) -> Path:
        """Return where the committed lock of a folder under `images` lies."""
        return self.images / folder / LOCK_NAME

    def packages(self, os: str) -> Path:
        """Return where the published list of the packages of an operating system lies."""
        return self.reports / "packages" / f"{os}.txt"

    def audit(self, cell_id: str) -> Path:
        """Return where the known vulnerabilities of a cell lie. Git ignores them."""
        return self.reports / ATTESTATIONS / f"{cell_id}.vulnerabilities.json"

    @property
    def own_templates(self) -> Path | None:
        """The templates of the project; None where it has none, or they are those of envmatrix."""
        return self._own("templates")

    @property
    def own_probes(self) -> Path | None:
        """The probes of the project; None where it has none, or they are those of envmatrix."""
        return self._own("scripts/probes")

    def probe_folders(self, names: Sequence[str], given: Sequence[Path] = ()) -> Sequence[Path]:
        """Return the folders of probes that the matrix names, and those that are given, each once.

        A matrix may come from others: it must not make a program of any file of this machine. So
        its folders lie in the project.

        Raises:
            InputError: there is no such folder, or it or a file of it lies outside of the project.
        """
        root = self.root.resolve()
        folders = tuple(root / name for name in names)
        for folder in folders:
            if not folder.is_dir():
                raise InputError(
                    "there is no such folder of probes, which the matrix names",
                    where=self.shown(folder),
                    next_step=f"make it (`mkdir -p {shlex.quote(self.shown(folder))}`), or correct "
                    f"`probes` in {self.shown(self.matrix)}",
                )
            for path in (folder, *sorted(folder.glob("*.py"))):
                if not path.resolve().is_relative_to(root):
                    raise InputError(
                        "a link leads out of the project, and probes of the matrix lie in it",
                        where=self.shown(path),
                        next_step="put the file there instead of the link, or name the folder "
                        "yourself: `envmatrix --probes FOLDER ...`",
                    )
        resolved = (one.resolve() if one.resolve().is_relative_to(root) else one for one in given)
        return tuple(dict.fromkeys((*folders, *resolved)))

    def _own(self, name: str) -> Path | None:
        folder = self.root / name
        is_ours = folder.resolve() == (_CHECKOUT / name).resolve()
        return folder if folder.is_dir() and not is_ours else None

    def templates(self) -> Path:
        """Return the folder of the templates of envmatrix.

        Raises:
            InputError: there is none.
        """
        return self._data("templates", "templates")

    def probes(self) -> Path:
        """Return the folder of the probes of envmatrix.

        Raises:
            InputError: there is none.
        """
        return self._data("scripts/probes", "probes")

    def runner(self) -> Path:
        """Return the program that runs the probes of a cell in one container.

        Raises:
            InputError: there is none.
        """
        return self.probes() / "runner" / "probe_runner.py"

    def _data(self, in_checkout: str, in_package: str) -> Path:
        for folder in (_CHECKOUT / in_checkout, _PACKAGE_DATA / in_package):
            if folder.is_dir():
                return folder
        raise InputError(
            f"the folder {in_package} of envmatrix is not there",
            where=str(_PACKAGE_DATA / in_package),
            next_step="reinstall envmatrix: `pip install --force-reinstall envmatrix`",
        )

    def short(self, path: Path) -> str:
        """Return a path as documents hold it: relative to the project where it lies in there."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def shown(self, path: Path) -> str:
        """Return a path as a person can paste it in the current folder.

        It is relative where both lie in the project, or the path lies below that folder.
        """
        path, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100  (links stay as given)
        ours = path.is_relative_to(self.root) and here.is_relative_to(self.root)
        return os.path.relpath(path, here) if ours or path.is_relative_to(here) else str(path)
