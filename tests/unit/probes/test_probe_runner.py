"""The program that runs the probes of a cell in one container, as a plain process of this host.

What only a container shows is in tests/engine: that nothing survives its end, and that no signal
reaches the first process.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envmatrix.probes.sharing import START

RUNNER = (Path(__file__).parents[3] / "scripts/probes/runner/probe_runner.py").read_text(
    encoding="utf-8"
)
LIMIT = 100_000
UNLIKE_ROOT: dict[str, Any] = (
    {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
)
"""Root reads the memory of every process. A probe runs as a user who does not."""


def _runs(python: str, **user: Any) -> bool:
    try:
        check = "import sys; sys.exit(sys.version_info < (3, 9))"
        command = [python, "-c", check]
        done = subprocess.run(command, check=False, capture_output=True, cwd="/", **user)
    except OSError:
        return False
    return done.returncode == 0


PYTHON = next(
    (name for name in (sys.executable, "/usr/bin/python3") if _runs(name, **UNLIKE_ROOT)), ""
)
pytestmark = pytest.mark.skipif(not PYTHON, reason="no Python here that another user can run")


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended: its exit code, and the line of each probe in order."""

    code: int
    lines: list[dict[str, Any]]
    errors: str

    def text(self, index: int, stream: str = "stdout") -> str:
        """Return what a probe wrote."""
        return base64.b64decode(self.lines[index][stream]).decode()

    @property
    def codes(self) -> list[int]:
        """The exit code of each probe that has a line."""
        return [line["exit_code"] for line in self.lines]


