"""The wheelhouse with real wheels, which the real pip downloads from a folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from disks import small_disk

from envmatrix.model.errors import DiskError, InputError, NetworkError, SurroundingsError
from envmatrix.model.locks import Lock, Wheel
from envmatrix.resolve.programs import TooSlowError
from envmatrix.resolve.wheel_server import INDEX, PORT, serve
from envmatrix.resolve.wheelhouse import Wheelhouse


@dataclass
class Place:
    """A folder in which pip finds wheels, and a wheelhouse that is filled from it."""

    root: Path
    told: list[str] = field(default_factory=list)

    @property
    def index(self) -> Path:
        """Return the folder in which pip finds wheels."""
        return self.root / "index"

    @property
    def quarantined(self) -> dict[str, bytes]:
        """The damaged files, by the digest each lies beneath."""
        files = (self.root / "wheelhouse" / "quarantine").glob("*/*.whl")
        return {file.parent.name: file.read_bytes() for file in files}

    def publish(self, name: str) -> Wheel:
        """Build a wheel that pip accepts, with some bytes that do not compress."""
        filename = f"{name}-1.0-py3-none-any.whl"
        path = self.index / filename
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{name}/data", os.urandom(100_000))
            file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0")
            file.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
            )
            file.writestr(f"{info}/RECORD", "")
        data = path.read_bytes()
        return Wheel(name, "1.0", filename, hashlib.sha256(data).hexdigest(), len(data))

    def published(self, wheel: Wheel) -> bytes:
        """The bytes that the index has of a wheel."""
        return (self.index / wheel.filename).read_bytes()

    def wheelhouse(self) -> Wheelhouse:
        """The wheelhouse, as a new run opens it."""
        return Wheelhouse(self.root / "wheelhouse", self.told.append)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder that is the only index, whatever the settings of the user are."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    found = Place(tmp_path)
    found.index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(found.index))
    return found


def lock_of(*wheels: Wheel) -> Lock:
    """A lock of these wheels."""
    return Lock("problem", "py3.11 glibc 2.36 amd64", "2026-11-20", wheels)


def fetch(wheelhouse: Wheelhouse, *wheels: Wheel, index: str | None = None) -> int:
    """Fetch these wheels for one target."""
    return wheelhouse.fetch(
        lock_of(*wheels), python="3.11", glibc="2.36", arch="amd64", index=index
    )


def served(wheelhouse: Wheelhouse, wheel: Wheel) -> bytes:
    """Return what a build gets of a wheel by the link on the page of its distribution."""
    with serve(wheelhouse.root) as address:
        page = get(address, f"{urlsplit(INDEX).path}{wheel.name}/").decode()
        (link,) = re.findall(f'href="([^"#]*)#sha256={wheel.sha256}"', page)
        return get(address, link)


def get(address: str, path: str) -> bytes:
    """Return what the server at an address answers."""
    with closing(http.client.HTTPConnection(address, PORT)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read()


def truncate(data: bytes) -> bytes:
    """Return the first half, as a full disk leaves it."""
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """Change one byte in the middle. The size stays the same."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def empty(_: bytes) -> bytes:
    """Return nothing, as a crash leaves it."""
    return b""


def damage(path: Path, how: Callable[[bytes], bytes]) -> bytes:
    """Damage a file in its place, and return its new bytes."""
    bad = how(path.read_bytes())
    path.write_bytes(bad)
    return bad


def test_a_wheel_is_downloaded_once_for_all_locks_and_runs(place: Place) -> None:
    """Later runs need no index for such a wheel, and builds get it as it was published."""
    first, second = place.publish("first"), place.publish("second")
    wheelhouse = place.wheelhouse()

    assert first.size == fetch(wheelhouse, first)
    assert second.size == fetch(wheelhouse, first, second)
    assert place.published(first) == served(wheelhouse, first)
    published = place.published(second)
    for wheel in (first, second):
        (place.index / wheel.filename).unlink()
    later = place.wheelhouse()
    assert fetch(later, first, second) == 0
    assert published == served(later, second)
    assert place.told == []


