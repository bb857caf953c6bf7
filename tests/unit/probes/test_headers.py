"""The headers of probes: what each says, and every way in which one can be wrong."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from envmatrix.model.cells import Cell, expand
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import Matrix
from envmatrix.probes.headers import ANY, Probe, Probes, Sources, load_probes, parse_probe

HEADER = """\
# /// probe
# name = "torch-matmul"
# framework = "torch"
# proves = "A product is right."
# required = true
# timeout = 60
# ///
"""
PATH = Path("probes") / "torch_matmul.py"


def header(name: str, **changes: str) -> str:
    """Return a header with this name; `changes` are fields in the words of TOML."""
    fields = {
        "name": f'"{name}"',
        "framework": f'"{name.partition("-")[0]}"',
        "proves": '"Something."',
        "required": "true",
        "timeout": "60",
        **changes,
    }
    lines = "".join(f"# {field} = {value}\n" for field, value in fields.items())
    return f"# /// probe\n{lines}# ///\n"


def write(folder: Path, *names: str, **changes: str) -> Path:
    """Write probes of these names to a folder, and return the folder."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / f"{name.replace('-', '_')}.py"
        path.write_text(header(name, **changes), encoding="utf-8")
    return folder


# --- one header ------------------------------------------------------------------------------


def test_the_probe_that_imports_names_what_others_share() -> None:
    """Modules have dotted names; without the field nothing is shared."""
    source = header("torch-import", preload='["torch", "torch.nn"]', alone="true")
    found = parse_probe(source, PATH)
    assert (found.preload, found.alone) == (("torch", "torch.nn"), True)
    assert parse_probe(HEADER, PATH).preload == ()
    assert not parse_probe(HEADER, PATH).alone


@pytest.mark.parametrize(
    ("name", "preload", "what"),
    [
        ("torch-matmul", '["torch"]', "only the probe torch-import can name modules to preload"),
        ("torch-import", '["torch; x"]', "'torch; x' in preload cannot be the name of a module"),
        ("torch-import", '["-c"]', "'-c' in preload cannot be the name of a module"),
        ("torch-import", '[".torch"]', "'.torch' in preload cannot be the name of a module"),
        ("torch-import", "[1]", "1 in preload cannot be the name of a module"),
        ("torch-import", '"torch"', '"preload" must be of type list'),
    ],
)
def test_a_preload_that_is_not_one_is_refused(name: str, preload: str, what: str) -> None:
    """The importer is given these names, so they are names of modules and nothing else."""
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        parse_probe(header(name, preload=preload), PATH)
    assert caught.value.next_step


def test_a_header_is_read() -> None:
    """The header stands between its marks, wherever they are; `needs` and `stack` are optional."""
    source = "#!/usr/bin/env python3\n" + HEADER + '"""Do it."""\n'
    assert parse_probe(source, PATH) == Probe(
        name="torch-matmul",
        framework="torch",
        proves="A product is right.",
        required=True,
        timeout=60,
        source=source,
        needs="",
        stack="",
    )
    more = '# needs = "gpu"\n# stack = "vision"\n# ///\n'
    probe = parse_probe(HEADER.replace("# ///\n", more), PATH)
    assert (probe.needs, probe.stack) == ("gpu", "vision")


def test_an_empty_line_may_stand_in_a_header() -> None:
    """A line with only the mark of a comment is empty TOML."""
    source = HEADER.replace("# required", "#\n# # a comment of TOML\n# required")
    assert parse_probe(source, PATH).required


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("# /// probe", "# /// script", "no header"),
        ("# ///\n", "", "no header"),
        ("# required", "required", "no header"),
        ("# required", "#required", "no header"),
        ("timeout = 60", "timeout = ", "not TOML"),
        ("# timeout = 60\n", "# timeout = 60\n# timeout = 61\n", "not TOML"),
        ("# timeout = 60\n", "", "lacks timeout"),
        ("# required = true\n# timeout = 60\n", "", "lacks required, timeout"),
        ("timeout = 60", 'timeout = "60"', '"timeout" must be of type int'),
        ("timeout = 60", "timeout = true", '"timeout" must be of type int'),
        ("timeout = 60", "timeout = 60.0", '"timeout" must be of type int'),
        ("timeout = 60", "timeout = 0", "timeout"),
        ("timeout = 60", "timeout = -1", "timeout"),
        ("required = true", "required = 1", '"required" must be of type bool'),
        ('"A product is right."', "7", '"proves" must be of type str'),
        ('framework = "torch"', 'framework = ["torch"]', '"framework" must be of type str'),
        ("# required", "# requird", 'unknown field "requird"'),
        ("# ///\n", '# needs = "tpu"\n# ///\n', "needs"),
        ("# ///\n", "# needs = true\n# ///\n", '"needs" must be of type str'),
        ("# ///\n", "# stack = 1\n# ///\n", '"stack" must be of type str'),
        ('"torch-matmul"', '"../torch"', "'../torch' cannot be the name"),
        ('"torch-matmul"', '"Torch"', "'Torch' cannot be the name"),
        ('"torch-matmul"', '"torch-matmul\\n"', "cannot be the name"),
        ('"torch-matmul"', '""', "cannot be the name"),
    ],
)
def test_a_bad_header_is_refused_with_the_file(old: str, new: str, what: str) -> None:
    """Each message is about wrong input, and names the file and a next step."""
    head, _, tail = HEADER.rpartition(old)
    with pytest.raises(InputError) as caught:
        parse_probe(head + new + tail, PATH)
    assert what in caught.value.what
    assert str(PATH) == caught.value.where
    assert caught.value.next_step


