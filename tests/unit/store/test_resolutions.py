"""What is known of locks: committed knowledge first, then what this machine recorded."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from samples import the_cell, the_interpreter, the_lock, the_wheel

from envmatrix.model.cells import Cell, expand
from envmatrix.model.errors import InputError
from envmatrix.model.locks import Lock, Problem, Resolution, lock_of_interpreter
from envmatrix.model.matrix import Matrix
from envmatrix.model.matrix_file import load
from envmatrix.model.verdicts import LOCKED, Judgement, Verdict
from envmatrix.store.files import write_text
from envmatrix.store.layout import Layout
from envmatrix.store.records import Records
from envmatrix.store.resolutions import LockRecord, Resolutions, keep, recall
from envmatrix.store.resolved import KEY_LENGTH, Line, Resolved

CELL = "torch-2.10.0-py3.11-debian12-cpu"
OTHER = "torch-2.9.1-py3.9-debian11-cpu"
REFUTED = Judgement(Verdict.IMPOSSIBLE, "lock", "no-wheel", "there is no wheel")
OTHERWISE = Judgement(Verdict.IMPOSSIBLE, "lock", "no-such-version", "there is no release")
BLOCKED = Judgement(
    Verdict.UNKNOWN, "lock", "blocked", "the default package index cannot be reached: no route"
)
TORCH = the_wheel("torch", "2.10.0", 1_000)


@pytest.fixture
def resolutions(small: Matrix, layout: Layout, records: Records) -> Resolutions:
    """What is known of the locks of the small matrix: nothing yet."""
    return Resolutions(small, layout, records)


@pytest.fixture
def cell(small: Matrix) -> Cell:
    """A cell of the small matrix."""
    return the_cell(small, CELL)


def the_answer(problem: Problem) -> Lock:
    """Return a lock that answers a problem."""
    return the_lock(TORCH, key=problem.key)


def test_the_problem_of_a_cell_is_what_it_asks_for(resolutions: Resolutions, cell: Cell) -> None:
    """A problem holds the requirements, the index, and the glibc of the OS."""
    assert resolutions.problem(cell) == Problem(
        ("torch==2.10.0+cpu", "pip"),
        (),
        "https://wheels.example/whl/cpu",
        "3.11",
        "2.36",
        "amd64",
        "2026-11-20",
    )


def test_the_problem_of_a_base_is_its_installer(resolutions: Resolutions, small: Matrix) -> None:
    """A base asks for the installer on the Python of its OS, from no index of a variant."""
    cell = the_cell(small, "torch-2.10.0-py3.9-debian12-cpu")
    assert resolutions.base_problem(cell) == Problem(
        ("uv==0.13.9",), (), None, "3.11", "2.36", "amd64", "2026-11-20"
    )


def test_a_record_without_an_answer_is_as_absent(records: Records, cell: Cell) -> None:
    """A record that holds neither a judgement nor a lock that can be read answers nothing."""
    problem = Problem(("torch",), (), None, "3.11", "2.36", "amd64", "2026-11-20")
    assert recall(records, problem) is None
    keep(records, problem, Resolution(the_answer(problem), None))
    assert recall(records, problem) == Resolution(the_answer(problem), None)
    records.put("lock", problem.key, LockRecord(lock="half a lock", judgement=None))
    assert recall(records, problem) is None


def test_a_committed_lock_comes_before_the_record(
    resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """The committed lock of a cell is taken, whatever this machine recorded."""
    problem = resolutions.problem(cell)
    assert resolutions.of_cell(cell) is None
    keep(records, problem, Resolution(None, REFUTED))
    assert resolutions.of_cell(cell) == Resolution(None, REFUTED)
    write_text(layout.lock(cell.id), the_answer(problem).text)
    assert resolutions.of_cell(cell) == Resolution(the_answer(problem), None)
    assert resolutions.committed_lock(cell) == the_answer(problem)


def test_a_committed_lock_of_another_problem_does_not_count(
    resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """A lock that answers what the cell asked before is not taken for the cell."""
    write_text(layout.lock(cell.id), the_lock(TORCH, key="another").text)
    assert resolutions.of_cell(cell) is None
    assert resolutions.committed_lock(cell) == the_lock(TORCH, key="another")
    keep(records, resolutions.problem(cell), Resolution(None, REFUTED))
    assert resolutions.of_cell(cell) == Resolution(None, REFUTED)


@pytest.mark.parametrize("damage", [b"", b"torch==2.10.0\n", b"\xff\xfe"])
def test_a_damaged_lock_is_refused_by_name(
    resolutions: Resolutions, layout: Layout, cell: Cell, damage: bytes
) -> None:
    """A committed lock that `envmatrix lock` did not write is an error that names the file."""
    write_text(layout.lock(cell.id), "")
    layout.lock(cell.id).write_bytes(damage)
    for ask in (resolutions.of_cell, resolutions.committed_lock):
        with pytest.raises(InputError) as caught:
            ask(cell)
        assert caught.value.where == f"{layout.lock(cell.id)}, line 1"


def test_a_proof_counts_under_the_settings_that_it_was_made_with(
    resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """Under other settings a proof is as absent, and a lock is as good as ever."""
    problem = resolutions.problem(cell)
    keep(records, problem, Resolution(None, REFUTED, "ours"))
    assert resolutions.of_cell(cell, "ours") == Resolution(None, REFUTED, "ours")
    assert resolutions.of_cell(cell, "theirs") is None
    assert resolutions.of_cell(cell) == Resolution(None, REFUTED, "ours")
    keep(records, problem, Resolution(the_answer(problem), None))
    assert resolutions.of_cell(cell, "theirs") == Resolution(the_answer(problem), None)


def test_a_committed_proof_is_known_in_a_fresh_clone(
    resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """It stands as it was published, and counts as an answer under the same settings only."""
    commit(layout, resolutions, cell, REFUTED, "theirs")
    assert resolutions.of_cell(cell) == Resolution(None, REFUTED, "theirs")
    assert resolutions.of_cell(cell, "theirs") == Resolution(None, REFUTED, "theirs")
    assert resolutions.of_cell(cell, "ours") is None
    keep(records, resolutions.problem(cell), Resolution(None, OTHERWISE, "ours"))
    assert resolutions.of_cell(cell, "ours") == Resolution(None, OTHERWISE, "ours")
    assert resolutions.judgement(cell) == REFUTED


def test_a_lock_of_this_machine_is_worth_more_than_a_published_proof(
    resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """Another index had what was missing, and the lock can be built."""
    commit(layout, resolutions, cell, REFUTED, "theirs")
    keep(
        records, resolutions.problem(cell), Resolution(the_answer(resolutions.problem(cell)), None)
    )
    assert resolutions.of_cell(cell, "theirs") == Resolution(
        the_answer(resolutions.problem(cell)), None
    )
    assert resolutions.judgement(cell) == LOCKED


@pytest.mark.parametrize("known", [REFUTED, LOCKED], ids=["proof", "lock"])
def test_an_outage_replaces_no_committed_knowledge(
    resolutions: Resolutions, small: Matrix, layout: Layout, cell: Cell, known: Judgement
) -> None:
    """An unknown answer leaves a committed proof or lock of the same problem as it is."""
    commit(layout, resolutions, cell, known, "theirs")
    found = {resolutions.problem(cell).key: Resolution(None, BLOCKED)}
    before = layout.resolved.read_text(encoding="utf-8")
    resolutions.write_verdicts(found, [cell], expand(small))
    assert before == layout.resolved.read_text(encoding="utf-8")


def test_what_every_base_holds_is_named(resolutions: Resolutions) -> None:
    """These distributions are the surroundings of every cell."""
    assert {"uv", "pip"} == resolutions.of_the_base


def test_locks_of_cells_and_bases_are_written_into_the_tree(
    resolutions: Resolutions, layout: Layout, small: Matrix, cell: Cell
) -> None:
    """The lock of each cell and of its base is written, and a cell without one has no file."""
    problem, base = resolutions.problem(cell), resolutions.base_problem(cell)
    other = the_cell(small, OTHER)
    found = {
        problem.key: Resolution(the_answer(problem), None),
        base.key: Resolution(the_answer(base), None),
        resolutions.problem(other).key: Resolution(None, REFUTED),
    }
    resolutions.write_locks(found, [cell, other])
    assert resolutions.of_cell(cell) == found[problem.key]
    assert resolutions.of_base(cell) == found[base.key]
    assert layout.lock("base/debian12-py3.11-cpu").is_file()
    assert not layout.lock(other.id).exists()
    assert not layout.lock(f"base/{other.base_id}").exists()


# --- the committed file ----------------------------------------------------------------------


def commit(
    layout: Layout, resolutions: Resolutions, cell: Cell, judgement: Judgement, settings: str = ""
) -> None:
    """Commit what the resolver said of a cell."""
    line = Line(resolutions.problem(cell).key[:KEY_LENGTH], judgement, settings)
    Resolved(layout.resolved).write({cell.id: line})


def test_the_committed_file_tells_what_the_resolver_said(
    resolutions: Resolutions, layout: Layout, small: Matrix, cell: Cell
) -> None:
    """The line of a cell tells its judgement, and a cell without a line has none."""
    commit(layout, resolutions, cell, REFUTED)
    assert resolutions.committed_verdict(cell) == REFUTED
    assert resolutions.judgement(cell) == REFUTED
    assert resolutions.judgement(the_cell(small, OTHER)) is None


def test_a_line_on_another_problem_does_not_count(
    small_text: str, resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """After a change of what the cell asks for, its line tells nothing."""
    commit(layout, resolutions, cell, REFUTED)
    changed = load(small_text.replace("2026-11-20", "2026-11-21"), "matrix.yaml")
    later = Resolutions(changed, layout, records)
    assert later.committed_verdict(cell) is None
    assert later.judgement(cell) is None


def test_a_record_tells_more_than_a_line_that_was_blocked(
    resolutions: Resolutions, small: Matrix, layout: Layout, records: Records, cell: Cell
) -> None:
    """A line of a day without an index counts only until this machine has an answer."""
    commit(layout, resolutions, cell, BLOCKED)
    told = resolutions.judgement(cell)
    assert told is not None
    assert told.cause == (
        "not resolved when this was published: the default package index could not be reached "
        "from there"
    )
    assert told.remedy == f"resolve it here: `envmatrix lock {cell.id}`"
    problem = resolutions.problem(cell)
    keep(records, problem, Resolution(the_answer(problem), None))
    assert Resolutions(small, layout, records).judgement(cell) == LOCKED
    keep(records, problem, Resolution(None, REFUTED))
    assert Resolutions(small, layout, records).judgement(cell) == REFUTED


def test_a_committed_line_comes_before_the_record(
    resolutions: Resolutions, layout: Layout, records: Records, cell: Cell
) -> None:
    """What is committed is told, whatever this machine recorded."""
    commit(layout, resolutions, cell, LOCKED)
    keep(records, resolutions.problem(cell), Resolution(None, REFUTED))
    assert resolutions.judgement(cell) == LOCKED


def test_lines_of_other_cells_are_kept(
    resolutions: Resolutions, small: Matrix, layout: Layout, cell: Cell
) -> None:
    """Writing the lines of some cells keeps those of others that are declared and current."""
    other = the_cell(small, OTHER)
    Resolved(layout.resolved).write(
        {
            "gone-1.0": Line("key", REFUTED),
            other.id: Line(resolutions.problem(other).key[:KEY_LENGTH], BLOCKED),
            "torch-2.9.1-py3.11-debian12-cpu": Line("of another problem", LOCKED),
        }
    )
    answer = Resolution(the_answer(resolutions.problem(cell)), None)
    found = {resolutions.problem(cell).key: answer}
    resolutions.write_verdicts(found, [cell], expand(small))
    lines = Resolved(layout.resolved).lines
    assert [(name, line.judgement.kind) for name, line in lines.items()] == [
        (other.id, "blocked"),
        (cell.id, "not-attempted"),
    ]
    assert resolutions.judgement(cell) == LOCKED


def test_a_damaged_file_is_not_overwritten(
    resolutions: Resolutions, small: Matrix, layout: Layout, cell: Cell
) -> None:
    """A file that cannot be read is an error, and stays as it is."""
    write_text(layout.resolved, "<<<<<<< HEAD")
    found = {resolutions.problem(cell).key: Resolution(None, REFUTED)}
    cells: Sequence[Cell] = expand(small)
    with pytest.raises(InputError, match="damaged"):
        resolutions.write_verdicts(found, [cell], cells)
    assert layout.resolved.read_text(encoding="utf-8") == "<<<<<<< HEAD"


# --- interpreters ----------------------------------------------------------------------------


@pytest.fixture
def foreign(small: Matrix) -> Cell:
    """A cell whose operating system has another Python."""
    return the_cell(small, "torch-2.10.0-py3.9-debian12-cpu")


def test_a_base_has_a_lock_once_its_interpreter_is_known(
    resolutions: Resolutions, records: Records, foreign: Cell, cell: Cell
) -> None:
    """Without one it has none; the reason that was heard in this run stands for it."""
    problem, wanted = resolutions.base_problem(foreign), resolutions.wanted_interpreter(foreign)
    assert wanted is not None
    assert resolutions.wanted_interpreter(cell) is None
    keep(records, problem, Resolution(the_answer(problem), None))
    assert resolutions.of_base(foreign) is None
    resolutions.hear({wanted.key: Resolution(None, BLOCKED)})
    heard = resolutions.of_base(foreign)
    assert heard is not None
    assert heard.judgement == replace(BLOCKED, stage="base")
    found = the_interpreter("3.9.2")
    keep(records, wanted, Resolution(lock_of_interpreter(wanted, found), None))
    known = resolutions.of_base(foreign)
    assert known == Resolution(replace(the_answer(problem), interpreter=found), None)


def test_the_committed_interpreter_comes_first(
    resolutions: Resolutions, records: Records, layout: Layout, foreign: Cell
) -> None:
    """The committed lock of the base has it, unless the matrix is of an earlier day."""
    wanted = resolutions.wanted_interpreter(foreign)
    assert wanted is not None
    path = layout.lock(f"base/{foreign.base_id}")
    committed, recorded = the_interpreter("3.9.3"), the_interpreter("3.9.2")
    lock = replace(the_answer(resolutions.base_problem(foreign)), interpreter=committed)
    write_text(path, lock.text)
    assert resolutions.of_base(foreign) == Resolution(lock, None)
    keep(records, wanted, Resolution(lock_of_interpreter(wanted, recorded), None))
    assert resolutions.interpreter(foreign, wanted) == committed
    too_new = replace(lock, interpreter=the_interpreter("3.9.4", "20270101"))
    write_text(path, too_new.text)
    assert resolutions.interpreter(foreign, wanted) == recorded


def test_the_lock_of_a_base_is_written_with_its_interpreter(
    resolutions: Resolutions, layout: Layout, foreign: Cell
) -> None:
    """A base whose interpreter is not known gets no lock: it could not be built of it."""
    problem, wanted = resolutions.base_problem(foreign), resolutions.wanted_interpreter(foreign)
    assert wanted is not None
    path = layout.lock(f"base/{foreign.base_id}")
    found = {problem.key: Resolution(the_answer(problem), None)}
    resolutions.write_locks(found | {wanted.key: Resolution(None, BLOCKED)}, [foreign])
    assert not path.exists()
    pinned = Resolution(lock_of_interpreter(wanted, the_interpreter("3.9.2")), None)
    resolutions.write_locks(found | {wanted.key: pinned}, [foreign])
    assert the_interpreter("3.9.2").line in path.read_text("utf-8").splitlines()
