"""What this machine does not let envmatrix do: write, connect, start programs. Each is an error."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from disks import read_only, small_disk
from fake_engine import FakeEngine
from shown import Shown
from small_project import GOOD, Folder
from uv import find_uv_bin


def shown(
    project: Folder, *arguments: str, by: tuple[str, ...] = (), **variables: str | None
) -> Shown:
    """Run a command, by another one, with some variables of the environment changed or unset."""
    changed = {**project.environment, **variables}
    done = subprocess.run(
        [*by, *project.command(*arguments)],
        cwd=project.root,
        env={name: value for name, value in changed.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Shown(done.returncode, done.stdout, done.stderr)


# --- what cannot be written or read


@pytest.fixture
def sealed(here: Folder, tmp_path: Path) -> Iterator[Folder]:
    """A project with evidence, on a disk that is read-only."""
    assert here.run("run", GOOD).returncode == 0
    with small_disk(tmp_path / "disk", "size=40m") as disk:
        shutil.copytree(here.root, disk, dirs_exist_ok=True)
        read_only(disk)
        yield Folder(disk, here.environment)


@pytest.mark.parametrize("command", ["run", "lock", "render", "build", "probe", "report", "verify"])
def test_a_read_only_project(command: str, sealed: Folder) -> None:
    """Commands that write say so, and that a copy can be written. They end with 3."""
    done = shown(sealed, command, GOOD)
    assert done.is_refusal(3, "Read-only file system", "copy of the project", str(sealed.root))


@pytest.mark.parametrize("arguments", [("plan",), ("explain", GOOD), ("recommend",)])
def test_a_read_only_project_is_read(arguments: tuple[str, ...], sealed: Folder) -> None:
    """Commands that only read work."""
    done = shown(sealed, *arguments)
    assert done.code == 0, done.err
    assert GOOD in done.out


@pytest.mark.parametrize("command", ["run", "lock", "render", "report"])
def test_a_project_of_another_user(command: str, public: Folder, nobody: tuple[str, ...]) -> None:
    """A user who may read it only hears whose folder it is, and which."""
    done = shown(public, command, GOOD, by=nobody, HOME=None)
    assert done.is_refusal(3, "Permission denied", "ls -ld", str(public.root))


def test_a_matrix_that_may_not_be_read(public: Folder, nobody: tuple[str, ...]) -> None:
    """The file is named."""
    (public.root / "matrix.yaml").chmod(0o600)
    done = shown(public, "plan", by=nobody)
    assert done.code == 2
    assert "matrix.yaml" in done.err


def test_a_state_that_may_not_be_read(public: Folder, nobody: tuple[str, ...]) -> None:
    """A plan says that it cannot see what was done, or does without; it never falls over."""
    (public.root / ".envmatrix").chmod(0o700)
    done = shown(public, "plan", by=nobody)
    assert done.code in {0, 3}
    assert done.code == 0 or ".envmatrix" in done.err


def test_a_user_without_a_name_and_a_home(own: Folder, nobody: tuple[str, ...]) -> None:
    """Such a user, as many containers have one, is no obstacle."""
    start = "import subprocess, sys; subprocess.run([sys.executable, '--version'])"
    command = [*nobody, sys.executable, "-c", start]
    if subprocess.run(command, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("the interpreter lies where another user cannot start it")
    for arguments in (("plan",), ("lock", GOOD, "--fresh"), ("explain", GOOD)):
        done = shown(own, *arguments, by=nobody, HOME=None)
        assert done.code == 0, done.err


# --- the socket of the engine


@pytest.fixture
def sockets(tmp_path: Path) -> Mapping[str, str]:
    """Addresses at which no engine answers, by what is wrong with them."""
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(tmp_path / "stale"))
    (tmp_path / "file").write_text("not a socket", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    return {
        "nobody listens": f"unix://{tmp_path}/stale",
        "a file": f"unix://{tmp_path}/file",
        "a folder": f"unix://{tmp_path}/folder",
        "nothing": f"unix://{tmp_path}/nothing",
        "too long": f"unix://{tmp_path}/{'x' * 120}",
        "a closed port": "tcp://127.0.0.1:9",
        "no such scheme": "carrier-pigeon://roof",
        "no address": "unix:/",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("nobody listens", "a file", "a folder", "nothing"),
        *("too long", "a closed port", "no such scheme", "no address"),
    ],
)
def test_a_socket_without_an_engine(name: str, here: Folder, sockets: Mapping[str, str]) -> None:
    """The error says where it looked and how to get an engine."""
    done = shown(here, "run", GOOD, DOCKER_HOST=sockets[name])
    assert done.is_refusal(3)
    assert "Docker engine" in done.err


def test_a_socket_of_another_user(own: Folder, nobody: tuple[str, ...]) -> None:
    """The error says that this user may not talk to the engine."""
    done = shown(own, "run", GOOD, by=nobody)
    assert done.is_refusal(3, "may not talk to the Docker engine", "docker group")


# --- programs that are missing


def without(*places: str) -> tuple[str, ...]:
    """Return what begins a command for which files are empty and folders hold nothing."""
    if os.geteuid():
        pytest.skip("only root hides a program")
    steps = [
        f"mount -t tmpfs none '{place}'"
        if Path(place).is_dir()
        else f"mount --bind /dev/null '{place}'"
        for place in places
    ]
    script = " && ".join([*steps, 'exec "$@"'])
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def test_without_uv(unlocked: Folder) -> None:
    """The error names it, and the command that installs it again."""
    done = shown(unlocked, "lock", GOOD, by=without(find_uv_bin()))
    assert done.is_refusal(3, "uv is missing", "pip install")


def test_without_pip(unlocked: Folder) -> None:
    """The user's settings are pip's, so nothing is asked without it."""
    spec = find_spec("pip")
    assert spec is not None
    assert spec.origin is not None
    done = shown(unlocked, "lock", GOOD, by=without(str(Path(spec.origin).parent)))
    assert done.is_refusal(3, "pip is missing", "ensurepip")


def test_without_mmdebstrap(unlocked: Folder, fake: FakeEngine, tmp_path: Path) -> None:
    """Where the registry has no image either, the cell is unknown and the remedy installs it."""
    fake.pullable = []
    folder = tmp_path / "bin"
    folder.mkdir()
    project = Folder(unlocked.root, {**unlocked.environment, "PATH": str(folder)})
    code, cells = project.run_json("run", GOOD)
    assert (code, cells[GOOD]["verdict"]) == (3, "unknown")
    assert "mmdebstrap" in cells[GOOD]["cause"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("index-url = nowhere\n", "pip.conf:1"),
        ("[global]\nindex-url\n = = [x\n[global]\nno\n", "pip.conf"),
        ("[global]\nindex-url = \xff\n", "pip.conf"),
    ],
)
def test_settings_of_pip_that_pip_cannot_read(
    text: str, told: str, unlocked: Folder, tmp_path: Path
) -> None:
    """The file is named, and no line of it. The user's indexes would be passed over without it."""
    config = tmp_path / "pip.conf"
    config.write_bytes(text.encode("latin-1"))
    done = shown(unlocked, "lock", GOOD, PIP_CONFIG_FILE=str(config), LC_ALL="C.UTF-8")
    assert done.is_refusal(2, "pip cannot read its own settings", told)
    assert "nowhere" not in done.err
