"""What an image does for a person: each test runs a real container of a quick cell as they would.

Some of these are the peer tests of Docker's official images that apply to a Python image
(docker-library/official-images, test/tests): utc, no-hard-coded-passwords, override-cmd,
python-imports, python-sqlite3 and python-stack-size. Their python-no-pyc does not apply: our
bytecode is there on purpose, so that the first import is fast.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_wheels import make_metadata, make_wheel

from envmatrix.engine.client import Engine

pytestmark = pytest.mark.engine

TORCH = "torch-2.13.0-py3.11-debian12-cpu"
TENSORFLOW = "tensorflow-2.21.0-py3.11-debian12-cpu"
USERS = ("65532", "1000:1000", "1000620000:0", "0")
"""The image's own user, the owner of a folder, one as OpenShift picks it, and root."""


@pytest.fixture(scope="module")
def image(quick: object, engine: Engine) -> str:
    """The id of the image of torch."""
    return _id_of(engine, TORCH)


@pytest.fixture(scope="module", params=[TORCH, TENSORFLOW])
def any_image(quick: object, engine: Engine, request: pytest.FixtureRequest) -> str:
    """The id of each image, one after the other."""
    return _id_of(engine, request.param)


def _id_of(engine: Engine, cell: str) -> str:
    found = engine.images.find(f"envmatrix/cell:{cell}")
    assert found is not None
    return found.id


