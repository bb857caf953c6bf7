"""Root filesystems, made by a program that stands in for mmdebstrap and records what it is told."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from disks import small_disk

from envmatrix.engine import os_images
from envmatrix.engine.os_images import HOOKS, environment, make_root
from envmatrix.engine.process import Cancelled
from envmatrix.model.errors import ToolError

PROGRAM = """\
#!/bin/sh
# Records its arguments and its environment beside itself. A file `fail` there lets it fail.
here=$(dirname "$0")
printf '%s\\n' "$@" > "$here/arguments"
env > "$here/environment"
for argument in "$@"; do
    case $argument in
    "--customize-hook=download /packages "*) eval "held=${argument#*/packages }" ;;
    esac
    root=$argument
done
echo "I: making the root" && echo "W: a warning" >&2
echo part > "$root"
cp "$here/shown" "$held"
if test -e "$here/fail"; then
    cat "$here/fail" >&2
    exit 3
fi
echo whole > "$root"
"""

SHOWN = """\
Package: libc6
Version: 2.36-9+deb12u10
Architecture: amd64
Maintainer: someone <someone@mail.example>
SHA256: 2222
Description: GNU C Library
 Version: not a field

Package: base-files
Version: 12.4
Architecture: amd64
SHA256: 1111

Package: libc6
Version: 2.36-9+deb12u10
Architecture: amd64
SHA256: 2222

"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake mmdebstrap, which is first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "mmdebstrap"
    script.write_text(PROGRAM, encoding="utf-8")
    script.chmod(0o755)
    (folder / "shown").write_text(SHOWN, encoding="utf-8")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def make(folder: Path, cancelled: threading.Event | None = None) -> list[str]:
    """Make the root filesystem of bookworm in a folder."""
    return make_root(
        "bookworm",
        folder / "roots" / "bookworm.tar",
        architecture="arm64",
        packages=["python3", "ca-certificates"],
        epoch=1_700_000_000,
        log=folder / "logs" / "bookworm.log",
        cancelled=cancelled,
    )


def test_a_root_is_made_with_the_list_of_its_packages(program: Path, tmp_path: Path) -> None:
    """Each package is listed once, sorted; the tar is whole, and nothing else stays."""
    assert make(tmp_path) == [
        "base-files 12.4 amd64 1111",
        "libc6 2.36-9+deb12u10 amd64 2222",
    ]
    root = tmp_path / "roots" / "bookworm.tar"
    assert root.read_text() == "whole\n"
    assert list(root.parent.iterdir()) == [root]
    assert (tmp_path / "logs" / "bookworm.log").read_text() == "I: making the root\nW: a warning\n"


def test_mmdebstrap_ends_when_the_user_asks_to_stop(program: Path, tmp_path: Path) -> None:
    """It may remove its root first, and nothing of it stays."""
    script = program / "mmdebstrap"
    ended = tmp_path / "ended"
    script.write_text(
        f"#!/bin/sh\ntrap 'touch {ended}; exit 1' TERM\nwhile :; do sleep 0.05; done\n"
    )
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    with pytest.raises(Cancelled):
        make(tmp_path, cancelled)
    assert ended.exists()
    assert list((tmp_path / "roots").iterdir()) == []