@pytest.mark.parametrize("how", [truncate, flip, empty])
def test_a_damaged_wheel_is_put_aside_named_and_fetched_again(
    place: Place, how: Callable[[bytes], bytes]
) -> None:
    """Healthy wheels stay where they are, and are not fetched again."""
    wheel, healthy = place.publish("damaged"), place.publish("healthy")
    earlier = place.wheelhouse()
    fetch(earlier, wheel, healthy)
    bad = damage(earlier.path(wheel), how)

    wheelhouse = place.wheelhouse()
    assert wheel.size == fetch(wheelhouse, wheel, healthy)

    wheelhouse.check(lock_of(wheel, healthy))
    assert place.published(wheel) == served(wheelhouse, wheel)
    assert place.published(healthy) == served(wheelhouse, healthy)
    digest = hashlib.sha256(bad).hexdigest()
    assert {digest: bad} == place.quarantined
    (told,) = place.told
    for word in (wheel.filename, digest[:12], wheel.sha256[:12], "quarantine"):
        assert word in told
    assert fetch(place.wheelhouse(), wheel, healthy) == 0


def test_no_damaged_file_is_lost_to_a_later_one(place: Place) -> None:
    """A wheel that is damaged in two ways leaves two files."""
    wheel = place.publish("unlucky")
    fetch(place.wheelhouse(), wheel)
    bad = []
    for how in (truncate, flip, flip):
        bad.append(damage(place.wheelhouse().path(wheel), how))
        fetch(place.wheelhouse(), wheel)

    assert len(place.told) == 3
    assert {hashlib.sha256(data).hexdigest(): data for data in bad} == place.quarantined
    assert len(place.quarantined) == 2


def test_a_damaged_wheel_that_cannot_be_had_again_is_not_used(place: Place) -> None:
    """The error names the wheel. Healthy wheels stay. A later run can get the wheel."""
    wheel, healthy = place.publish("damaged"), place.publish("healthy")
    fetch(place.wheelhouse(), wheel, healthy)
    bad = damage(place.wheelhouse().path(wheel), flip)
    away = (place.index / wheel.filename).rename(place.root / wheel.filename)

    wheelhouse = place.wheelhouse()
    with pytest.raises(NetworkError, match=wheel.filename):
        fetch(wheelhouse, wheel, healthy)
    with pytest.raises(SurroundingsError, match=wheel.filename):
        wheelhouse.check(lock_of(wheel, healthy))
    assert [bad] == list(place.quarantined.values())
    assert fetch(wheelhouse, healthy) == 0

    away.rename(place.index / wheel.filename)
    assert wheel.size == fetch(wheelhouse, wheel, healthy)


def test_a_wheel_of_an_earlier_run_is_checked_before_a_build(place: Place) -> None:
    """A build cannot download, so it is refused where the wheel is damaged."""
    wheel = place.publish("damaged")
    fetch(place.wheelhouse(), wheel)
    place.wheelhouse().check(lock_of(wheel))
    damage(place.wheelhouse().path(wheel), flip)

    with pytest.raises(SurroundingsError, match=wheel.filename):
        place.wheelhouse().check(lock_of(wheel))
    assert len(place.told) == len(place.quarantined) == 1


def test_a_wheel_is_read_once_a_run(place: Place) -> None:
    """The next run finds damage that came after the check: this run does not read again."""
    wheel = place.publish("steady")
    fetch(place.wheelhouse(), wheel)
    wheelhouse = place.wheelhouse()
    fetch(wheelhouse, wheel)
    damage(wheelhouse.path(wheel), flip)

    assert fetch(wheelhouse, wheel) == 0
    wheelhouse.check(lock_of(wheel))
    assert place.told == []
    assert wheel.size == fetch(place.wheelhouse(), wheel)


