"""A matrix file is read, or refused with file, line, key and remedy."""

import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from samples import STACK, replaced, scalars, values

from envmatrix.model.errors import InputError
from envmatrix.model.fields import ALLOWED
from envmatrix.model.matrix_file import MAX_CELLS, json_schema, load, read_matrix


def refused(text: str) -> InputError:
    """Return the error that a matrix gives."""
    with pytest.raises(InputError) as caught:
        load(text, "matrix.yaml")
    assert caught.value.exit_code == 2
    return caught.value


def swapped(text: str, old: str, new: str) -> str:
    """Return a matrix with its one `old` replaced."""
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # keys
        ("profiles:", "profils:", ('unknown key "profils"', " (profils)", "profiles")),
        ("codename: bullseye", "codnam: x", ('"codnam"', "(axes.os.debian11.codnam)", "codename")),
        ("    reason: nobody", "    reasn: nobody", ('"reasn"', "43:12 (rules.1.reasn)", "reason")),
        ("{profile: quick}", "{profil: quick}",
         ('"profil"', "(profiles.wide.0.profil)", "profile")),
        ('framework: torch, version: "<', 'framwork: torch, version: "<',
         ('"framwork"', "(rules.0.when.framwork)", "framework")),
        ("\n    reason: nobody asked for it", "",
         ('key "reason" is missing', "41:5 (rules.1.reason)", "why")),
        ('resolve: {as_of: "2026-11-20"}\n', "", ('"resolve" is missing', "1:1 (resolve)", "add")),
        ("python: [", "python: []\n  python: [",
         ('"python" stands twice', "10:3 (axes.python)", "remove")),
        # types
        ('["3.9", "3.11"]', '["3.9", 3.10]',
         ("3.10 is read as the number 3.1", "9:19 (axes.python.1)", '"3.10"')),
        ('python: "3.9"}', "python: 3.10}", ("3.10 is read as the number 3.1", "38:56", '"3.10"')),
        ("python: own", "python: 3.10", ("3.10 is read as the number 3.1", "49:71", '"3.10"')),
        ('glibc: "2.31"', "glibc: 2.30", ("2.30 is read as the number 2.3", "5:65", '"2.30"')),
        ('"2026-11-20"', "2026-11-20", ("is read as the value 2026-11-20", "2:18", '"2026-11-20"')),
        ("title: PyTorch", "title: yes", ("is read as the value True", "17:12", '"yes"')),
        ("title: PyTorch", "title: [PyTorch]",
         ("wrong type: text is needed here, found a list", "17:12", "a sentence of")),
        ("title: PyTorch", "title:",
         ("text is needed here, found nothing", "(frameworks.torch.title)", "a sentence of")),
        ('["3.9", "3.11"]', '"3.9"', ("a list is needed", "9:11 (axes.python)", "[...]")),
        ("cpu: {}", "cpu: [3]",
         ("keys with values are needed here, found a list", "11:10 (axes.accelerator.cpu)",
          "cuda, driver")),
        ("schema: 1", "schema: 2", ("2 is not allowed", "1:9 (schema)", "allowed is 1")),
        ("arch: [amd64]", "arch: [arm]",
         ("'arm' is not allowed", "13:10", 'allowed is "amd64" or "arm64"')),
        ("arch: [amd64]", "arch: [arm64, arm64]", ("arm64 stands twice", "13:17", "remove")),
        # nothing, or too much of it
        ('versions: ["2.21.0"]', "versions: []",
         ("empty", "(frameworks.tensorflow.versions)", "one")),
        ('cpu: ["2.21.0"]', "cpu: []", ("empty", "accelerators.cpu)", "one")),
        ("os: debian11}", "os: []}", ("empty", "(rules.1.when.os)", "one")),
        ("    - {}", "    []", ("empty", "(profiles.all)", "one")),
        ('["2.9.1", "2.10.0"]', '["2.9.1", "2.9.1"]', ("2.9.1 stands twice", "18:25", "remove")),
        # names that do not exist
        ("os: debian11}", "os: debian21}", ('"debian21"', "41:39 (rules.1.when.os)", "debian11")),
        ("os: debian11}", 'os: "debian2*"}', ('"debian2*"', "(rules.1.when.os)", "debian12")),
        ('cu130: ["*"]', 'cu131: ["*"]', ('"cu131"', "accelerators.cu131)", "cu130")),
        ("{profile: quick}", "{profile: wide}", ('"wide"', "(profiles.wide.0.profile)", "quick")),
        ("{profile: quick}", "{profile: all}", ('"all"', "(profiles.wide.0.profile)", "quick")),
        ("{profile: quick}", "{profile: quick, os: debian12}",
         ("not both", "(profiles.wide.0)", "two")),
        ('{"2.21.0": "2.21.1"}', '{"2.20.0": "2.20.1"}',
         ("TensorFlow 2.20.0 is not in the matrix", "tensorflow-text.2.20.0)", "2.21.0")),
        # packages
        ('"g++"', '"G++"', ("'G++' is not allowed", "(frameworks.tensorflow.packages.0)", "g++")),
        ('"g++"', '"g++ -y"', ("is not allowed", "packages.0)", "")),
        ('"g++"', '"--purge"', ("is not allowed", "packages.0)", "")),
        ("libpython{python}", "libpython{version}", ("is not allowed", "packages.1)", "")),
        # rules
        ("    exclude: true\n", "", ("does exactly one thing", "41:5 (rules.1)", "exclude: true")),
        ("    exclude: true", "    exclude: true\n    constrain: [a<2]",
         ("exactly one", "(rules.1)", "")),
        ("exclude: true", "exclude: false", ("False is not allowed", "(rules.1.exclude)", "true")),
        # values that mean nothing
        ('"2026-11-20"', '"2026-02-30"', ("2026-02-30 is not a day", "2:18", "YYYY-MM-DD")),
        ('"<2.10"', '"<2.*"', ("'<2.*' is not allowed", "(rules.0.when.version.0)", ">=2.4,<2.8")),
        ('"<2.10"', '"~=2"', ("'~=2' is not allowed", "(rules.0.when.version.0)", "")),
        ('[">=2.10"]', '[">=2.**"]', ("is not allowed", "accelerators.cu130.0)", "")),
        ("setuptools<82", "setuptools>=82.*", ("is not allowed", "(rules.0.constrain.0)", "")),
        ("setuptools<82", "setuptools=={version}", ("is not allowed", "(rules.0.constrain.0)", "")),
        ("uv==0.13.9", "uv=={version}", ("is not allowed", "(base.installer)", "")),
        ('glibc: "2.31"', 'glibc: "2"', ("'2' is not allowed", "(axes.os.debian11.glibc)", "")),
        # paths
        ("whl/{accelerator}", "whl/../{accelerator}",
         ("is not allowed", "(frameworks.torch.variants.1.index)", "")),
        ("https://wheels", "https://user:secret@wheels",
         ("is not allowed", "variants.1.index)", "")),
        ("https://wheels", "file://wheels", ("is not allowed", "variants.1.index)", "")),
        ("debian:11-slim", "../debian:11", ("is not allowed", "(axes.os.debian11.image)", "")),
        ("    debian11:", "    ../debian11:", ("is not allowed", "(axes.os.../debian11)", "")),
        ("  torch:", "  ..:", ("is not allowed", "(frameworks...)", "")),
        # two cells of one id: os a-b with accelerator c, os a with accelerator b-c
        ("    cpu: {}", "    cpu-x: {}",
         ("'cpu-x' is not allowed", "(axes.accelerator.cpu-x)", "")),
        ("    debian11:", "    debian-11:",
         ("'debian-11' is not allowed", "(axes.os.debian-11)", "")),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_remedy(
    small_text: str, old: str, new: str, said: tuple[str, str, str]
) -> None:
    """Each mistake gives an error that says what is wrong, where, and what to do."""
    error = refused(swapped(small_text, old, new))
    what, where, next_step = said
    assert what in error.what
    assert error.where.startswith("matrix.yaml:")
    assert where in error.where
    assert next_step in error.next_step
    assert error.next_step


