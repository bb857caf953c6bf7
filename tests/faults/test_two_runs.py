"""Two runs at once, and images that others change under a run: no cell gets another's result."""

from __future__ import annotations

import io
import shutil
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Folder
from disturbed import (
    RUN,
    judged,
    left,
    run_with_writes,
    send,
    settled,
    started,
    wait_for_container,
    write_probe,
)
from private_engine import PrivateEngine
from small_project import GOOD

from envmatrix.engine.client import Engine
from envmatrix.engine.image import Image

TAG = f"envmatrix/cell:{GOOD}"
WAITING = "import time\ntime.sleep(300)"
BUILT = "*/records/build/*"
"""The write with which a build is done, before its probes begin."""


def test_a_second_run_in_the_same_folder_is_refused(folder: Folder, engine: Engine) -> None:
    """It says so and ends with 3; commands that only read work meanwhile."""
    write_probe(folder, "jinja2-waiting", WAITING)
    with started(folder, *RUN) as process:
        wait_for_container(process, engine)

        second = folder.run(*RUN)
        reading = folder.run("plan", "--profile", "good")

        assert process.poll() is None
        send(process, signal.SIGINT)
    assert second.returncode == 3
    assert "another envmatrix is at work here" in second.stderr
    assert "next:" in second.stderr
    assert reading.returncode == 0
    assert left(folder, engine) == []


def test_two_checkouts_run_at_once_on_one_engine(
    folder: Folder, engine: Engine, quick: dict[str, Any]
) -> None:
    """Their images have the same names, and each is told of its own."""
    other = Folder(Path(shutil.copytree(folder.root, folder.root.parent / "other", symlinks=True)))
    shutil.copytree(REPOSITORY / "templates", other.root / "templates")
    with (other.root / "templates" / "cell.Dockerfile.j2").open("a", encoding="utf-8") as template:
        template.write("\nRUN touch /opt/venv/other\n")
    here = "import os\nassert not os.path.exists('/opt/venv/other')\nreport(observed={})"
    write_probe(folder, "jinja2-whose", here)
    write_probe(other, "jinja2-whose", here.replace("not ", ""))

    with started(folder, *RUN, "--json") as one, started(other, *RUN, "--json") as two:
        said = [process.communicate(timeout=300) for process in (one, two)]

    assert (one.returncode, two.returncode) == (0, 0), said
    assert left(folder, engine) == left(other, engine) == []


@pytest.fixture
def impostor(engine: Engine) -> Iterator[Image]:
    """An image of another checkout, which holds nothing."""
    found = _import(engine, "envmatrix-test/impostor:latest")
    yield found
    engine.images.remove(found.id)


def _import(engine: Engine, name: str) -> Image:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    engine.connection.client.import_image(buffer.getvalue(), repository=name)
    return engine.images.get(name)


def docker(machine: PrivateEngine, *arguments: str) -> str:
    """Return a command of the shell that asks the engine for something."""
    options = ["curl", "--silent", "--show-error", "--fail", "--unix-socket"]
    socket = machine.address.removeprefix("unix://")
    return " ".join([*options, socket, *arguments, "> /dev/null"])


def test_a_name_that_moves_after_the_build_changes_nothing(
    folder: Folder, machine: PrivateEngine, engine: Engine, quick: dict[str, Any], impostor: Image
) -> None:
    """Probes run in the image that was built, whatever its name means by now."""
    moving = f"http://x/images/{impostor.id}/tag?repo=envmatrix/cell\\&tag={GOOD}"

    done, _ = run_with_writes(folder, BUILT, do=docker(machine, "-X", "POST", moving))

    assert engine.images.get(TAG).id == impostor.id
    assert done.returncode == 0, done.stdout + done.stderr
    code, cells = folder.run_json(*RUN)
    assert (code, settled(quick)) == (0, settled(cells[GOOD]))


def test_an_image_that_is_removed_after_the_build_is_the_engines_fault(
    folder: Folder, machine: PrivateEngine, engine: Engine, quick: dict[str, Any], impostor: Image
) -> None:
    """The cell is unknown, also where its name belongs to another image; the next run builds it."""
    removing = f"http://x/images/{TAG}?force=1"
    moving = f"http://x/images/{impostor.id}/tag?repo=envmatrix/cell\\&tag={GOOD}"
    both = " && ".join(
        [docker(machine, "-X", "DELETE", removing), docker(machine, "-X", "POST", moving)]
    )
    # An image that another checkout built of the same files would keep the layers.
    engine.images.remove(TAG)

    done, _ = run_with_writes(folder, BUILT, do=both)

    assert done.returncode == 3, done.stdout + done.stderr
    assert judged(folder) == ("unknown", "probe", "engine")
    code, cells = folder.run_json(*RUN)
    assert (code, settled(quick)) == (0, settled(cells[GOOD]))


def test_an_image_that_is_not_what_it_says_is_a_mismatch(folder: Folder) -> None:
    """Its name and its labels say Debian 12, and it says of itself that it is Debian 11."""
    templates = folder.root / "templates"
    shutil.copytree(REPOSITORY / "templates", templates)
    with (templates / "cell.Dockerfile.j2").open("a", encoding="utf-8") as file:
        file.write("USER root\nRUN sed -i s/bookworm/bullseye/ /usr/lib/os-release\nUSER 65532\n")
    code, cells = folder.run_json(*RUN)

    assert code == 1
    assert (cells[GOOD]["verdict"], cells[GOOD]["stage"]) == ("broken", "mismatch")
    assert "codename: declared bookworm, observed bullseye" in cells[GOOD]["cause"]
