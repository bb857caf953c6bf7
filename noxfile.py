"""The sessions of the project: build, test, lint, and more. `nox --list` shows them.

nox must run on Python 3.11 or newer. `scripts/nox` finds such a Python, nox and an engine.
"""

import hashlib
import os
import sys
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.7.11"  # the first in which CommandFailed has the exit code
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"
# pip installs into these environments with the user's pip settings, which uv does not read.
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
PUBLISHED = ("--profile", "published", "--out", "reports", "--readme", "README.md", "--site")
EXIT_INPUT = 2
EXIT_SURROUNDINGS = 3


def supported_pythons() -> list[str]:
    """Return the oldest and the newest Python of this machine that the package supports.

    The Pythons of pyenv go to the end of PATH, where nox finds them by their names.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = int(project["requires-python"].removeprefix(">=3."))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    os.environ["PATH"] = os.pathsep.join(
        [os.environ["PATH"], *map(str, sorted(pyenv.glob("versions/*/bin")))]
    )
    # pyenv has a shim for each of its versions, and most shims fail.
    folders = [Path(name) for name in os.get_exec_path() if Path(name).name != "shims"]
    found = [
        f"3.{minor}"
        for minor in range(oldest, oldest + 10)
        if any((folder / f"python3.{minor}").is_file() for folder in folders)
    ]
    return list(dict.fromkeys([*found[:1], *found[-1:]]))


def install(session: nox.Session, *groups: str) -> None:
    """Install the editable package with dependency groups, unless they are installed already."""
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    stamp = Path(session.virtualenv.location, "installed.sha256")
    state = hashlib.sha256(repr((sys.version, groups, pyproject)).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == state:
        return
    declared = tomllib.loads(pyproject.decode())["dependency-groups"]
    session.install("--editable", ".", *(need for group in groups for need in declared[group]))
    stamp.write_text(state)


def envmatrix(session: nox.Session, *args: str) -> None:
    """Run the tool. It may clean up after Ctrl-C, and its exit codes 2 and 3 are passed on."""
    install(session)
    try:
        session.run("envmatrix", *args, stderr=None, interrupt_timeout=None)
    except CommandFailed as failure:
        # nox ends with 1 after any failure, and 1 is also the tool's code for a broken cell.
        if failure.return_code in {EXIT_INPUT, EXIT_SURROUNDINGS}:
            raise SystemExit(failure.return_code) from failure
        raise


def shell_scripts() -> list[str]:
    """Return the files under scripts/ and .ci/ that a shell runs."""
    found = []
    for path in sorted(ROOT.glob("scripts/*")) + sorted(ROOT.glob(".ci/*")):
        if path.is_file():
            first_line = path.read_bytes().partition(b"\n")[0]
            if first_line.startswith(b"#!") and first_line.endswith(b"sh"):
                found.append(str(path.relative_to(ROOT)))
    return found


@nox.session
def build_matrix(session: nox.Session) -> None:
    """Build and probe the matrix: run `envmatrix run` with the given arguments."""
    envmatrix(session, "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with the given pytest arguments."""
    install(session, "test")
    session.run("pytest", *session.posargs, interrupt_timeout=None)


@nox.session
def engines(session: nox.Session) -> None:
    """Run the tests of tests/engines on each Docker engine, or on those that are named."""
    install(session, "test")
    session.run("python", "tests/engines/matrix.py", *session.posargs, interrupt_timeout=None)


@nox.session
def faults(session: nox.Session) -> None:
    """Run the tests that cause faults, on an engine of their own. They need root on Linux."""
    install(session, "test")
    chosen = session.posargs or ["tests/faults"]
    session.run("pytest", *chosen, interrupt_timeout=None)


def install_browser(session: nox.Session) -> None:
    """Install what the tests of the page need: Debian's Chromium, and the driver for it."""
    session.run("scripts/setup-browser", external=True)
    install(session, "test", "browser")


@nox.session
def browser(session: nox.Session) -> None:
    """Run the tests of the page in a real browser."""
    install_browser(session)
    session.run("pytest", "tests/browser", *session.posargs, interrupt_timeout=None)


@nox.session
def screenshots(session: nox.Session) -> None:
    """Draw the page of the committed evidence for README and docs."""
    install_browser(session)
    session.run("python", "tests/browser/screenshots.py", env={"PYTHONPATH": "tests/support"})


SMALL_MATRIX = """
schema: 1
resolve: {as_of: "2026-11-20"}
axes:
  os:
    debian12:
      {distribution: debian, codename: bookworm, glibc: "2.36", python: "3.11", image: "debian:12"}
  python: ["3.11"]
  accelerator: {cpu: {}}
base: {installer: "uv==0.13.9", venv: ["pip"]}
frameworks:
  torch:
    title: PyTorch
    versions: ["2.10.0"]
    variants: [{name: v, requires: ["torch=={version}"], accelerators: {cpu: [">=2"]}}]
profiles: {quick: [{}]}
"""


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist into a folder (default: dist), and try the wheel outside a checkout."""
    folder = Path(*(session.posargs or ["dist"])).resolve()
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(folder))
    files = sorted(map(str, folder.iterdir()))
    session.run("twine", "check", "--strict", *files)
    session.install("--force-reinstall", *(name for name in files if name.endswith(".whl")))
    elsewhere = Path(session.create_tmp())
    (elsewhere / "matrix.yaml").write_text(SMALL_MATRIX, encoding="utf-8")
    with session.chdir(elsewhere):
        session.run("envmatrix", "--version")
        session.run("envmatrix", "plan")
        session.run("envmatrix", "report", "--site")


PYTHONS = supported_pythons()


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """Run the tests that need neither Docker nor a network, and hold their coverage on the oldest.

    To count branches takes a third of the time, and they are the same on each Python.
    """
    install(session, "test")
    coverage = ["--cov"] if session.python == PYTHONS[0] else []
    # A file stays together, because its tests share what is slow to make.
    parallel = ["--numprocesses=auto", "--dist=loadfile"]
    arguments = [*parallel, *coverage, *session.posargs]
    session.run("pytest", "tests/unit", *arguments, interrupt_timeout=None)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, imports, shell scripts, workflows and the rendered Dockerfiles."""
    install(session, "test", "browser", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports", "--no-logo")
    session.run("shellcheck", *shell_scripts())
    workflows = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*.yml"))
    check = ("check-jsonschema", "--builtin-schema")
    session.run(*check, "vendor.github-workflows", *workflows)
    session.run(*check, "vendor.github-actions", "action.yml")
    session.run("zizmor", "--offline", "--no-progress", "--quiet", ".github", "action.yml")
    dockerfiles = sorted(ROOT.glob("images/**/Dockerfile"))
    if dockerfiles:
        session.run("envmatrix", "render", "--check")
        session.run("hadolint", *(str(path.relative_to(ROOT)) for path in dockerfiles))


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve and pin the wheels of cells: run `envmatrix lock` with the given arguments."""
    envmatrix(session, "lock", *session.posargs)


@nox.session
def render(session: nox.Session) -> None:
    """Write the Dockerfiles under images/: run `envmatrix render` with the given arguments."""
    envmatrix(session, "render", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the published table from the evidence, or the report that the arguments ask for."""
    envmatrix(session, "report", *(session.posargs or PUBLISHED))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure envmatrix, and compare it with what a user would do instead."""
    install(session)
    session.run(
        "python",
        "benchmarks/bench.py",
        *session.posargs,
        env={"PYTHONPATH": "tests/support"},
        interrupt_timeout=None,
    )