@pytest.mark.parametrize("text", ["{}", "[]", "torch", "---\n", "3.10"])
def test_what_is_no_matrix_at_all_is_refused(text: str) -> None:
    """A file of another shape gives an error that names the key schema."""
    assert "schema" in refused(text).what


def test_a_matrix_without_cells_is_refused(small_text: str) -> None:
    """A matrix is refused if no variant offers any version."""
    text = small_text.replace('["*"]', '["9.*"]').replace('[">=2.10"]', '["9.*"]')
    assert "declares no cell" in refused(text.replace('cpu: ["2.21.0"]', 'cpu: ["9.*"]')).what


def test_a_million_cells_are_refused_without_making_them(
    small_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix of a million cells is refused before any version is matched."""
    system = "{distribution: debian, codename: c, glibc: '2.31', python: '3.9', image: 'd:1'}"
    data = yaml.safe_load(small_text)
    data["axes"]["os"] = {f"os{number}": yaml.safe_load(system) for number in range(100)}
    data["axes"]["python"] = [f"3.{minor}" for minor in range(100)]
    data["axes"]["accelerator"] = {"cpu": {}}
    data["frameworks"] = {"tensorflow": data["frameworks"]["tensorflow"]}
    data["frameworks"]["tensorflow"]["companions"] = {}
    data["frameworks"]["tensorflow"]["versions"] = [f"{number}.0" for number in range(100)]
    data["rules"] = []
    data["profiles"] = {"all": [{}]}
    monkeypatch.setattr("envmatrix.model.matrix.Framework.offers", pytest.fail)
    error = refused(yaml.safe_dump(data))
    assert "1000000 cells" in error.what
    assert str(MAX_CELLS) in error.what


def test_more_cells_than_are_taken_are_refused(small_text: str) -> None:
    """A matrix that declares more cells than envmatrix takes is refused with both numbers."""
    data = yaml.safe_load(small_text)
    data["axes"]["os"] |= {f"os{number}": data["axes"]["os"]["debian12"] for number in range(98)}
    data["axes"]["python"] = [f"3.{minor}" for minor in range(1, 100)]
    error = refused(json.dumps(data))
    assert f"declares {100 * 99 * 5} cells; at most {MAX_CELLS} are taken" in error.what
    assert "split the matrix" in error.next_step


def test_a_matrix_is_read_from_its_file(tmp_path: Path, small_text: str) -> None:
    """A file gives the matrix of its text, and errors name the file."""
    path = tmp_path / "mine.yaml"
    path.write_text(small_text, encoding="utf-8")
    assert read_matrix(path) == load(small_text, "matrix.yaml")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_matrix(path)
    assert caught.value.where.startswith("mine.yaml:1:1")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, small_text: str) -> None:
    """A file that is not UTF-8 gives an error that says to save it as UTF-8."""
    (tmp_path / "matrix.yaml").write_bytes(small_text.replace("PyTorch", "Pÿ").encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8") as caught:
        read_matrix(tmp_path / "matrix.yaml")
    assert caught.value.next_step == "save it as UTF-8"


def test_a_matrix_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    """The error about a missing file names the option that gives another file."""
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_matrix(tmp_path / "matrix.yaml")
    assert "--matrix" in caught.value.next_step


def test_every_field_refuses_through_the_whole_way(small_text: str) -> None:
    """A newline after any string is refused with the place, and no newline is in the message."""
    data = yaml.safe_load(small_text)
    for path, value in scalars(data):
        spoiled = replaced(data, path, f"{value}\n")
        error = refused(yaml.safe_dump(spoiled, sort_keys=False, default_style='"'))
        assert error.where.startswith("matrix.yaml:")
        assert "\n" not in error.what
        assert error.next_step


# --- what is allowed is told -----------------------------------------------------------------


def dumped(data: Any) -> str:
    """Return a document as YAML, in its order."""
    return yaml.safe_dump(data, sort_keys=False)


@pytest.fixture(scope="module")
def whole(small_text: str) -> Any:
    """A document that holds every field of a matrix."""
    return yaml.safe_load(small_text + STACK) | {"probes": ["probes"]}


@pytest.fixture(scope="module")
def remedies(whole: Any) -> Sequence[str]:
    """The remedy for each text of a matrix where it holds a sign that no field takes."""
    keys = [
        (*path, "\N{SECTION SIGN}")
        for path, value in values(whole)
        if isinstance(value, dict) and path[-1:] in [("os",), ("frameworks",), ("stacks",)]
    ]
    fields = [path for path, _ in scalars(whole)]
    spoiled = [replaced(whole, path, "\N{SECTION SIGN}") for path in fields]
    spoiled += [replaced(whole, path, {}) for path in keys]
    return [refused(dumped(data)).next_step for data in spoiled]


SCHEMA = json.dumps(json_schema())
IN_MATRIX = [words for pattern, words in ALLOWED.items() if json.dumps(pattern) in SCHEMA]
"""Other files that people write have allow-lists of their own."""


@pytest.mark.parametrize("words", IN_MATRIX)
def test_every_allow_list_is_told_in_words(remedies: Sequence[str], words: str) -> None:
    """Each allow-list belongs to some field, and the error about that field tells its words."""
    assert f"allowed is {words}" in remedies


@pytest.mark.parametrize("pattern", ALLOWED, ids=ALLOWED.values())
def test_the_examples_of_an_allow_list_are_allowed(pattern: str) -> None:
    """The words of an allow-list end with at least one example, and it takes each of them."""
    _, _, said = ALLOWED[pattern].rpartition("such as")
    said = re.sub(r" \(.*\)$", "", said.removeprefix(":").strip())
    examples = [example.strip('"') for example in re.split(r" or |, ", said)]
    assert examples
    for example in examples:
        assert re.fullmatch(pattern, example), example


def places(whole: Any) -> Sequence[tuple[str | int, ...]]:
    """Return the paths in a document, with one of several that hold the same fields."""
    alike = {"debian12", "cu130", "tensorflow", "wide", "all"}
    paths = [path for path, _ in values(whole) if not alike & set(path)]
    return [path for path in paths[1:] if not any(part in path for part in range(1, 9))]


WRONG: Sequence[object] = (
    *(None, True, 3.5, 10**30, float("nan"), date(2026, 11, 20), b"bytes"),
    *("", "\N{SECTION SIGN}", "x" * 1000, [], [None], {}, {"k" * 1000: {}}),
)
WORDS_OF_A_LIBRARY = re.compile(
    r"\^\(|\[a-z|\)\$|\\[.dw]"  # a regular expression
    r"|instance of|dictionary|should (be|have|match)|[Uu]nable to parse"  # pydantic
    r"|\bNone\b|datetime\."  # Python
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: f"{value!r:.12}")
def test_no_error_speaks_the_language_of_a_library(whole: Any, wrong: object) -> None:
    """Whatever stands in whichever place, the error is one plain line with a place and a remedy."""
    errors = {}
    for path in places(whole):
        try:
            load(dumped(replaced(whole, path, wrong)), "matrix.yaml")
        except InputError as error:
            errors[path] = error
    assert errors
    for path, refusal in errors.items():
        assert re.match(r"matrix\.yaml:\d+:\d+ \(.+\)$", refusal.where), path
        for text in (refusal.what, refusal.next_step):
            assert not WORDS_OF_A_LIBRARY.search(text), (path, text)
            assert [text] == text.splitlines(), path
            assert len(text) < 400, path


@pytest.mark.parametrize(
    ("path", "value", "what", "next_step"),
    [
        (
            ("frameworks", "torch", "versions", 0),
            "1.2" * 20,
            "is too long: at most 24 characters are allowed here",
            'shorten it; allowed is a release in quotes, such as "2.13.0" or "2.22.0rc0"',
        ),
        (
            ("axes", "os", "x" * 25),
            {},
            "is too long: at most 24 characters are allowed here",
            (
                "shorten it; allowed is a word of small letters, digits and dots, without a dash, "
                "such as debian12 or cu130"
            ),
        ),
        (
            ("axes", "os", "debian11"),
            {},
            'the key "distribution" is missing',
            (
                'add "distribution": a name of small letters, digits, dots and dashes, '
                "such as torch or debian-slim"
            ),
        ),
        (
            ("stacks", "vision", "requires"),
            None,
            "wrong type: a list is needed here, found nothing",
            (
                "put it in square brackets: [...]; allowed is a list of entries, "
                "each a distribution with version clauses, such as setuptools<82"
            ),
        ),
        (
            ("frameworks",),
            ["torch"],
            "wrong type: keys with values are needed here, found a list",
            (
                "allowed is a mapping from a name of small letters, digits, dots and dashes, "
                "such as torch or debian-slim to a mapping with some of the keys title, license, "
                "versions, packages, companions, excludes, variants"
            ),
        ),
        (("schema",), 10**30, f"{10**30} is not allowed here", "allowed is 1"),
        (("rules", 0, "when", "os"), {"k": 1}, "a list is needed here, found a mapping", "cu*"),
    ],
)
def test_an_error_of_a_rare_kind_shows_what_is_allowed(
    whole: Any, path: tuple[str | int, ...], value: object, what: str, next_step: str
) -> None:
    """Too long, missing, of another type, too large: each error says what is allowed there."""
    error = refused(dumped(replaced(whole, path, value)))
    assert what in error.what
    assert next_step in error.next_step


# --- the schema for editors ------------------------------------------------------------------


def test_the_schema_takes_the_real_matrix_and_refuses_an_unknown_key(real_text: str) -> None:
    """The JSON Schema takes the project's matrix, and refuses a key that it does not know."""
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    data = yaml.safe_load(real_text)
    assert [error.message for error in validator.iter_errors(data)] == []
    for place in (data, data["resolve"], data["rules"][0], data["profiles"]["quick"][0]):
        place["extra"] = 1
        assert [
            error.message.rpartition("(")[2].rstrip(")") for error in validator.iter_errors(data)
        ] == ["'extra' was unexpected"]
        del place["extra"]


def test_the_published_schema_is_the_one_in_force(root: Path) -> None:
    """docs/matrix.schema.json is what `envmatrix schema` prints."""
    published = (root / "docs" / "matrix.schema.json").read_text(encoding="utf-8")
    assert json_schema() == json.loads(published)


def test_a_distribution_without_apt_is_refused(small_text: str) -> None:
    """A base of another family could not be made, and the error lists what can be."""
    assert "distribution: debian" in small_text
    with pytest.raises(InputError, match='the distribution "rocky" is not supported') as caught:
        load(small_text.replace("distribution: debian", "distribution: rocky", 1), "matrix.yaml")
    assert caught.value.next_step == "supported: debian, ubuntu"


def test_a_cuda_line_needs_a_driver(small_text: str) -> None:
    """Without one, an image would ask for the driver None."""
    text = small_text.replace("    cpu: {}", '    cpu: {}\n    cu999: {cuda: "99.9"}', 1)
    with pytest.raises(InputError, match=r"the CUDA line 99\.9 names no driver") as caught:
        load(text, "matrix.yaml")
    assert "driver" in caught.value.next_step


@pytest.mark.parametrize(
    "folder", ["/etc", "..", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "~", "-", "a\\b", ""]
)
def test_a_folder_of_probes_lies_in_the_project(small_text: str, folder: str) -> None:
    """A path that could lead out of the folder of the matrix is refused, with an example."""
    data = yaml.safe_load(small_text) | {"probes": ["probes", folder]}
    error = refused(dumped(data))
    assert "(probes.1)" in error.where
    assert "such as probes or tests/probes" in error.next_step


def test_folders_of_probes(small_text: str) -> None:
    """Folders in the folder of the matrix are taken, in their order."""
    data = yaml.safe_load(small_text) | {"probes": ["probes", "tests/my-probes.d", ".ci/x"]}
    assert load(dumped(data), "matrix.yaml").probes == ["probes", "tests/my-probes.d", ".ci/x"]


@pytest.mark.parametrize(
    ("path", "value", "right"),
    [
        (("frameworks", "torch", "title"), None, 'title: "TensorFlow"'),
        (("frameworks", "torch", "versions"), "2.10.0", 'versions: ["2.21.0"]'),
        (("frameworks", "torch", "variants"), [], 'variants: [{"name": "tensorflow-cpu"'),
        (("axes", "python"), "3.11", 'python: ["3.11"]'),
        (("axes", "accelerator", "cpu"), [], "cpu: {}"),
        (("profiles", "quick"), [], 'quick: [{"framework": "tensorflow"'),
        (("resolve",), None, 'resolve: {"as_of": "2026-11-20"}'),
        (("resolve",), "2026-11-20", 'resolve: {"as_of": "2026-11-20"}'),
    ],
)
def test_an_error_shows_a_line_that_is_right(
    small_text: str, path: tuple[str, ...], value: object, right: str
) -> None:
    """Where the form of a value is wrong, or it is missing, the error shows one of that form."""
    data = replaced(yaml.safe_load(small_text), path, value)
    if value is None:
        place = data
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]
    assert f"For instance: {right}" in refused(dumped(data)).next_step
