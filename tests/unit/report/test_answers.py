"""Answers: the rules of which cell is one, their order, and what is told where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from samples import the_evidence

from envmatrix.model.cells import Cell, expand
from envmatrix.model.evidence import CellImage, Evidence, LockedWheels
from envmatrix.model.gpus import Gpu
from envmatrix.model.matrix_file import load
from envmatrix.model.probe_results import Observed, Outcome, ProbeResult
from envmatrix.model.verdicts import NOT_ATTEMPTED, Judgement, Verdict
from envmatrix.report.answers import Answer, Command, Facts, answer
from envmatrix.report.entries import Entry
from envmatrix.report.questions import Prefer, Question

ADA = Gpu("RTX 4090", "8.9", "Ada")
HOPPER = Gpu("H100", "9.0", "Hopper")
VOLTA = Gpu("V100", "7.0", "Volta")
CODE = ("sm_80", "sm_86", "compute_86")
"""Machine code for 8.0 to 8.9, and PTX for what is newer."""
CPU_310 = "torch-2.10.0-py3.11-debian12-cpu"
CPU_29 = "torch-2.9.1-py3.11-debian12-cpu"
CU130 = "torch-2.10.0-py3.11-debian12-cu130"
CU126 = "torch-2.10.0-py3.11-debian12-cu126"
PASSED = ProbeResult(probe="torch-import", required=True, outcome=Outcome.PASSED)


class World:
    """The small matrix with a second CUDA line and a second architecture, and what is known."""

    def __init__(self, text: str) -> None:
        text = text.replace(
            'cu130: {cuda: "13.0", driver: "580"}',
            'cu130: {cuda: "13.0", driver: "580"}\n    cu126: {cuda: "12.6", driver: "525.60"}',
        )
        text = text.replace('cu130: ["*"]}', 'cu130: ["*"], cu126: ["*"]}')
        text = text.replace("arch: [amd64]", "arch: [amd64, arm64]")
        self.matrix = load(text, "matrix.yaml")
        self.cells = {cell.id: cell for cell in expand(self.matrix)}
        self.known: dict[str, Entry] = {}
        self.locks: dict[str, str] = {}

    def know(self, cell_id: str, verdict: Verdict = Verdict.WORKS, **fields: Any) -> Evidence:
        """Let something be known of a cell by evidence."""
        cell = self.cells[cell_id]
        size = fields.pop("size", 10**9)
        given: dict[str, Any] = {
            "id": cell_id,
            "axes": cell.axes,
            "image": CellImage(name="x", layers=(), size=size),
            "probes": (PASSED,),
        }
        found = the_evidence(verdict, **(given | fields))
        self.known[cell_id] = Entry(cell_id, cell.axes, found.judgement, found)
        return found

    def judge(self, cell_id: str, judgement: Judgement) -> None:
        """Let something be known of a cell without evidence."""
        self.known[cell_id] = Entry(cell_id, self.cells[cell_id].axes, judgement)

    def ask(self, **fields: Any) -> Answer:
        """Return the answer to a question about torch."""
        entries = [self._entry(cell) for cell in self.cells.values()]
        facts = Facts(self.matrix, self.cells, lambda cell_id: self.locks.get(cell_id, ""))
        return answer(Question(**({"framework": "torch"} | fields)), entries, facts)

    def chosen(self, **fields: Any) -> str:
        """Return the id of the cell that is the answer; empty where there is none."""
        found = self.ask(**fields).choice
        return found.id if found else ""

    def _entry(self, cell: Cell) -> Entry:
        return self.known.get(cell.id) or Entry(cell.id, cell.axes, NOT_ATTEMPTED)


@pytest.fixture
def world(small_text: str) -> World:
    """A world in which nothing is known."""
    return World(small_text)


# --- rules 1 to 5: what is an answer ---------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "is_one"), [(verdict, verdict in ("works", "partial")) for verdict in Verdict]
)
def test_only_what_works_or_is_partial_is_an_answer(
    world: World, verdict: Verdict, *, is_one: bool
) -> None:
    """No other verdict makes an answer."""
    world.know(CPU_310, verdict)
    assert world.chosen() == (CPU_310 if is_one else "")


def test_a_verdict_without_evidence_is_no_answer(world: World) -> None:
    """Nothing is recommended that current evidence does not show."""
    world.judge(CPU_310, Judgement(Verdict.WORKS, "probe"))
    assert world.chosen() == ""


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ({"version": "2.10.0"}, {"version": "2.9.1"}),
        ({"python": "3.11"}, {"python": "3.9"}),
        ({"os": "debian12"}, {"os": "debian11"}),
        ({"arch": "amd64"}, {"arch": "arm64"}),
        ({"accelerator": "cpu"}, {"accelerator": "cu130"}),
    ],
)
def test_an_answer_has_what_was_asked(
    world: World, asked: dict[str, str], other: dict[str, str]
) -> None:
    """A cell with another value on an axis that was asked is none."""
    world.know(CPU_310)
    assert world.chosen(**asked) == CPU_310
    assert world.chosen(**other) == ""


def test_an_answer_is_of_the_framework_that_was_asked(world: World) -> None:
    """Another framework is never an answer."""
    world.know("tensorflow-2.21.0-py3.11-debian12-cpu")
    assert world.chosen() == ""
    assert world.chosen(framework="tensorflow").startswith("tensorflow")


@pytest.mark.parametrize(
    ("gpus", "is_one"),
    [((ADA,), True), ((HOPPER,), True), ((VOLTA,), False), ((ADA, VOLTA), False)],
)
def test_a_gpu_is_served_by_the_architectures_that_were_observed(
    world: World, gpus: tuple[Gpu, ...], *, is_one: bool
) -> None:
    """A build without code for one of the GPUs is no answer, nor is a CPU build."""
    world.know(CPU_310)
    world.know(CU130, Verdict.PARTIAL, observed=Observed(architectures=CODE))
    assert world.chosen(gpus=gpus) == (CU130 if is_one else "")


def test_a_build_whose_architectures_are_not_known_serves_no_gpu(world: World) -> None:
    """What was not observed is not assumed."""
    world.know(CU130, Verdict.PARTIAL)
    (refused,) = [one for one in world.ask(gpus=(ADA,)).refused if one.cells == (CU130,)]
    assert refused.cause == "which GPUs its build serves was not observed"


@pytest.mark.parametrize(
    ("driver", "chosen"),
    [("570", CU126), ("570.86.10", CU126), ("580", CU130), ("610.2", CU130), ("520", "")],
)
def test_a_driver_serves_the_cuda_lines_whose_floor_it_reaches(
    world: World, driver: str, chosen: str
) -> None:
    """A CUDA line that needs a newer branch is no answer, nor is a CPU build."""
    for cell_id in (CPU_310, CU126, CU130):
        world.know(cell_id)
    assert world.chosen(driver=driver) == chosen


# --- rule 6: the order -----------------------------------------------------------------------

ORDER: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any], str]] = {
    "works before partial, though it is older": (
        {CPU_310: {"verdict": Verdict.PARTIAL}, CPU_29: {}},
        {},
        CPU_29,
    ),
    "native before emulated, though it is older": (
        {CPU_310: {"emulated": True}, CPU_29: {}},
        {},
        CPU_29,
    ),
    "the newest version, by number and not by letters": ({CPU_29: {}, CPU_310: {}}, {}, CPU_310),
    "cpu before CUDA where no GPU was asked": ({CU130: {}, CPU_310: {}}, {}, CPU_310),
    "the newest CUDA line": ({CU126: {}, CU130: {}}, {}, CU130),
    "the newest Python": (
        {"torch-2.10.0-py3.9-debian12-cpu": {}, "torch-2.10.0-py3.11-debian11-cpu": {}},
        {},
        "torch-2.10.0-py3.11-debian11-cpu",
    ),
    "the newest operating system": (
        {"torch-2.10.0-py3.11-debian11-cpu": {}, CPU_310: {}},
        {},
        CPU_310,
    ),
    "the id": ({f"{CPU_310}-arm64": {}, CPU_310: {}}, {}, CPU_310),
    "the smallest image of the newest version": (
        {CPU_29: {"size": 1}, CPU_310: {"size": 3}, CU130: {"size": 2}},
        {"prefer": Prefer.SMALLEST},
        CU130,
    ),
}


@pytest.mark.parametrize(("known", "asked", "first"), ORDER.values(), ids=ORDER)
def test_what_comes_first(
    world: World, known: dict[str, dict[str, Any]], asked: dict[str, Any], first: str
) -> None:
    """Of two answers the first is that which the next rule of the order prefers."""
    for cell_id, fields in known.items():
        world.know(cell_id, **fields)
    assert world.chosen(**asked) == first


# --- what is told of an answer ---------------------------------------------------------------


def test_an_answer_tells_what_is_limited(world: World) -> None:
    """What was not run, emulation, PTX, and the rule behind the driver are told."""
    cause = "GPU not run: torch-gpu: no GPU"
    world.know(
        CU130,
        Verdict.PARTIAL,
        cause=cause,
        emulated=True,
        observed=Observed(architectures=CODE),
    )
    found = world.ask(gpus=(ADA, HOPPER), driver="580.1").choice
    assert found is not None
    first, emulated, ada, hopper, driver = found.limits
    assert first == cause
    assert "emulation" in emulated
    assert (ada.startswith("for RTX 4090 (8.9)"), "machine code" in ada) == (True, True)
    assert "PTX and no machine code" in hopper
    assert "as new as CUDA 13.0" in hopper
    assert driver.startswith("cu130 needs the NVIDIA driver 580 or newer")


def test_what_works_on_a_cpu_has_no_limit(world: World) -> None:
    """A native cell that works promises all of it."""
    world.know(CPU_310)
    found = world.ask().choice
    assert found is not None
    assert found.limits == ()
    assert found.said == (
        "torch 2.10.0 works on Python 3.11, debian12 and cpu: 1 probe ran and passed."
    )


def commands(world: World, cell_id: str) -> dict[str, str]:
    """Return the commands of the answer, which must be this cell."""
    found = world.ask().choice
    assert found is not None
    assert found.id == cell_id
    return {command.what: command.line for command in found.commands}


def test_the_commands_of_an_answer(world: World) -> None:
    """There is one for the image, its start, uv and pip; the index of the cell is named."""
    world.know(CPU_310)
    index = "https://wheels.example/whl/cpu"
    assert commands(world, CPU_310) == {
        "image": f"envmatrix build {CPU_310}",
        "start": f"docker run --rm -it --pull never --shm-size 1g envmatrix/cell:{CPU_310}",
        "uv": f"uv venv --python 3.11 && uv pip install --index {index} "
        "--index-strategy unsafe-best-match "
        "torch==2.10.0+cpu",
        "pip": "python3.11 -m venv .venv && .venv/bin/pip install "
        f"--extra-index-url {index} torch==2.10.0+cpu",
    }


def test_the_start_of_a_cuda_image_gives_the_gpus(world: World) -> None:
    """The command of the evidence counts, and without one it is made."""
    world.know(CU130)
    assert "--gpus all" in commands(world, CU130)["start"]
    run = "docker run --rm -it --pull never --gpus all --shm-size 2g envmatrix/cell:x"
    image = CellImage(name="x", layers=(), size=1, run=run)
    world.know(CU130, image=image)
    assert commands(world, CU130)["start"] == run


def test_a_committed_lock_is_a_command(world: World) -> None:
    """Where the lock of the cell is in the tree, every wheel can be installed by its hash."""
    world.know(CU130)
    assert "lock" not in commands(world, CU130)
    world.locks[CU130] = "images/a b/requirements.lock"
    found = commands(world, CU130)
    assert found["lock"] == (
        "uv venv --python 3.11 && uv pip install --require-hashes -r 'images/a b/requirements.lock'"
    )
    assert found["uv"] == "uv venv --python 3.11 && uv pip install torch===2.10.0 numpy"


@pytest.mark.parametrize(("wheels", "constrained"), [({"setuptools": "81"}, True), ({}, False)])
def test_a_constraint_counts_for_what_the_lock_holds(
    world: World, wheels: dict[str, str], *, constrained: bool
) -> None:
    """A rule constrains what is installed, and installs nothing by itself."""
    old = "torch-2.9.1-py3.9-debian11-cpu"
    world.know(old, lock=LockedWheels(sha256="0", wheels=wheels))
    line = commands(world, old)["pip"]
    assert line.endswith(" 'setuptools<82'") is constrained


def test_newer_versions_that_are_no_answer_are_told(world: World) -> None:
    """The newest of each verdict is told with its cause, and none if a version was asked."""
    world.know(CPU_29)
    world.know(CPU_310, Verdict.BROKEN, cause="no libx.so", remedy="add it")
    world.know("torch-2.10.0-py3.9-debian12-cpu", Verdict.IMPOSSIBLE, cause="no wheel")
    (passed,) = world.ask().newer
    assert (passed.version, passed.verdict, passed.cause, passed.id, passed.remedy) == (
        *("2.10.0", "broken", "no libx.so", CPU_310, "add it"),
    )
    assert world.ask(version="2.9.1").newer == ()


def test_of_equal_cells_of_a_newer_version_the_nearest_is_told(world: World) -> None:
    """The command that it gives is about the cell that is most like the answer."""
    world.know(CPU_29)
    (passed,) = world.ask().newer
    assert (passed.verdict, passed.id) == ("unknown", CPU_310)


def test_a_newer_version_that_does_not_serve_says_so(world: World) -> None:
    """A newer version that works elsewhere is told with what hinders it here."""
    world.know("torch-2.9.1-py3.11-debian12-cu126")
    world.know(CU130)
    (passed,) = world.ask(driver="570").newer
    assert passed.cause == "cu130 needs the NVIDIA driver 580 or newer, not 570"


def test_what_the_driver_cannot_serve_is_nothing_to_run(world: World) -> None:
    """A newer version that nobody ran is told by a cell that the driver would serve."""
    world.know("torch-2.9.1-py3.11-debian12-cu126")
    assert [one.id.rpartition("-")[2] for one in world.ask(driver="570").newer] == ["cu126"]
    assert world.ask(driver="449").choice is None


# --- rules 8 and 9: no answer ----------------------------------------------------------------


def test_each_value_that_stands_in_the_way_is_told(world: World) -> None:
    """What helps if it alone is not asked is told with the answer there is then."""
    world.know(CPU_310)
    found = world.ask(python="3.9", os="debian12", version="2.10.0")
    assert found.choice is None
    assert found.asked == "debian12, Python 3.9, version 2.10.0"
    (change,) = found.changes
    assert (change.fields, change.said, change.id) == (("python",), "Python 3.9", CPU_310)


def test_pairs_are_told_where_no_single_value_helps(world: World) -> None:
    """Two values are left out together only where one alone does not help."""
    world.know(CPU_310)
    found = world.ask(python="3.9", os="debian11", version="2.10.0")
    (change,) = found.changes
    assert change.fields == ("os", "python")
    assert change.said == "debian11 and Python 3.9"


def test_nothing_helps_where_nothing_is_known(world: World) -> None:
    """Without any answer for the framework no change is promised."""
    found = world.ask(python="3.9")
    assert (found.choice, found.changes) == (None, ())
    assert sum(len(one.cells) for one in found.refused) == len(
        [cell for cell in world.cells.values() if (cell.framework, cell.python) == ("torch", "3.9")]
    )


def test_the_cells_that_fit_tell_their_verdicts(world: World) -> None:
    """Each reason is told once, with its cells: what is run first, what was not last."""
    world.know(CU130, Verdict.PARTIAL, observed=Observed(architectures=CODE), remedy="no help")
    world.know(CU126, Verdict.BROKEN, cause="it crashed", class_="crash", remedy="read the log")
    proof = Judgement(Verdict.IMPOSSIBLE, "lock", "no-wheel", "there is no wheel")
    world.judge("torch-2.10.0-py3.11-debian12-cu130-arm64", proof)
    found = world.ask(gpus=(VOLTA,), python="3.11", os="debian12", version="2.10.0").refused
    assert [(one.verdict, one.class_, one.cause, one.remedy, one.cells[0]) for one in found] == [
        ("partial", "", "its build has no code for V100 (7.0)", "", CU130),
        ("broken", "crash", "it crashed", "read the log", CU126),
        (
            "unknown",
            "not-attempted",
            NOT_ATTEMPTED.cause,
            NOT_ATTEMPTED.remedy,
            "torch-2.10.0-py3.11-debian12-cu126-arm64",
        ),
        ("impossible", "no-wheel", proof.cause, "", "torch-2.10.0-py3.11-debian12-cu130-arm64"),
    ]


def test_an_answer_is_json(world: World) -> None:
    """The answer is read back from its JSON as it was."""
    world.know(CPU_310)
    found = world.ask()
    assert Answer.model_validate(found.to_json()) == found
    assert found.choice is not None
    assert isinstance(found.choice.commands[0], Command)