def test_a_misspelt_field_is_answered_with_the_right_one() -> None:
    """The next step names the field that comes nearest."""
    with pytest.raises(InputError) as caught:
        parse_probe(HEADER.replace("# required", "# requird"), PATH)
    assert "required" in caught.value.next_step


def test_a_probe_is_known_by_its_source() -> None:
    """Any change of the file gives another hash, and an equal file gives the same."""
    probe = parse_probe(HEADER, PATH)
    assert probe.sha256 == parse_probe(HEADER, Path("elsewhere.py")).sha256
    assert probe.sha256 != parse_probe(HEADER + "\n", PATH).sha256
    assert len(probe.sha256) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("torch-import", True), ("torch-vision-import", False), ("torch-import-all", False)],
)
def test_only_the_import_of_the_framework_is_the_import_probe(name: str, expected: bool) -> None:
    """Its name is the framework's with `-import`."""
    assert expected is parse_probe(header(name, framework='"torch"'), PATH).is_import


# --- folders of probes -----------------------------------------------------------------------


def test_the_probes_of_several_folders_are_read_in_a_fixed_order(tmp_path: Path) -> None:
    """By framework: the import comes first, then what needs no GPU, then what needs one."""
    first = write(tmp_path / "ours", "torch-nn", "torch-import", "tensorflow-import")
    write(first, "torch-a-gpu", needs='"gpu"')
    second = write(tmp_path / "mine", "torch-mine")
    (second / "notes.txt").write_text("no probe", encoding="utf-8")

    assert [probe.name for probe in load_probes([first, second])] == [
        "tensorflow-import",
        "torch-import",
        "torch-mine",
        "torch-nn",
        "torch-a-gpu",
    ]
    assert load_probes([]) == []


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The user's own probes may come from anywhere."""
    path = tmp_path / "x.py"
    path.write_bytes(HEADER.encode() + b"# \xff\n")
    with pytest.raises(InputError, match="not UTF-8") as caught:
        load_probes([tmp_path])
    assert caught.value.where == str(path)


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    """An editor may leave a dangling link beside the file that it has open."""
    path = tmp_path / "x.py"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="cannot be read") as caught:
        load_probes([tmp_path])
    assert caught.value.where == str(path)
    assert caught.value.next_step


def test_two_probes_of_one_name_are_refused(tmp_path: Path) -> None:
    """Evidence knows a probe by its name, so the second file is named."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(HEADER, encoding="utf-8")
    with pytest.raises(InputError, match="two probes are named torch-matmul") as caught:
        load_probes([tmp_path])
    assert caught.value.where == str(tmp_path / "b.py")


@pytest.mark.parametrize("name", ["gone", "file"])
def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    """A typing error must not leave out the user's probes."""
    (tmp_path / "file").write_text(HEADER, encoding="utf-8")
    with pytest.raises(InputError, match="no such folder") as caught:
        load_probes([tmp_path / name])
    assert caught.value.where == str(tmp_path / name)


# --- the probes of envmatrix and of a project ------------------------------------------------


def sources(tmp_path: Path, told: list[str], *frameworks: str) -> Sources:
    """Return probes of envmatrix for two frameworks, and a project with an empty folder."""
    ours = write(tmp_path / "ours", "torch-import", "torch-nn", "tensorflow-import")
    write(ours, "general", framework='"*"')
    return Sources(ours, write(tmp_path / "own"), frameworks or None, told.append)


def test_probes_of_a_project_are_added_to_ours(tmp_path: Path) -> None:
    """A probe of the project hides none of envmatrix."""
    told: list[str] = []
    both = sources(tmp_path, told)
    write(tmp_path / "own", "torch-mine")
    expected = {"torch-import", "torch-nn", "tensorflow-import", "general", "torch-mine"}
    assert expected == {probe.name for probe in Probes([], both).all}
    assert told == []


def test_of_our_probes_those_of_the_frameworks_of_the_matrix_count(tmp_path: Path) -> None:
    """A project without a framework gets no probe of it from envmatrix, but general ones."""
    both = sources(tmp_path, [], "torch", "mine")
    write(tmp_path / "own", "mine-import")
    expected = {"torch-import", "torch-nn", "general", "mine-import"}
    assert expected == {probe.name for probe in Probes([], both).all}