def docker(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run `docker run` with these arguments, and `text` on stdin if there is any."""
    return subprocess.run(
        ["docker", "run", "--rm", *(["--interactive"] if text else []), *arguments],
        input=text or None,
        stdin=None if text else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def said(*arguments: str, text: str = "") -> str:
    """Run a container that must end well, and return what it printed."""
    done = docker(*arguments, text=text)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def write_wheel(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> None:
    """Write a wheel of one module."""
    metadata = make_metadata(name, version, requires)
    filename, data = make_wheel(name, version, "py3-none-any", metadata, None)
    (folder / filename).write_bytes(data)


# --- the command -----------------------------------------------------------------------------


def test_without_a_terminal_it_says_in_one_line_what_it_is(any_image: str) -> None:
    """The line names the cell, the framework's version, and how to start Python."""
    (line,) = said(any_image).splitlines()
    assert re.match(r"(torch|tensorflow)-\S+: (PyTorch 2\.13\.0|TensorFlow 2\.21\.0) on ", line)
    assert "docker run -it IMAGE" in line


def test_with_input_it_is_python(any_image: str) -> None:
    """A program on stdin is run."""
    assert said(any_image, text="print(6 * 7)") == "42"


def test_any_command_can_take_its_place(any_image: str) -> None:
    """As official images are tested: the command is what is given, and nothing else."""
    assert said(any_image, "echo", "Hello World!") == "Hello World!"


# --- shells ----------------------------------------------------------------------------------

WHERE = "import sys; print(sys.prefix)"
SHELLS = {
    "sh": ["sh", "-c", f"python -c '{WHERE}'"],
    "login": ["bash", "-l", "-c", f"python3 -c '{WHERE}'"],
    "login without settings": ["env", "-i", "bash", "-l", "-c", f"python -c '{WHERE}'"],
    "as cron": ["env", "-i", "sh", "-c", f"python -c '{WHERE}'"],
    "as cron, pip": ["env", "-i", "sh", "-c", "pip --version | cut -d ' ' -f 4 | cut -c 1-9"],
    "cron": ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", f"python -c '{WHERE}'"],
    "as cron, pip3": ["env", "-i", "sh", "-c", "pip3 --version | cut -d ' ' -f 4 | cut -c 1-9"],
    "as cron, uv": ["env", "-i", "sh", "-c", "uv pip list -v 2>&1 | grep -o -m 1 /opt/venv"],
    "cron, env": ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", f"env python -c '{WHERE}'"],
}  # fmt: skip


@pytest.mark.parametrize("user", USERS[:2])
@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_every_shell_finds_the_virtual_environment(image: str, shell: list[str], user: str) -> None:
    """Also those that set a PATH of their own or have none, for any user."""
    assert said("--user", user, image, *shell) == "/opt/venv"


# --- users -----------------------------------------------------------------------------------

AS_ANYBODY = """\
import getpass, os, pathlib, tempfile
print(getpass.getuser())
pathlib.Path("~/made").expanduser().write_text("x")
(pathlib.Path("~").expanduser() / ".cache" / "deep").mkdir(parents=True)
tempfile.mkdtemp()
print(pathlib.Path.home())
"""


@pytest.mark.parametrize("user", USERS)
def test_any_user_has_a_name_and_a_home(any_image: str, user: str) -> None:
    """The folder of HOME is writable, and getpass.getuser() knows a name."""
    assert said("--user", user, any_image, text=AS_ANYBODY) == "user\n/home/user"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_any_user_installs_and_removes_packages(
    image: str, tmp_path: Path, user: str, installer: str
) -> None:
    """A package is added, and one of the image is replaced."""
    for name, version in (("extra", "1.0"), ("mpmath", "9.0")):
        write_wheel(tmp_path, name, version)
    _open(tmp_path)
    command = (
        f"{installer} install --no-index --no-deps --find-links /wheels extra mpmath==9.0 && "
        f"python -c 'import importlib.metadata as m; print(m.version(\"mpmath\"))'"
    )
    printed = said("--user", user, "--volume", f"{tmp_path}:/wheels:ro", image, "sh", "-c", command)
    assert printed.splitlines()[-1] == "9.0"


def test_the_owner_of_a_mounted_folder_can_write_there(image: str, tmp_path: Path) -> None:
    """With --user, files of a project belong to the caller."""
    tmp_path.chmod(0o700)
    _own(tmp_path, 1234)
    mount = ["--volume", f"{tmp_path}:/workspace", "--workdir", "/workspace"]
    said("--user", "1234:1234", *mount, image, "python", "-c", "open('made', 'w').close()")
    assert (tmp_path / "made").stat().st_uid == 1234


def test_it_works_where_nothing_can_be_written(any_image: str) -> None:
    """With a read-only root and no capabilities the framework is imported all the same."""
    framework = "import torch" if "PyTorch" in said(any_image) else "import tensorflow"
    hard = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    said(*hard, "--tmpfs=/tmp", any_image, "python", "-c", framework)


# --- what is added ---------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index on loopback that serves torchvision in two builds, as PyTorch's and the registry's.

    Yield its address. The builds hold nothing.
    """
    for folder, version in (("variant", "0.28.0+cpu"), ("registry", "0.28.0")):
        target = tmp_path / folder / "torchvision"
        target.mkdir(parents=True)
        write_wheel(target, "torchvision", version, ["torch==2.13.0"])
    quiet = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


NOWHERE = "http://127.0.0.1:9/variant/"


def installing(index: str, variant: str) -> list[str]:
    """Return the options of a container whose registry is `index`, beside the variant's index."""
    settings: Mapping[str, str] = {
        "PIP_INDEX_URL": f"{index}/registry/",
        "PIP_EXTRA_INDEX_URL": variant,
        "PIP_RETRIES": "0",
        "UV_DEFAULT_INDEX": f"{index}/registry/",
        "UV_INDEX": variant,
        "UV_HTTP_RETRIES": "0",
    }
    options = [f"--env={name}={value}" for name, value in settings.items()]
    return ["--network=host", *options]


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_a_companion_comes_of_the_same_build(image: str, index: str, installer: str) -> None:
    """The registry has the same release for CUDA, and it is not taken."""
    command = f"{installer} install torchvision && {installer} show torchvision"
    printed = said(*installing(index, f"{index}/variant/"), image, "sh", "-c", command)
    assert "Version: 0.28.0+cpu" in printed


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
@pytest.mark.parametrize("variant", [NOWHERE, ""])
def test_without_its_index_a_companion_is_refused(
    image: str, index: str, installer: str, variant: str
) -> None:
    """The refusal names the build that was asked for, or the address that cannot be reached."""
    command = f"{installer} install torchvision"
    done = docker(*installing(index, variant), image, "sh", "-c", command)
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "0.28.0+cpu" in told or NOWHERE in told, told


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_what_the_framework_requires_is_not_replaced(
    quick: object, engine: Engine, tmp_path: Path, installer: str
) -> None:
    """An h5py that is too new for TensorFlow is refused, and the requirement is named."""
    write_wheel(tmp_path, "h5py", "99")
    _open(tmp_path)
    command = f"{installer} install --no-index --find-links /wheels 'h5py>=3.15'"
    image = _id_of(engine, TENSORFLOW)
    done = docker("--volume", f"{tmp_path}:/wheels:ro", image, "sh", "-c", command)
    assert done.returncode != 0
    assert re.search(r"h5py\S*<3\.15", done.stdout + done.stderr), done.stdout + done.stderr


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_what_any_package_requires_of_the_same_is_not_replaced(
    quick: object, engine: Engine, tmp_path: Path, installer: str
) -> None:
    """TensorFlow takes NumPy 1.26, and ml_dtypes of the image does not: it is refused."""
    write_wheel(tmp_path, "numpy", "1.26.4")
    _open(tmp_path)
    command = f"{installer} install --no-index --find-links /wheels 'numpy<2'"
    image = _id_of(engine, TENSORFLOW)
    done = docker("--volume", f"{tmp_path}:/wheels:ro", image, "sh", "-c", command)
    assert done.returncode != 0
    assert re.search(r"numpy\S*>=2\.\d", done.stdout + done.stderr), done.stdout + done.stderr


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
@pytest.mark.parametrize("start", [[], ["env", "-i"]], ids=["as it is", "no environment"])
def test_the_framework_is_not_replaced(image: str, start: Sequence[str], installer: str) -> None:
    """Another release of it is refused, and the pin is named, in an empty environment as well."""
    command = f"{installer} install --no-index torch==2.12.1"
    done = docker(image, *start, "sh", "-c", command)
    assert done.returncode != 0
    assert re.search(r"torch===?2\.13\.0\+cpu", done.stdout + done.stderr)


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
@pytest.mark.parametrize("package", ["torchtext", "tensorflow", "needs-it"])
def test_what_would_break_the_framework_is_refused_with_the_reason(
    quick: object, engine: Engine, tmp_path: Path, package: str, installer: str
) -> None:
    """Another distribution of its files is refused, also where another package requires it."""
    write_wheel(tmp_path, "torchtext", "0.18.0")
    write_wheel(tmp_path, "tensorflow", "2.21.0")
    write_wheel(tmp_path, "needs_it", "1.0", ["tensorflow>=2"])
    _open(tmp_path)
    cell, reason = (
        (TORCH, "no.release.for.torch.after.2.3")
        if package == "torchtext"
        else (TENSORFLOW, "replaces.files.of.this.tensorflow")
    )
    command = f"{installer} install --no-index --find-links /wheels {package}"
    volume = f"{tmp_path}:/wheels:ro"
    done = docker("--volume", volume, _id_of(engine, cell), "sh", "-c", command)
    assert done.returncode != 0
    assert reason in done.stdout + done.stderr


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_constraints_of_the_user_are_obeyed_beside_ours(image: str, installer: str) -> None:
    """A list on the command line takes the place of none of ours."""
    command = f"echo 'torch>2' > /tmp/c; {installer} install --no-index -c /tmp/c torch==2.12.1"
    done = docker(image, "sh", "-c", command)
    assert done.returncode != 0
    assert re.search(r"torch===?2\.13\.0\+cpu", done.stdout + done.stderr)


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_the_protection_can_be_left(image: str, tmp_path: Path, installer: str) -> None:
    """Each installer has a switch for its settings, which docs/images.md names."""
    write_wheel(tmp_path, "torchtext", "0.18.0")
    _open(tmp_path)
    options = ["--env=PIP_CONFIG_FILE=/dev/null", "--env=UV_NO_CONFIG=1"]
    command = f"{installer} install --no-index --find-links /wheels torchtext"
    said(*options, "--volume", f"{tmp_path}:/wheels:ro", image, "sh", "-c", command)


def test_other_environments_are_not_constrained_by_pip(image: str, tmp_path: Path) -> None:
    """The settings of pip are those of the image's own environment."""
    write_wheel(tmp_path, "torchtext", "0.18.0")
    _open(tmp_path)
    command = "python -m venv /tmp/x && /tmp/x/bin/pip install --no-index -f /wheels torchtext"
    said("--volume", f"{tmp_path}:/wheels:ro", image, "sh", "-c", command)


@pytest.mark.parametrize("installer", ["pip", "UV_NO_CONFIG=1 uv pip"])
def test_a_list_with_hashes_is_installed(image: str, tmp_path: Path, installer: str) -> None:
    """Constraints that are ranges have no hashes: pip takes them all the same, and uv does not."""
    write_wheel(tmp_path, "extra", "1.0")
    (wheel,) = tmp_path.iterdir()
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "list").write_text(f"extra==1.0 --hash=sha256:{sha256}\n", encoding="utf-8")
    _open(tmp_path)
    options = "--no-index --find-links /wheels --require-hashes -r /wheels/list"
    command = f"{installer} install {options} && python -c 'import importlib.metadata as m; "
    command += 'print(m.version("extra"))\''
    printed = said("--volume", f"{tmp_path}:/wheels:ro", image, "sh", "-c", command)
    assert printed.splitlines()[-1] == "1.0"