class Place:
    """A scratch folder, and a folder of modules to import."""

    def __init__(self, root: Path) -> None:
        self.scratch, self.modules = root / "scratch", root / "modules"
        for folder in (root, self.scratch, self.modules):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        self.module("framework", "answer = 42\n")

    def module(self, name: str, source: str) -> None:
        """Write a module that the importer can import."""
        (self.modules / f"{name}.py").write_text(source, encoding="utf-8")

    def run(
        self,
        *sources: str,
        preload: tuple[str, ...] = ("framework",),
        fresh: int = 0,
        timeout: float = 20,
        python: str = "",
        first: bool = False,
    ) -> Ended:
        """Run probes. The first `fresh` of them are new processes, the others are forked.

        With a `python`, they run as the user of the test.
        """
        plan = {
            "first": first,
            "scratch": [str(self.scratch)],
            "preload": preload,
            "import_seconds": timeout,
            "output_limit": LIMIT,
            "probes": [
                {
                    "file": f"probe_{index}.py",
                    "nonce": f"nonce-{index}",
                    "timeout": timeout,
                    "forked": index >= fresh,
                }
                for index in range(len(sources))
            ],
        }
        done = subprocess.run(
            [python or PYTHON, "-I", "-S", "-c", START, RUNNER, "supervise", *sources],
            env={
                "ENVMATRIX_PLAN": json.dumps(plan),
                "PATH": os.environ["PATH"],
                "HOME": str(self.scratch),
                "PYTHONPATH": str(self.modules),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **({} if python else UNLIKE_ROOT),
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return Ended(done.returncode, lines, done.stderr)


@pytest.fixture
def place() -> Iterator[Place]:
    """A place that a user without rights can write to."""
    root = Path(tempfile.mkdtemp(prefix="envmatrix-runner-"))
    yield Place(root)
    shutil.rmtree(root, ignore_errors=True)


FIND_IMPORTER = """
import os
def importer():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                words = open(f"/proc/{name}/cmdline").read().split("\\0")
                owner = os.stat(f"/proc/{name}/cmdline")
            except OSError:
                continue
            if len(words) > 6 and words[4:6] == ["import", SCRATCH]:
                return int(name)
"""


def hostile(place: Place, source: str) -> str:
    """Return a probe that knows how to find the importer."""
    return f"SCRATCH = {str(place.scratch)!r}\n{FIND_IMPORTER}{source}"


def test_both_sides_start_the_program_in_the_same_way() -> None:
    """The program starts itself again to import, and stands alone."""
    assert f'START = "{START}"' in RUNNER


# --- what a probe sees ----------------------------------------------------------------------------

SEES = """\
import inspect, json, os, sys
def told():
    return "its own source"
print(json.dumps({
    "argv": sys.argv, "file": __file__, "name": __name__, "source": inspect.getsource(told),
    "nonce": os.environ["ENVMATRIX_NONCE"], "cwd": os.getcwd(), "path": sys.path[0],
    "plan": "ENVMATRIX_PLAN" in os.environ, "home": os.environ["HOME"],
    "main": sys.modules["__main__"].told is told, "stdin": sys.stdin.read(),
    "leads": os.getsid(0) == os.getpid(), "annotations": __annotations__ == {},
    "open": sorted(os.listdir("/proc/self/fd"), key=int)[:-1],
    "self": os.access("/proc/self/mem", 4),
    "parent": os.getppid() != 1,
    "files": os.listdir(os.path.dirname(__file__)), "flags": list(sys.flags),
}))
x: int = 1
"""


def test_a_forked_probe_sees_what_a_new_process_sees(place: Place) -> None:
    """Its arguments, file, module, folder, input, descriptors and flags are the same."""
    ended = place.run(SEES, SEES, fresh=1)

    assert ended.codes == [0, 0], ended
    alone, forked = (json.loads(ended.text(index)) for index in range(2))
    assert forked == {
        **alone,
        "nonce": "nonce-1",
        "argv": [str(place.scratch / "probe_1.py")],
        "file": str(place.scratch / "probe_1.py"),
        "files": ["probe_1.py"],
    }
    assert alone["nonce"] == "nonce-0"
    assert forked["source"] == 'def told():\n    return "its own source"\n'
    assert forked["name"] == "__main__"
    assert forked["open"] == ["0", "1", "2"]
    assert not forked["plan"]


@pytest.mark.parametrize("minor", range(9, 16))
def test_every_python_runs_it(place: Place, minor: int) -> None:
    """A new process and forks of one import pass on each interpreter that is here."""
    python = f"python3.{minor}"
    if not _runs(python):
        pytest.skip(f"no {python} is here")
    passing = "import framework, sys; print(framework.answer, 'framework' in sys.modules)"
    ended = place.run(passing, passing, "raise SystemExit(7)", fresh=1, python=python)

    assert ended.codes == [0, 0, 7], ended
    assert [ended.text(0), ended.text(1)] == ["42 True\n"] * 2


def test_the_framework_is_imported_once(place: Place) -> None:
    """Every forked probe has it already, and a new process does not."""
    place.module("framework", "import os\nimported_by = os.getpid()\n")
    asked = (
        "import sys; print('framework' in sys.modules); import framework as f; print(f.imported_by)"
    )
    ended = place.run(asked, asked, asked, fresh=1)

    (fresh, _), first, second = (ended.text(index).split() for index in range(3))
    assert fresh == "False"
    assert first[0] == "True"
    assert first == second


def test_children_of_a_probe_start_in_each_way(place: Place) -> None:
    """Module multiprocessing forks and spawns from a forked probe, as a loader of data does."""
    source = (
        "import multiprocessing\n"
        "def twice(x):\n    return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    for way in multiprocessing.get_all_start_methods():\n"
        "        with multiprocessing.get_context(way).Pool(2) as pool:\n"
        "            print(way, pool.map(twice, [1, 2]))\n"
    )
    ended = place.run(source)

    assert ended.codes == [0], ended.text(0, "stderr")
    assert {"fork [2, 4]", "spawn [2, 4]"} <= set(ended.text(0).splitlines())


def test_the_interpreter_of_a_forked_probe_ends_as_usual(place: Place) -> None:
    """What is registered for the end runs, also what the import registered."""
    place.module("framework", "import atexit\natexit.register(print, 'the framework ends')\n")
    ended = place.run("import atexit\natexit.register(print, 'the probe ends')\nprint('runs')")

    assert ended.text(0).splitlines() == ["runs", "the probe ends", "the framework ends"]


def test_random_numbers_differ_between_probes(place: Place) -> None:
    """As they do between new processes."""
    place.module("framework", "import random\n")
    ended = place.run(*["import random; print(random.random())"] * 2)

    assert ended.text(0) != ended.text(1)


def test_what_the_import_held_back_is_not_written_by_a_probe(place: Place) -> None:
    """Text that the import printed would come again from each fork."""
    place.module(
        "framework",
        "print('from the import')\nimport ctypes\nctypes.CDLL(None).printf(b'from C')\n",
    )
    ended = place.run("print('from the probe')")

    assert ended.text(0) == "from the probe\n"


# --- how a probe ends -----------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [0, 3])
def test_each_end_is_told(place: Place, fresh: int) -> None:
    """The exit code, the signal and the traceback are those of the probe."""
    ended = place.run(
        "import sys; sys.exit('a reason')",
        "import os; os.kill(os.getpid(), 11)",
        "def f():\n    assert 1 == 2, 'no'\nf()",
        fresh=fresh,
    )
    assert ended.codes == [1, 139, 1]
    assert ended.text(0, "stderr") == "a reason\n"
    assert ended.text(2, "stderr").startswith("Traceback (most recent call last):\n  File ")
    assert "probe_runner" not in ended.text(2, "stderr")
    assert ended.text(2, "stderr").endswith("AssertionError: no\n")


def test_a_probe_that_takes_too_long_is_ended(place: Place) -> None:
    """The next one runs."""
    ended = place.run("import time; time.sleep(60)", "print('next')", timeout=1)

    assert [line["timed_out"] for line in ended.lines] == [True, False]
    assert ended.text(1) == "next\n"
    assert 1 <= ended.lines[0]["seconds"] < 5


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_is_cut(place: Place, stream: str) -> None:
    """No more than the limit is kept, and the next one runs."""
    flood = f"import sys\nwhile True: sys.{stream}.write('x' * 10_000)"
    ended = place.run(flood, "print('next')")

    assert [line["flooded"] for line in ended.lines] == [True, False]
    assert len(ended.text(0, stream)) == LIMIT
    assert ended.text(1) == "next\n"


def test_output_without_an_end_of_line_comes_whole(place: Place) -> None:
    """What is still in the pipe when the probe ends is read, too."""
    ended = place.run("import os; os.write(1, b'x' * 60_000); os.write(2, b'y' * 30_000)")

    assert (len(ended.text(0)), len(ended.text(0, "stderr"))) == (60_000, 30_000)


def test_a_probe_that_closes_its_output_is_waited_for(place: Place) -> None:
    """The end of the output is not the end of the probe."""
    ended = place.run("import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(5)")

    assert ended.codes == [5]
    assert ended.lines[0]["seconds"] >= 0.3


def test_an_import_that_fails_ends_the_run(place: Place) -> None:
    """The probe that is a new process has its line, and the others have none."""
    ended = place.run("print('alone')", "print('forked')", fresh=1, preload=("no_such_module",))

    assert ended.codes == [0]
    assert ended.code != 0


def test_a_supervisor_below_another_process_runs_nothing(place: Place) -> None:
    """An engine that puts an init above it would let probes reach its output by that."""
    ended = place.run("print('runs')", first=True)

    assert (ended.lines, ended.code) == ([], 1)
    assert "there is a process above" in ended.errors


def test_shared_memory_of_the_import_is_no_probes(place: Place) -> None:
    """It is there for each fork, as it is for a probe alone that imports."""
    place.module(
        "framework",
        "import atexit, ctypes\nc = ctypes.CDLL(None)\nkey = c.shmget(0, 4096, 0o1600)\n",
    )
    before = _shared()
    try:
        ended = place.run("print('first')", "print('second')")
        assert ended.codes == [0, 0], ended.errors
    finally:
        for key in _shared() - before:
            subprocess.run(["ipcrm", "-m", key], check=True)


def test_an_import_that_takes_too_long_ends_the_run(place: Place) -> None:
    """Nothing is forked."""
    place.module("framework", "import time\ntime.sleep(30)\n")
    ended = place.run("print('forked')", timeout=1)

    assert (ended.lines, ended.code) == ([], 1)


# --- what a probe can do to another ---------------------------------------------------------------


def test_nothing_survives_a_probe(place: Place) -> None:
    """Daemons, files and folders without permissions are gone when the next one runs."""
    leaves = (
        "import ctypes, os, time\n"
        "ctypes.CDLL(None).prctl(15, b'leftover')\n"
        "folder = os.path.dirname(__file__)\n"
        "os.makedirs(folder + '/a/b'); open(folder + '/a/b/c', 'w'); os.chmod(folder + '/a', 0)\n"
        "os.symlink('/etc', folder + '/link')\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(60)\n"
        "        os._exit(0)\n"
        "print('left')\n"
    )
    looks = (
        "import glob, os\n"
        "names = [open(path).read().strip() for path in glob.glob('/proc/[0-9]*/comm')]\n"
        "print(names.count('leftover'), os.listdir(os.path.dirname(__file__)))\n"
    )
    for fresh in (0, 1):
        ended = place.run(leaves, looks, fresh=fresh)
        assert ended.codes == [0, 0], ended
        assert ended.text(1) == "0 ['probe_1.py']\n"
    assert Path("/etc/passwd").exists()


def test_processes_that_fork_without_end_are_ended(place: Place) -> None:
    """A process that forks faster than it is killed cannot get away."""
    bomb = (
        "import os, resource, time\n"
        "start = time.monotonic()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while time.monotonic() - start < 8:\n"
        "        if os.fork():\n"
        "            os._exit(0)\n"
        "    os._exit(0)\n"
        "print('lit')\n"
    )
    ended = place.run(bomb, "print('next')")

    assert ended.codes == [0, 0], ended
    assert ended.text(1) == "next\n"


READS = {
    "the supervisor's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "the supervisor's memory": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "the supervisor's output": "open(f'/proc/{os.getppid()}/fd/1', 'w').write('forged')",
    "the importer's channel": "open(f'/proc/{importer()}/fd/3', 'w').write('forged')",
    "the importer's memory": "open(f'/proc/{importer()}/mem', 'r+b').read(1)",
    "the importer's registers": "import ctypes\n"
    "c = ctypes.CDLL(None, use_errno=True)\n"
    "if c.ptrace(16, importer(), 0, 0): raise PermissionError(ctypes.get_errno())",
}


@pytest.mark.parametrize("source", READS.values(), ids=READS)
def test_a_probe_cannot_reach_what_decides_about_others(place: Place, source: str) -> None:
    """Neither the nonces, nor the channel of results, nor the process that others fork from."""
    ended = place.run(hostile(place, source), "print('next')")

    assert ended.codes == [1, 0], ended
    assert "PermissionError" in ended.text(0, "stderr")


def test_the_nonces_of_others_are_not_in_the_memory_of_a_probe(place: Place) -> None:
    """A forked probe has all memory of the importer, and finds its own nonce there alone."""
    source = (
        "import os, re\n"
        "found = set()\n"
        "for line in open('/proc/self/maps'):\n"
        "    ends = re.match(r'(\\w+)-(\\w+) rw', line)\n"
        "    if ends:\n"
        "        first, last = (int(end, 16) for end in ends.groups())\n"
        "        with open('/proc/self/mem', 'rb', 0) as memory:\n"
        "            memory.seek(first)\n"
        "            try:\n"
        "                found |= set(re.findall(rb'nonce-\\d', memory.read(last - first)))\n"
        "            except OSError: pass\n"
        "print(sorted(found))\n"
    )
    ended = place.run(source, source, "print()")

    assert ended.text(0) == "[b'nonce-0']\n"
    assert "nonce-2" not in ended.text(1)


def test_a_report_for_another_probe_is_output_like_any_other(place: Place) -> None:
    """Whatever a probe writes comes inside its own line."""
    forged = json.dumps({"nonce": "nonce-1", "exit_code": 0})
    ended = place.run(f"print('\\n' + {forged!r})", "raise SystemExit(3)")

    assert ended.codes == [0, 3]
    assert [line["nonce"] for line in ended.lines] == ["nonce-0", "nonce-1"]


HARMS = {
    "kill": "os.kill(importer(), 9)",
    "limits": "import resource\nresource.prlimit(importer(), resource.RLIMIT_NOFILE, (8, 8))",
    "affinity": "import time\nos.setpriority(os.PRIO_PROCESS, importer(), 19)",
}


@pytest.mark.parametrize("source", HARMS.values(), ids=HARMS)
def test_a_probe_that_changes_the_importer_ends_the_run(place: Place, source: str) -> None:
    """Neither it nor any later probe has a line, so all of them run alone."""
    ended = place.run("print('first')", hostile(place, source), "print('third')")

    assert ended.codes == [0]
    assert ended.code == 1
    assert "WrongError: the importer has" in ended.errors


def test_a_stopped_importer_goes_on(place: Place) -> None:
    """A probe may stop it, and the next one runs."""
    ended = place.run(hostile(place, "os.kill(importer(), 19)"), "print('next')")

    assert ended.codes == [0, 0]


def test_shared_memory_that_is_left_ends_the_run(place: Place) -> None:
    """It would be there for the next probe."""
    source = "import ctypes\nassert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0\n"
    before = _shared()
    try:
        ended = place.run(source, "print('next')")
        assert ended.lines == []
        assert "WrongError: shared memory is left" in ended.errors
    finally:
        for key in _shared() - before:
            subprocess.run(["ipcrm", "-m", key], check=True)


def _shared() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_a_folder_too_deep_to_remove_ends_the_run(place: Place) -> None:
    """What cannot be removed would be there for the next probe."""
    source = (
        "import os\n"
        "os.chdir(os.path.dirname(__file__))\n"
        "for _ in range(2000):\n"
        "    os.mkdir('d'); os.chdir('d')\n"
    )
    ended = place.run(source, "print('next')")

    assert ended.lines == []
    assert ended.code == 1
    subprocess.run(["rm", "-r", place.scratch], check=True)
