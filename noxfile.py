"""What the project can do to itself. `nox --list` shows the sessions.

Python 3.11 or newer has to run nox. `scripts/nox` sees to that, and to an engine.
"""

import hashlib
import sys
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.7.11"  # the first whose CommandFailed tells the exit code
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"
# Its environments install with pip, and so with the user's pip settings, which uv does not read.
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
PUBLISHED = ("--profile", "published", "--out", "reports", "--readme", "README.md")
EXIT_INPUT = 2
EXIT_SURROUNDINGS = 3


def install(session: nox.Session, *groups: str) -> None:
    """Install the package, editable, with its dependency groups, unless that was done before."""
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    stamp = Path(session.virtualenv.location, "installed.sha256")
    state = hashlib.sha256(repr((sys.version, groups, pyproject)).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == state:
        return
    declared = tomllib.loads(pyproject.decode())["dependency-groups"]
    session.install("--editable", ".", *(need for group in groups for need in declared[group]))
    stamp.write_text(state)


def envmatrix(session: nox.Session, *args: str) -> None:
    """Run the tool, leave it time to clean up after Ctrl-C, and pass on its exit codes 2 and 3."""
    install(session)
    try:
        session.run("envmatrix", *args, stderr=None, interrupt_timeout=None)
    except CommandFailed as failure:
        # nox itself ends with 1, which also is the tool's code for a broken cell.
        if failure.return_code in {EXIT_INPUT, EXIT_SURROUNDINGS}:
            raise SystemExit(failure.return_code) from failure
        raise


def shell_scripts() -> list[str]:
    """Find the programs under scripts/ and .ci/ that a shell runs."""
    found = []
    for path in sorted(ROOT.glob("scripts/*")) + sorted(ROOT.glob(".ci/*")):
        if path.is_file():
            first_line = path.read_bytes().partition(b"\n")[0]
            if first_line.startswith(b"#!") and first_line.endswith(b"sh"):
                found.append(str(path.relative_to(ROOT)))
    return found


@nox.session
def build_matrix(session: nox.Session) -> None:
    """Build and probe the matrix: `envmatrix run` with the arguments given."""
    envmatrix(session, "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, with the pytest arguments given."""
    install(session, "test")
    session.run("pytest", *session.posargs, interrupt_timeout=None)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, shell scripts, and that what is rendered is current and good."""
    install(session, "test", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("shellcheck", *shell_scripts())
    dockerfiles = sorted(ROOT.glob("images/**/Dockerfile"))
    if dockerfiles:
        session.run("envmatrix", "render", "--check")
        session.run("hadolint", *(str(path.relative_to(ROOT)) for path in dockerfiles))


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve and pin the wheels of cells: `envmatrix lock` with the arguments given."""
    envmatrix(session, "lock", *session.posargs)


@nox.session
def render(session: nox.Session) -> None:
    """Write the Dockerfiles under images/: `envmatrix render` with the arguments given."""
    envmatrix(session, "render", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the published table from the evidence, or what the arguments given ask for."""
    envmatrix(session, "report", *(session.posargs or PUBLISHED))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure envmatrix beside what a user would do instead."""
    install(session)
    session.run("python", "benchmarks/bench.py", *session.posargs, interrupt_timeout=None)