# --- labels ----------------------------------------------------------------------------------


def test_labels_say_what_the_image_is(quick: tuple[int, Any], engine: Engine) -> None:
    """Those that OCI names, and ours, for whoever finds the image without its project."""
    for cell in (TORCH, TENSORFLOW):
        labels = engine.images.get(_id_of(engine, cell)).config["config"]["Labels"]
        for name in ("title", "description", "version", "created", "licenses", "base.name"):
            assert labels[f"org.opencontainers.image.{name}"], name
        assert labels["org.opencontainers.image.created"] == "2026-11-20T00:00:00Z"
        assert labels["io.envmatrix.cell"] == cell
        assert labels["io.envmatrix.lock"] == quick[1][cell]["lock"]["sha256"]
        assert len(labels["io.envmatrix.base"]) == 64


def test_evidence_tells_packages_and_the_size_of_each_layer(quick: tuple[int, Any]) -> None:
    """The compiler stands in the evidence with its version, and so does what it costs."""
    found = quick[1][TORCH]["image"]
    names = {line.split()[0] for line in found["packages"]}
    assert {"g++", "gcc-12", "libpython3.11-dev"} <= names
    roles = [layer["role"] for layer in found["sizes"]]
    assert roles[0] == "os"
    assert roles[-1] == "settings"
    assert roles.index("packages") < roles.index("wheels")
    assert sum(layer["size"] for layer in found["sizes"]) == pytest.approx(found["size"], rel=0.01)
    assert quick[1][TENSORFLOW]["image"]["packages"] == []


