"""What uv writes, as a lock: the file `pylock.toml` of PEP 751, and one wheel a distribution."""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.pylock import Package, PackageWheel, Pylock, PylockValidationError
from packaging.tags import create_compatible_tags_selector
from packaging.utils import parse_wheel_filename

from envmatrix.model.errors import ToolError
from envmatrix.model.locks import Lock, Problem, Wheel
from envmatrix.resolve.tags import supported_tags


def read_pylock(file: Path, problem: Problem) -> Lock:
    """Return the lock in a file that uv wrote as the answer to a problem.

    Raises:
        ToolError: the file is not as PEP 751 says, or a distribution in it has no wheel that fits.
    """
    try:
        pylock = Pylock.from_dict(tomllib.loads(file.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, PylockValidationError) as error:
        raise _unusable(f"uv wrote a lock that cannot be read: {error}") from error
    wheels = (_best_wheel(package, problem, file.parent) for package in pylock.packages)
    return Lock(
        problem.key,
        problem.target,
        problem.as_of,
        tuple(sorted(wheels, key=lambda wheel: wheel.name)),
    )


def _best_wheel(package: Package, problem: Problem, folder: Path) -> Wheel:
    """Return the wheel of a distribution that an installer takes.

    `Pylock.select` is not used. It evaluates markers, and for these it needs the full version of
    the cell's Python, which nobody knows before the image is built. uv has evaluated the markers
    already, and wrote only what the cell needs.
    """
    best_first = create_compatible_tags_selector(
        supported_tags(problem.python, problem.glibc, problem.arch)
    )
    tagged = ((wheel, parse_wheel_filename(wheel.filename)[3]) for wheel in package.wheels or ())
    best = next(best_first(tagged), None)
    if best is None or package.version is None:
        raise _unusable(f"uv chose {package.name}, and names no wheel of it for {problem.target}")
    if "sha256" not in best.hashes:
        raise _unusable(f"the index gives no SHA-256 of {best.filename}")
    return Wheel(
        package.name,
        str(package.version),
        best.filename,
        best.hashes["sha256"],
        _size(best, folder),
    )


def _size(wheel: PackageWheel, folder: Path) -> int:
    """Return the bytes of a wheel, and 0 where neither the file nor the disk tells them.

    uv writes no size of a wheel that it found in a local folder.
    """
    if wheel.size is not None:
        return wheel.size
    if wheel.url:
        parts = urlsplit(wheel.url)
        local = Path(unquote(parts.path)) if parts.scheme in ("", "file") else None
    else:
        local = folder / (wheel.path or "")
    return local.stat().st_size if local and local.is_file() else 0


def _unusable(what: str) -> ToolError:
    return ToolError(what, next_step="check the requirements in the matrix and the index")
