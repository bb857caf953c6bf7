"""Claims: reading their file, and what is refused of it."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from envmatrix.model.claims import NO_CLAIMS, json_schema, load, read_claims
from envmatrix.model.errors import InputError
from envmatrix.model.matrix import Matrix

TEXT = """\
schema: 1
sources:
  the-table: {title: The table, url: "https://example.org/t#one", read: "2026-11-22"}
claims:
  - {source: the-table, framework: torch, versions: [">=2.9,<2.11", "2.13.*"], pythons: ["3.10"]}
  - {source: the-table, framework: torch, versions: "2.9.1", partial: true, cuda: ["13.0"]}
"""


def test_claims_are_read() -> None:
    """A claim knows its releases: by specifier, by glob, or by name."""
    first, second = load(TEXT, "claims.yaml").claims
    assert first.is_about("torch", "2.10.0")
    assert first.is_about("torch", "2.13.1")
    assert not first.is_about("torch", "2.11.0")
    assert not first.is_about("tensorflow", "2.10.0")
    assert second.is_about("torch", "2.9.1")
    assert (first.partial, second.partial) == (None, True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("claims:", "claim:", ('unknown key "claim"', "5:3 (claim)", "claims")),
        ("pythons:", "python:", ('unknown key "python"', "(claims.0.python)", "pythons")),
        ("the-table, framework: torch, versions: [", "the-tabel, framework: torch, versions: [",
         ('no source "the-tabel"', "5:14 (claims.0.source)", "the-table")),
        ("sources:\n  the-table: ", "sources: {}\nmore: ", ('unknown key "more"', "(more)", "")),
        (', pythons: ["3.10"]', "", ("declares nothing", "5:5 (claims.0)", "glibc, cuda or cudnn")),
        ('["3.10"]', "[3.10]", ("is read as the number 3.1", "(claims.0.pythons.0)", '"3.10"')),
        ('"2026-11-22"', '"2026-11-32"', ("not a day", "(sources.the-table.read)", "YYYY")),
        ("https://example", "file:", ("is not allowed", "(sources.the-table.url)", "https://")),
        ("/t#one", "/t)", ("is not allowed", "(sources.the-table.url)", "")),
        ("partial: true", "partial: false", ("False is not allowed", "(claims.1.partial)", "true")),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_remedy(
    old: str, new: str, said: tuple[str, str, str]
) -> None:
    """Each mistake gives an error that says what is wrong, where, and what to do."""
    assert TEXT.count(old) == 1
    with pytest.raises(InputError) as caught:
        load(TEXT.replace(old, new), "claims.yaml")
    what, where, next_step = said
    assert what in caught.value.what
    assert where in caught.value.where
    assert next_step in caught.value.next_step


def test_a_claim_without_any_source_is_refused() -> None:
    """Where there are no sources, the error says to add one."""
    text = 'schema: 1\nclaims: [{source: x, framework: torch, versions: "2.9.1", glibc: "2.17"}]\n'
    with pytest.raises(InputError, match='no source "x"') as caught:
        load(text, "claims.yaml")
    assert caught.value.next_step == "add it under `sources`"


def test_without_a_file_nothing_is_claimed(tmp_path: Path) -> None:
    """Most projects have no such file."""
    assert read_claims(tmp_path / "claims.yaml") == NO_CLAIMS


def test_the_claims_of_the_project_are_about_its_releases(root: Path, real: Matrix) -> None:
    """Each claim names a framework of the matrix, and at least one of its releases."""
    claims = read_claims(root / "claims.yaml").claims
    assert claims
    assert [
        claim
        for claim in claims
        if not any(
            claim.is_about(claim.framework, version)
            for version in real.frameworks[claim.framework].versions
        )
    ] == []


def test_the_schema_takes_what_is_taken(root: Path) -> None:
    """The JSON Schema takes the project's claims, and the committed copy is what is in force."""
    data = yaml.safe_load((root / "claims.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(data, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data | {"extra": 1}, json_schema())
    published = (root / "docs" / "claims.schema.json").read_text(encoding="utf-8")
    assert published == json.dumps(json_schema(), indent=2) + "\n"