# --- the peer tests of official images -------------------------------------------------------


def test_its_clock_is_utc(any_image: str) -> None:
    """utc: no image has a time zone of its own."""
    assert said(any_image, "date", "+%Z") == "UTC"


def test_nobody_has_a_password(any_image: str) -> None:
    """no-hard-coded-passwords: every entry of the shadow file is locked or has no password set."""
    shadow = said("--user", "0", any_image, "cat", "/etc/shadow")
    fields = [line.split(":")[1] for line in shadow.splitlines()]
    assert fields
    assert {field[:1] for field in fields} <= {"*", "!"}


IMPORTS = """\
import sys
from importlib import import_module
absent = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "lib2to3"}
absent |= {name for name in sys.stdlib_module_names if name.startswith("_")}
absent |= {"msilib", "msvcrt", "nt", "ntpath", "winreg", "winsound"}
failed = []
for name in sorted(sys.stdlib_module_names - absent):
    try:
        import_module(name)
    except ImportError as error:
        failed.append(f"{name}: {error}")
print(failed)
"""


def test_all_modules_of_python_import(any_image: str) -> None:
    """python-imports: all but those that need a display, and those of other systems."""
    assert said(any_image, "python", "-W", "ignore", "-c", IMPORTS) == "[]"


SQLITE = """\
import sqlite3
connection = sqlite3.connect(":memory:")
connection.execute("CREATE TABLE t (n INTEGER)")
connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
print(connection.execute("SELECT sum(n) FROM t").fetchone()[0])
"""
RECURSION = """\
import sys, threading
sys.setrecursionlimit(100000)
def down(n):
    return n if n == 0 else down(n - 1)
found = []
thread = threading.Thread(target=lambda: found.append(down(5000)))
thread.start(); thread.join()
print(found[0])
"""


def test_sqlite_works(any_image: str) -> None:
    """python-sqlite3: a table is made, filled and read."""
    assert said(any_image, text=SQLITE) == "3"


def test_a_thread_recurses_deeply(any_image: str) -> None:
    """python-stack-size: a thread has room for a deep recursion."""
    assert said(any_image, text=RECURSION) == "0"


def _open(folder: Path) -> None:
    """Let every user read a folder of pytest, whose own folders are private."""
    folder.chmod(0o755)
    for above in folder.parents:
        if above == Path("/tmp") or above.stat().st_uid != os.getuid():  # noqa: S108
            break
        above.chmod(above.stat().st_mode | 0o055)


def _own(folder: Path, user: int) -> None:
    subprocess.run(["chown", f"{user}:{user}", str(folder)], check=True)