def test_missing_wheels_are_found_without_reading_files(place: Place) -> None:
    """A plan needs the bytes to download, and the sizes of the files are enough for that."""
    absent, short, flipped = (place.publish(name) for name in ("absent", "short", "flipped"))
    wheelhouse = place.wheelhouse()
    fetch(wheelhouse, short, flipped)
    damage(wheelhouse.path(short), truncate)
    damage(wheelhouse.path(flipped), flip)

    assert [absent, short] == place.wheelhouse().missing(lock_of(absent, short, flipped))
    assert place.quarantined == {}


def test_the_leftovers_of_a_killed_run_are_removed(place: Place) -> None:
    """They are removed even where there is nothing to download."""
    wheel = place.publish("whole")
    wheelhouse = place.wheelhouse()
    fetch(wheelhouse, wheel)
    leftover = wheelhouse.root / "incoming-killed" / "pip-unpack"
    leftover.mkdir(parents=True)
    (leftover / wheel.filename).write_bytes(b"half of it")

    assert fetch(wheelhouse, wheel) == 0
    assert not list(wheelhouse.root.glob("incoming-*"))
    assert wheelhouse.path(wheel).exists()


def at_once(work: Callable[[], object]) -> list[object]:
    """Do the work in eight threads that start together, and return their results."""
    together = threading.Barrier(8)

    def one(_: int) -> object:
        together.wait()
        return work()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(8)))


def test_cells_that_fetch_at_once_download_once(place: Place) -> None:
    """The damaged file that they share is put aside once."""
    wheel, other = place.publish("shared"), place.publish("other")
    fetch(place.wheelhouse(), wheel)
    damage(place.wheelhouse().path(wheel), flip)
    wheelhouse = place.wheelhouse()

    fetched = at_once(lambda: fetch(wheelhouse, wheel, other))

    assert sorted(fetched, key=str) == [*[0] * 7, wheel.size + other.size]
    assert len(place.told) == len(place.quarantined) == 1


def test_builds_that_check_a_damaged_wheel_at_once_are_all_refused(place: Place) -> None:
    """Each gets the same error, and the file is put aside once."""
    wheel = place.publish("damaged")
    path = place.wheelhouse().path(wheel)
    path.parent.mkdir(parents=True)

    def refused(wheelhouse: Wheelhouse) -> str:
        with pytest.raises(SurroundingsError) as caught:
            wheelhouse.check(lock_of(wheel))
        return caught.value.what

    for _ in range(20):
        path.write_bytes(flip(place.published(wheel)))
        place.told.clear()

        (what,) = set(at_once(partial(refused, place.wheelhouse())))

        assert what == f"{wheel.filename} is not in the wheelhouse, or was damaged there"
        assert len(place.told) == 1


def test_a_file_that_cannot_be_read_is_named(place: Place) -> None:
    """Even root cannot read a folder as a file. The folder stays where it is."""
    wheel = place.publish("unreadable")
    wheelhouse = place.wheelhouse()
    (wheelhouse.path(wheel) / "something").mkdir(parents=True)

    for use in (lambda: fetch(wheelhouse, wheel), lambda: wheelhouse.check(lock_of(wheel))):
        with pytest.raises(SurroundingsError, match=f"cannot use .*{wheel.filename}"):
            use()
    assert (wheelhouse.path(wheel) / "something").exists()


@pytest.fixture
def cramped(place: Place) -> Iterator[Path]:
    """A disk with room for two wheels and a half below the wheelhouse."""
    with small_disk(place.root / "wheelhouse", "size=256k") as disk:
        yield disk