def test_mmdebstrap_that_does_not_end_is_killed(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user does not wait for a program that hangs."""
    monkeypatch.setattr(os_images, "STOP_SECONDS", 0.1)
    script = program / "mmdebstrap"
    script.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n")
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    with pytest.raises(Cancelled):
        make(tmp_path, cancelled)


@pytest.mark.parametrize(("user", "mode"), [(0, "root"), (1000, "unshare")])
def test_mmdebstrap_is_told_what_to_make(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: str
) -> None:
    """A user who is not root works in a user namespace; the suite and the tar come last."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    make(tmp_path)
    roots = tmp_path / "roots"

    hooks = [hook.replace("{held}", str(roots / "bookworm.packages")) for hook in HOOKS]
    assert (program / "arguments").read_text().splitlines() == [
        "--variant=minbase",
        "--architectures=arm64",
        f"--mode={mode}",
        "--include=python3,ca-certificates",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--customize-hook={hook}" for hook in hooks),
        "bookworm",
        str(roots / "bookworm.partial.tar"),
    ]


def test_a_folder_may_have_any_name(program: Path, tmp_path: Path) -> None:
    """The hooks are read as a shell reads them, so the name of the list is quoted."""
    folder = tmp_path / "it's a folder; $HOME"
    assert len(make(folder)) == 2
    assert [path.name for path in (folder / "roots").iterdir()] == ["bookworm.tar"]


def test_a_new_root_replaces_an_older_one(program: Path, tmp_path: Path) -> None:
    """The log is that of the last attempt."""
    make(tmp_path)
    make(tmp_path)
    assert (tmp_path / "roots" / "bookworm.tar").read_text() == "whole\n"
    assert (tmp_path / "logs" / "bookworm.log").read_text().count("I: making") == 1


def test_a_failure_is_told_with_the_end_of_the_log(program: Path, tmp_path: Path) -> None:
    """An older root stays, and no part of the new one does."""
    make(tmp_path)
    (program / "fail").write_bytes(b"E: one\nE: two \xff\nE: three\nE: cannot fetch the list\n")
    with pytest.raises(ToolError) as caught:
        make(tmp_path)

    assert caught.value.what == (
        "mmdebstrap could not make bookworm: "
        "E: two \N{REPLACEMENT CHARACTER} E: three E: cannot fetch the list"
    )
    assert caught.value.where == str(tmp_path / "logs" / "bookworm.log")
    assert "mirror" in caught.value.next_step
    root = tmp_path / "roots" / "bookworm.tar"
    assert root.read_text() == "whole\n"
    assert list(root.parent.iterdir()) == [root]


@pytest.mark.parametrize("options", ["size=64k", "size=64m,nr_inodes=3"])
def test_a_full_disk_is_told_where_the_program_cannot_say_so(
    program: Path, tmp_path: Path, options: str
) -> None:
    """A log on a full disk says nothing. The disk is named, and nothing is left on it."""
    (program / "fail").write_text("")
    with small_disk(tmp_path / "roots", options) as disk:
        with pytest.raises(ToolError, match="the disk is full") as caught:
            make(tmp_path)
        assert caught.value.kind == "disk-full"
        assert caught.value.where == str(disk)
        assert not list(disk.glob("bookworm*"))


def test_a_machine_without_mmdebstrap_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("mmdebstrap") is None
    with pytest.raises(ToolError) as caught:
        make(tmp_path / "state")
    assert caught.value.what == "bookworm must be bootstrapped, and mmdebstrap is not installed"
    assert "apt-get install mmdebstrap" in caught.value.next_step
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "said",
    [
        "E: install arch-test for foreign architecture support\n",
        "E: arm64 can neither be executed natively nor via qemu user emulation with binfmt_misc\n",
        "chroot: failed to run command 'sh': Exec format error\n",
    ],
)
def test_a_machine_that_does_not_emulate_is_told_how_to(
    program: Path, tmp_path: Path, said: str
) -> None:
    """The error names the architecture and the script."""
    (program / "fail").write_text(said)
    with pytest.raises(ToolError) as caught:
        make(tmp_path)
    assert caught.value.what == (
        "bookworm for arm64 cannot be bootstrapped: this machine does not emulate arm64"
    )
    assert "scripts/setup-engine --emulate arm64" in caught.value.next_step
    assert caught.value.kind == "blocked"


def test_the_program_sees_only_the_environment_that_we_let_in(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SOURCE_DATE_EPOCH is the given time, whatever the user has set."""
    for name, value in {
        "HTTPS_PROXY": "http://proxy.example",
        "SOURCE_DATE_EPOCH": "5",
        "PYTHONHASHSEED": "7",
        "LC_ALL": "tr_TR.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    make(tmp_path)
    lines = (program / "environment").read_text().splitlines()
    seen = dict(line.partition("=")[::2] for line in lines)

    assert seen["HTTPS_PROXY"] == "http://proxy.example"
    assert seen["SOURCE_DATE_EPOCH"] == "1700000000"
    assert seen["LC_ALL"] == "C.UTF-8"
    assert "PYTHONHASHSEED" not in seen


def test_only_the_way_to_the_mirror_is_left_of_an_environment() -> None:
    """Otherwise bytecode, messages and their order would depend on who makes the root."""
    kept = {"PATH": "/bin", "https_proxy": "http://proxy.example", "TMPDIR": "/big"}
    dropped = {"PYTHONHASHSEED": "7", "LANG": "de_DE.UTF-8", "XPATH": "x", "DPKG_ROOT": "/y"}
    assert kept.items() <= environment(kept | dropped).items()
    assert not dropped.keys() & environment(kept | dropped).keys()


def test_our_own_settings_count_more_than_those_of_the_user() -> None:
    """They are the same on every machine."""
    given = {"PYTHONDONTWRITEBYTECODE": "", "LC_ALL": "tr_TR.UTF-8"}
    assert environment(given) == environment({})