def test_a_probe_of_the_name_of_ours_replaces_it_and_is_told(tmp_path: Path) -> None:
    """The project's probe runs. An equal one is not worth a word."""
    told: list[str] = []
    both = sources(tmp_path, told)
    write(tmp_path / "own", "torch-import")
    write(tmp_path / "own", "torch-nn", proves='"Another thing."')
    found = {probe.name: probe for probe in Probes([], both).all}
    assert found["torch-nn"].proves == "Another thing."
    path = tmp_path / "own" / "torch_nn.py"
    assert told == [f"{path}: replaces the probe torch-nn of envmatrix"]


@pytest.mark.parametrize("text", [b"print()\n", b"# \xff\n", b"# /// script\n# ///\n"])
def test_a_program_that_is_no_probe_is_passed_over_and_told(tmp_path: Path, text: bytes) -> None:
    """The folder of a project may hold other programs: only what begins as a probe is one."""
    told: list[str] = []
    both = sources(tmp_path, told)
    path = tmp_path / "own" / "train.py"
    path.write_bytes(text)
    assert len(Probes([], both).all) == 4
    assert [f"{path}: passed over, for it is no probe: it has no line `# /// probe`"] == told


def test_a_folder_named_as_a_program_is_passed_over(tmp_path: Path) -> None:
    """What is no file in the folder of a project is told and passed over."""
    told: list[str] = []
    both = sources(tmp_path, told)
    (tmp_path / "own" / "data.py").mkdir()
    assert len(Probes([], both).all) == 4
    assert len(told) == 1


def test_a_bad_probe_of_a_project_is_an_error(tmp_path: Path) -> None:
    """A file that begins as a probe must be one, and two of one name are refused."""
    both = sources(tmp_path, [])
    (tmp_path / "own" / "bad.py").write_text("# /// probe\nprint()\n", encoding="utf-8")
    with pytest.raises(InputError, match="no header"):
        _ = Probes([], both).all
    for name in ("bad.py", "worse.py"):
        (tmp_path / "own" / name).write_text(HEADER, encoding="utf-8")
    with pytest.raises(InputError, match="two probes are named torch-matmul"):
        _ = Probes([], both).all


def test_a_folder_that_the_user_names_replaces_nothing(tmp_path: Path) -> None:
    """In a folder that the user names, a probe of the name of another is refused."""
    both = sources(tmp_path, [])
    folder = write(tmp_path / "named", "torch-nn")
    with pytest.raises(InputError, match="two probes are named torch-nn"):
        _ = Probes([folder], both).all


# --- the probes of a cell --------------------------------------------------------------------


@pytest.fixture
def cell(small: Matrix) -> Cell:
    """A cell of torch without a stack."""
    return next(cell for cell in expand(small) if cell.family == "torch" and not cell.stack)


def test_a_cell_gets_the_probes_of_its_framework(tmp_path: Path, cell: Cell) -> None:
    """Probes of another framework, and of a stack that the cell does not have, are left out."""
    folder = write(tmp_path / "probes", "torch-import", "torch-nn", "tensorflow-import")
    write(folder, "torch-boxes", stack='"vision"')
    probes = Probes([folder])

    assert [probe.name for probe in probes.of(cell)] == ["torch-import", "torch-nn"]
    assert probes.hashes(cell) == {probe.name: probe.sha256 for probe in probes.of(cell)}
    assert len(probes.all) == 4


def test_a_cell_of_a_stack_also_gets_the_probes_of_the_stack(tmp_path: Path, cell: Cell) -> None:
    """It runs those of the framework, too."""
    folder = write(tmp_path / "probes", "torch-import")
    write(folder, "torch-boxes", stack='"vision"')
    write(folder, "torch-voices", stack='"audio"')
    stacked = replace(cell, framework="torch+vision")

    assert [probe.name for probe in Probes([folder]).of(stacked)] == [
        "torch-import",
        "torch-boxes",
    ]


def test_probes_are_read_when_they_are_first_needed(tmp_path: Path, cell: Cell) -> None:
    """A wrong folder is no error until then, and files are read once."""
    folder = tmp_path / "probes"
    probes = Probes([folder])
    with pytest.raises(InputError):
        probes.of(cell)
    write(folder, "torch-import")
    assert len(probes.of(cell)) == 1
    write(folder, "torch-nn")
    assert len(probes.of(cell)) == 1


def test_every_probe_of_the_project_is_proper(root: Path, real: Matrix) -> None:
    """Each has the name of its file and a framework of the matrix, which one imports first."""
    probes = load_probes([root / "scripts" / "probes"])
    files = {path.stem for path in (root / "scripts" / "probes").glob("*.py")}
    assert files == {probe.name.replace("-", "_") for probe in probes}
    for framework in real.frameworks:
        own = [probe for probe in probes if probe.framework == framework]
        assert f"{framework}-import" == own[0].name
        assert own[0].required
        assert all(probe.name.startswith(f"{framework}-") for probe in own)
        assert all(probe.proves.endswith(".") for probe in own)
    general = [probe for probe in probes if probe.framework == ANY]
    assert {probe.framework for probe in probes} == {*real.frameworks, ANY}
    assert [(probe.name, probe.stack) for probe in general] == [("stack-modules", ANY)]