def test_a_full_disk_is_reported_and_no_wheel_is_lost(place: Place, cramped: Path) -> None:
    """Once there is room again, the same wheelhouse goes on."""
    here, ahead = place.publish("here"), place.publish("ahead")
    filler = place.publish("filler")
    wheelhouse = place.wheelhouse()
    fetch(wheelhouse, here)
    ballast = cramped / "ballast"
    ballast.write_bytes(place.published(filler))

    with pytest.raises(DiskError, match=f"{ahead.filename} cannot be downloaded: the disk is full"):
        fetch(wheelhouse, here, ahead)
    wheelhouse.check(lock_of(here))
    assert place.published(here) == served(wheelhouse, here)
    assert not list(cramped.glob("incoming-*"))

    ballast.unlink()
    assert ahead.size == fetch(wheelhouse, here, ahead)


def test_a_wheel_that_pip_does_not_bring_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip may bring the same bytes under another name, where the index has changed."""
    wheel = place.publish("renamed")
    other = replace(wheel, filename="renamed-1.0-1-py3-none-any.whl")

    with pytest.raises(NetworkError, match=f"pip brought no {other.filename}"):
        fetch(place.wheelhouse(), other)


def test_the_index_of_a_variant_is_tried_where_the_settings_have_no_such_wheel(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip gets this index besides the user's own, and only then."""
    wheel = place.publish("variant")
    variant = place.wheelhouse()
    fetch(variant, wheel)
    (place.index / wheel.filename).unlink()
    wheelhouse = Wheelhouse(place.root / "other", place.told.append)
    monkeypatch.delenv("PIP_NO_INDEX")
    with serve(variant.root) as address:
        server = f"http://{address}:{PORT}"
        monkeypatch.setenv("PIP_INDEX_URL", f"{server}/nothing/")
        with pytest.raises(NetworkError, match=wheel.filename):
            fetch(wheelhouse, wheel)

        assert wheel.size == fetch(wheelhouse, wheel, index=f"{server}/simple/")
    wheelhouse.check(lock_of(wheel))


