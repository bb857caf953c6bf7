"""Wheels that own the same files: found in the wheels that are here, or told by their names."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from envmatrix.model.evidence import Overlap
from envmatrix.model.locks import Lock, Wheel
from envmatrix.model.overlaps import known_overlaps
from envmatrix.resolve.overlaps import found_overlaps
from envmatrix.resolve.wheelhouse import Wheelhouse
from envmatrix.stages.overlaps import look_for_overlaps
from envmatrix.store.overlaps import overlaps_of, said_of_locks
from envmatrix.store.records import Records


def place(root: Path) -> Wheelhouse:
    """Return a wheelhouse in a folder."""
    return Wheelhouse(root, lambda _: None)


def wheel(root: Path, name: str, files: dict[str, str]) -> Wheel:
    """Put a wheel with these files into the wheelhouse; return it."""
    made = Wheel(
        name,
        "1.0",
        f"{name.replace('-', '_')}-1.0-py3-none-any.whl",
        hashlib.sha256(name.encode()).hexdigest(),
        0,
    )
    path = place(root).path(made)
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return made


def lock(*wheels: Wheel) -> Lock:
    """Return a lock of wheels."""
    return Lock("key", "Python 3.11", "2026-11-20", wheels)


FLOWS = "tensorflow and tensorflow-cpu"
SHARED = {"flow/__init__.py": "a", "flow/core.so": "cpu", "space/__init__.py": ""}


def test_files_of_one_path_with_other_contents_are_an_overlap(tmp_path: Path) -> None:
    """Equal files, such as the beginning of a namespace, do no harm and are left out."""
    both = lock(
        wheel(tmp_path, "flow", SHARED),
        wheel(tmp_path, "flow-cpu", {**SHARED, "flow/core.so": "cuda", "flow/__init__.py": "b"}),
        wheel(tmp_path, "other", {"space/__init__.py": "", "other.py": "flow"}),
    )
    expected = Overlap(distributions=("flow", "flow-cpu"), files=2, example="flow/__init__.py")
    assert (expected,) == found_overlaps(place(tmp_path), both)
    assert (
        expected.said == "flow and flow-cpu own 2 files, such as flow/__init__.py: "
        "whichever is installed last wins"
    )


def test_wheels_that_share_nothing_have_no_overlap(tmp_path: Path) -> None:
    """A look that found nothing is not the same as no look."""
    alone = lock(wheel(tmp_path, "flow", SHARED), wheel(tmp_path, "jinja2", {"jinja2.py": ""}))
    assert found_overlaps(place(tmp_path), alone) == ()


def test_without_every_wheel_nothing_is_known(tmp_path: Path) -> None:
    """A wheel that is not here, or that is no zip, leaves the question open."""
    here = wheel(tmp_path, "flow", SHARED)
    absent = Wheel("gone", "1.0", "gone-1.0-py3-none-any.whl", "0" * 64, 0)
    assert found_overlaps(place(tmp_path), lock(here, absent)) is None
    place(tmp_path).path(here).write_bytes(b"no zip")
    assert found_overlaps(place(tmp_path), lock(here)) is None


def test_names_of_one_family_tell_an_overlap_before_any_download() -> None:
    """Two builds of one library in a lock are told by their names, however these are spelt."""
    assert (Overlap(distributions=("tensorflow", "tensorflow-cpu")),) == known_overlaps(
        ["numpy", "TensorFlow_CPU", "tensorflow"]
    )
    assert known_overlaps(["tensorflow-cpu", "tensorboard", "torch"]) == ()
    pairs = known_overlaps(["opencv-python", "opencv-python-headless", "opencv-contrib-python"])
    assert len(pairs) == 3


def test_a_look_is_recorded_and_told_once(tmp_path: Path) -> None:
    """What was found in the wheels replaces what the names tell, also where it is nothing."""
    records, told = Records(tmp_path / "state"), list[str]()
    both = lock(
        wheel(tmp_path, "tensorflow", {"a.py": ""}), wheel(tmp_path, "tensorflow-cpu", {"b.py": ""})
    )
    assert len(overlaps_of(records, both)) == 1
    assert [
        f"{FLOWS} own the same files: whichever is installed last wins (2 locks)"
    ] == said_of_locks(records, [both, both])
    look_for_overlaps(records, place(tmp_path), both, told.append)
    assert overlaps_of(records, both) == ()

    clash = lock(wheel(tmp_path, "x", {"a.py": "1"}), wheel(tmp_path, "y", {"a.py": "2"}))
    look_for_overlaps(records, place(tmp_path), clash, told.append)
    look_for_overlaps(records, place(tmp_path), clash, told.append)
    assert told == ["x and y own 1 file, such as a.py: whichever is installed last wins"]
