"""A matrix is right, or refused with file, line, key and remedy, before anything is touched."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from envmatrix.cells import expand, in_profile
from envmatrix.errors import InputError
from envmatrix.matrix import MAX_CELLS, Matrix, json_schema, load
from envmatrix.project import Project

Path_ = tuple[str | int, ...]


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


# --- the real one ----------------------------------------------------------------------------


def test_the_matrix_of_the_project_declares_enough(real: Matrix) -> None:
    """It loads, has at least 800 cells, and each profile holds some of them."""
    cells = expand(real)
    assert len(cells) >= 800
    assert {"quick", "cpu", "cuda", "published", "all"} <= set(real.profiles)
    assert all(in_profile(real, cells, profile) for profile in real.profiles)
    assert in_profile(real, cells, "all") == cells


def test_the_quick_profile_holds_the_cells_it_promises(real: Matrix) -> None:
    """One torch and two TensorFlow cells are what the quick start shows."""
    quick = {cell.id for cell in in_profile(real, expand(real), "quick")}
    assert {
        "torch-2.13.0-py3.11-debian12-cpu",
        "tensorflow-2.21.0-py3.11-debian12-cpu",
        "tensorflow-2.21.0-py3.13-debian13-cpu",
    } <= quick


# --- what may not stand there ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # keys
        ("profiles:", "profils:", ('unknown key "profils"', " (profils)", "profiles")),
        ("codename: bullseye", "codnam: x", ('"codnam"', "(axes.os.debian11.codnam)", "codename")),
        ("    reason: nobody", "    reasn: nobody", ('"reasn"', "40:12 (rules.1.reasn)", "reason")),
        ("{profile: quick}", "{profil: quick}",
         ('"profil"', "(profiles.wide.0.profil)", "profile")),
        ('framework: torch, version: "<', 'framwork: torch, version: "<',
         ('"framwork"', "(rules.0.when.framwork)", "framework")),
        ("\n    reason: nobody asked for it", "",
         ('key "reason" is missing', "38:5 (rules.1.reason)", "why")),
        ('resolve: {as_of: "2026-11-20"}\n', "", ('"resolve" is missing', "1:1 (resolve)", "add")),
        ("python: [", "python: []\n  python: [",
         ('"python" stands twice', "10:3 (axes.python)", "remove")),
        # types
        ('["3.9", "3.11"]', '["3.9", 3.10]',
         ("3.10 is read as the number 3.1", "9:19 (axes.python.1)", '"3.10"')),
        ('python: "3.9"}', "python: 3.10}", ("3.10 is read as the number 3.1", "35:56", '"3.10"')),
        ("python: own", "python: 3.10", ("3.10 is read as the number 3.1", "43:71", '"3.10"')),
        ('glibc: "2.31"', "glibc: 2.30", ("2.30 is read as the number 2.3", "5:65", '"2.30"')),
        ('"2026-11-20"', "2026-11-20", ("is read as the value 2026-11-20", "2:18", '"2026-11-20"')),
        ("title: PyTorch", "title: yes", ("is read as the value True", "17:12", '"yes"')),
        ("title: PyTorch", "title: [PyTorch]", ("wrong type", "17:12", "docs/matrix.md")),
        ("title: PyTorch", "title:", ("wrong type", "(frameworks.torch.title)", "docs/matrix.md")),
        ('["3.9", "3.11"]', '"3.9"', ("a list is needed", "9:11 (axes.python)", "[...]")),
        ("cpu: {}", "cpu: [3]", ("wrong type", "11:10 (axes.accelerator.cpu)", "docs/matrix.md")),
        ("schema: 1", "schema: 2", ("2 is not allowed", "1:9 (schema)", "allowed: 1")),
        ("arch: [amd64]", "arch: [arm64]", ("'arm64' is not allowed", "13:10", "'amd64'")),
        # nothing, or too much of it
        ('versions: ["2.21.0"]', "versions: []",
         ("empty", "(frameworks.tensorflow.versions)", "one")),
        ('cpu: ["2.21.0"]', "cpu: []", ("empty", "accelerators.cpu)", "one")),
        ("os: debian11}", "os: []}", ("empty", "(rules.1.when.os)", "one")),
        ("    - {}", "    []", ("empty", "(profiles.all)", "one")),
        ('["2.9.1", "2.10.0"]', '["2.9.1", "2.9.1"]', ("2.9.1 stands twice", "18:25", "remove")),
        # names that do not exist
        ("os: debian11}", "os: debian21}", ('"debian21"', "38:39 (rules.1.when.os)", "debian11")),
        ("os: debian11}", 'os: "debian2*"}', ('"debian2*"', "(rules.1.when.os)", "debian12")),
        ('cu130: ["*"]', 'cu131: ["*"]', ('"cu131"', "accelerators.cu131)", "cu130")),
        ("{profile: quick}", "{profile: wide}", ('"wide"', "(profiles.wide.0.profile)", "quick")),
        ("{profile: quick}", "{profile: all}", ('"all"', "(profiles.wide.0.profile)", "quick")),
        ("{profile: quick}", "{profile: quick, os: debian12}",
         ("not both", "(profiles.wide.0)", "two")),
        # rules
        ("    exclude: true\n", "", ("does exactly one thing", "38:5 (rules.1)", "exclude: true")),
        ("    exclude: true", "    exclude: true\n    constrain: [a<2]",
         ("exactly one", "(rules.1)", "")),
        ("exclude: true", "exclude: false", ("False is not allowed", "(rules.1.exclude)", "True")),
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
    """Unknown keys, wrong types, empty lists, unknown names, idle rules, hostile paths."""
    error = refused(swapped(small_text, old, new))
    what, where, next_step = said
    assert what in error.what
    assert error.where.startswith("matrix.yaml:")
    assert where in error.where
    assert next_step in error.next_step
    assert error.next_step


@pytest.mark.parametrize("text", ["{}", "[]", "torch", "---\n", "3.10"])
def test_what_is_no_matrix_at_all_is_refused(text: str) -> None:
    """The first key that is missing is named, or the shape that is expected."""
    assert "schema" in refused(text).what


def test_a_matrix_without_cells_is_refused(small_text: str) -> None:
    """Variants that offer no version of their framework declare nothing."""
    text = small_text.replace('["*"]', '["9.*"]').replace('[">=2.10"]', '["9.*"]')
    assert "declares no cell" in refused(text.replace('cpu: ["2.21.0"]', 'cpu: ["9.*"]')).what


def test_a_million_cells_are_refused_without_making_them(
    small_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The product of the axes is told, and no version is even matched."""
    system = "{distribution: d, codename: c, glibc: '2.31', python: '3.9', image: 'd:1'}"
    data = yaml.safe_load(small_text)
    data["axes"]["os"] = {f"os{number}": yaml.safe_load(system) for number in range(100)}
    data["axes"]["python"] = [f"3.{minor}" for minor in range(100)]
    data["axes"]["accelerator"] = {"cpu": {}}
    data["frameworks"] = {"tensorflow": data["frameworks"]["tensorflow"]}
    data["frameworks"]["tensorflow"]["versions"] = [f"{number}.0" for number in range(100)]
    data["rules"] = []
    data["profiles"] = {"all": [{}]}
    monkeypatch.setattr("envmatrix.matrix.Framework.offers", property(pytest.fail))
    error = refused(yaml.safe_dump(data))
    assert "1000000 cells" in error.what
    assert str(MAX_CELLS) in error.what


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, small_text: str) -> None:
    """The remedy is to save it as UTF-8."""
    (tmp_path / "matrix.yaml").write_bytes(small_text.replace("PyTorch", "Pÿ").encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8") as caught:
        Project(tmp_path / "matrix.yaml").matrix  # noqa: B018  (reading it is the test)
    assert caught.value.next_step == "save it as UTF-8"


def test_a_matrix_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    """The remedy names the option that gives another file."""
    with pytest.raises(InputError, match="cannot be read") as caught:
        Project(tmp_path / "matrix.yaml").matrix  # noqa: B018  (reading it is the test)
    assert "--matrix" in caught.value.next_step


# --- values reach Dockerfiles ----------------------------------------------------------------

HOSTILE = {
    "a line that follows": "{}\nRUN id",
    "a trailing newline": "{}\n",
    "a leading newline": "\n{}",
    "a carriage return": "{}\rRUN id",
    "a vertical tab": "{}\x0bx",
    "a tab": "{}\tx",
    "a null byte": "{}\0",
    "an escape": "{}\x1b[2J",
    "a delete": "{}\x7f",
    "a next line": "{}\x85x",
    "a line separator": "{}\u2028x",
    "a bidirectional override": "{}\u202ex",
    "a double quote": '{}"',
    "a single quote": "{}'",
    "an expression of Jinja2": "{}{{{{ 7 }}}}",
    "a statement of Jinja2": "{{% include 'x' %}}{}",
    "a comment of Jinja2": "{}{{# x #}}",
    "a command substitution": "{}$(id)",
    "a variable": "{}$X",
    "a braced variable": "${{X}}{}",
    "a backtick": "{}`id`",
    "a backslash": "{}\\",
    "nothing": "",
    "far too much": "{}" + "a" * 1000,
    "a lone surrogate": "{}\ud800",
}


def scalars(node: Any, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """Yield every string of a document with its path, keys among them."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from scalars(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from scalars(value, (*path, index))
    elif isinstance(node, str):
        yield path, node


NAMED = (("axes", "os"), ("axes", "accelerator"), ("frameworks",), ("profiles",))


def replaced(data: Any, path: Path_, value: str) -> Any:
    """Return a copy with another value at `path`."""
    data = copy.deepcopy(data)
    node = data
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return data


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_no_field_takes_a_hostile_value(real_text: str, template: str) -> None:
    """Each string of the real matrix, one at a time, is spoiled and must be refused."""
    data = yaml.safe_load(real_text)
    taken = []
    for path, value in scalars(data):
        try:
            Matrix.model_validate(replaced(data, path, template.format(value)))
        except ValidationError:
            continue
        taken.append(path)
    assert taken == []


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_no_name_takes_a_hostile_value(real_text: str, template: str) -> None:
    """The keys that name things reach tags and folders: they are spoiled likewise."""
    data = yaml.safe_load(real_text)
    taken = []
    for place in NAMED:
        spoiled = copy.deepcopy(data)
        node = spoiled
        for part in place:
            node = node[part]
        name = next(iter(node))
        node[template.format(name)] = node[name]
        try:
            Matrix.model_validate(spoiled)
        except ValidationError:
            continue
        taken.append(place)
    assert taken == []


def test_every_field_refuses_through_the_whole_way(small_text: str) -> None:
    """From text to error: exit code 2, with the place, and without the newline in the message."""
    data = yaml.safe_load(small_text)
    for path, value in scalars(data):
        spoiled = replaced(data, path, f"{value}\n")
        error = refused(yaml.safe_dump(spoiled, sort_keys=False, default_style='"'))
        assert error.where.startswith("matrix.yaml:")
        assert "\n" not in error.what
        assert error.next_step


def test_the_small_matrix_has_every_field_of_the_real_one(small_text: str, real_text: str) -> None:
    """What is tested on the small matrix holds for all of the real one."""

    def fields(node: Any) -> set[str]:
        found: set[str] = set()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            found |= {key} if isinstance(key, str) else set()
            found |= fields(value) if isinstance(value, dict | list) else set()
        return found

    data = yaml.safe_load(real_text)
    named: set[str] = {"cpu", "cuda", "published", "stacks", "cells", *data["stacks"]}
    for variant in (v for framework in data["frameworks"].values() for v in framework["variants"]):
        named |= set(variant["accelerators"])
    named |= set(data["axes"]["os"]) | set(data["axes"]["accelerator"])
    assert set() == fields(data) - fields(yaml.safe_load(small_text)) - named


# --- the schema for editors ------------------------------------------------------------------


def test_the_schema_takes_the_real_matrix_and_refuses_an_unknown_key(real_text: str) -> None:
    """Editors see what the tool sees."""
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
    """`envmatrix schema > docs/matrix.schema.json` brings it up to date."""
    published = (root / "docs" / "matrix.schema.json").read_text(encoding="utf-8")
    assert json_schema() == json.loads(published)