def test_a_hostile_wheel_starts_no_program(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pip nor uv gets a line that can be an option, and no path leaves the wheelhouse."""

    def start(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("envmatrix.resolve.downloading.run_program", start)
    good = place.publish("good")
    hostile = (
        replace(good, name="--no-binary=x,:all:,y"),
        replace(good, name="-r/etc/passwd"),
        replace(good, version="1.0 --pre"),
        replace(good, version="1.0\n--pre"),
        replace(good, filename="../../good-1.0-py3-none-any.whl"),
        replace(good, filename="/good-1.0-py3-none-any.whl"),
        replace(good, sha256="../" * 20 + "good"),
        replace(good, sha256="0" * 63 + "\n"),
        replace(good, size=-1),
    )
    for wheel in hostile:
        with pytest.raises(InputError, match="a wheel that cannot be one"):
            fetch(place.wheelhouse(), wheel)
        with pytest.raises(InputError):
            place.wheelhouse().path(wheel)


def test_pip_gets_no_keyboard_and_no_settings_of_other_things(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip asks nobody for a password, and no PIP_ variable can change what it downloads."""
    seen: dict[str, object] = {}

    def start(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        seen.update(options, command=command)
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no")

    monkeypatch.setattr("envmatrix.resolve.downloading.run_program", start)
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    with pytest.raises(NetworkError):
        fetch(place.wheelhouse(), place.publish("good"))
    command, environment = seen["command"], seen["environment"]
    assert isinstance(command, list)
    assert isinstance(environment, dict)
    assert "--no-input" in command
    assert "PIP_NO_BINARY" not in environment
    assert "PIP_NO_INDEX" in environment


def test_a_download_that_drips_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole download has a limit, which depends on the bytes. The message holds no address."""
    wheel = place.publish("slow")

    def start(*_: object, **__: object) -> None:
        raise TooSlowError("timed out after 600 s")

    monkeypatch.setattr("envmatrix.resolve.downloading.run_program", start)
    with pytest.raises(NetworkError, match="the download timed out after 600 s"):
        fetch(place.wheelhouse(), wheel)


def test_after_two_slow_downloads_no_other_one_begins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that ends in time between them lets others begin."""
    started = []

    def slow(*_: object, **__: object) -> None:
        started.append("slow")
        raise TooSlowError("timed out after 600 s")

    one, two, three = (place.publish(name) for name in ("one", "two", "three"))
    wheelhouse = place.wheelhouse()

    def refusal(wheel: Wheel) -> str:
        with monkeypatch.context() as patch:
            patch.setattr("envmatrix.resolve.downloading.run_program", slow)
            with pytest.raises(NetworkError) as caught:
                fetch(wheelhouse, wheel)
        return caught.value.what

    assert "timed out" in refusal(one)
    assert three.size == fetch(wheelhouse, three)
    assert "timed out after" in refusal(one)
    assert "timed out after" in refusal(two)
    assert refusal(two).startswith(f"{two.filename} cannot be downloaded: it was not tried")
    assert len(started) == 3
    assert two.size == fetch(place.wheelhouse(), two)


def test_the_wheel_at_fault_is_named(place: Place) -> None:
    """It need not be the first one. The others are not at fault."""
    first, second, third = (place.publish(name) for name in ("first", "second", "third"))
    damage(place.index / second.filename, flip)
    with pytest.raises(NetworkError) as caught:
        fetch(place.wheelhouse(), first, second, third)
    assert caught.value.what.startswith(f"{second.filename} cannot be downloaded: other bytes came")
    assert caught.value.kind == "mirror"


def test_an_archive_that_leaves_its_folder_is_never_used(place: Place) -> None:
    """It is refused when it arrives, and where an earlier run kept it."""
    wheel = place.publish("hostile")
    with zipfile.ZipFile(place.index / wheel.filename, "a") as file:
        file.writestr("../outside.py", "")
    data = place.published(wheel)
    wheel = replace(wheel, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    wheelhouse = place.wheelhouse()
    with pytest.raises(SurroundingsError, match=r"it would write \.\./outside\.py") as caught:
        fetch(wheelhouse, wheel)
    assert caught.value.kind == "unsafe-archive"
    path = wheelhouse.path(wheel)
    assert not path.exists()
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    for use in (wheelhouse.check, lambda lock: fetch(wheelhouse, *lock.wheels)):
        with pytest.raises(SurroundingsError, match="is refused"):
            use(lock_of(wheel))


def test_what_pip_says_of_an_address_is_not_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip hides passwords, and neither bare tokens nor tokens in a path."""

    def start(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        said = "ERROR: HTTP error 403 for https://TOKEN@index.example/TOKEN/good.whl"
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr("envmatrix.resolve.downloading.run_program", start)
    with pytest.raises(NetworkError) as caught:
        fetch(place.wheelhouse(), place.publish("good"))
    assert "TOKEN" not in str(caught.value)
    assert "HTTP 403" in str(caught.value)


def test_only_what_was_downloaded_is_discarded(place: Place) -> None:
    """A stream removes the wheels that it brought itself. What was here before stays."""
    first, second = place.publish("first"), place.publish("second")
    fetch(place.wheelhouse(), first)
    later = place.wheelhouse()
    fetch(later, first, second)
    later.discard([first, second])
    assert later.path(first).exists()
    assert not later.path(second).parent.exists()
    assert [second] == later.missing(lock_of(first, second))
    assert second.size == fetch(later, first, second)


def test_what_is_doubted_is_read_again(place: Place) -> None:
    """A wheel that was damaged after it was checked is found out once it is doubted."""
    wheel = place.publish("one")
    wheelhouse = place.wheelhouse()
    fetch(wheelhouse, wheel)
    wheelhouse.check(lock_of(wheel))
    damage(wheelhouse.path(wheel), flip)
    wheelhouse.check(lock_of(wheel))
    wheelhouse.doubt()
    with pytest.raises(SurroundingsError, match="damaged"):
        wheelhouse.check(lock_of(wheel))
