"""A file of evidence is read, or refused with one sentence about the file."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import the_evidence

from envmatrix.model.evidence_file import UnreadableEvidenceError, read_evidence
from envmatrix.model.part import DEEPEST

GOOD = the_evidence().to_json()
RESTORE = "run the cell again, or restore the file from git"


def refused(text: str) -> UnreadableEvidenceError:
    """Return the error that a text gives."""
    with pytest.raises(UnreadableEvidenceError) as caught:
        read_evidence(text, "cells/x.json")
    assert caught.value.exit_code == 2
    assert caught.value.where == "cells/x.json"
    assert [caught.value.what] == caught.value.what.splitlines()
    assert len(caught.value.what) < 350
    return caught.value


@pytest.mark.parametrize(
    ("schema", "said", "next_step"),
    [
        ({"schema": 1}, "is of schema 1, and this envmatrix reads schema 2", "run the cell again"),
        ({"schema": 3}, "is of schema 3, and this envmatrix reads schema 2", "update envmatrix"),
        ({"schema": "2"}, "is of schema '2'", "run the cell again"),
        ({"schema": None}, "is of schema None", "run the cell again"),
        ({"schema": "x" * 5000}, "is of schema 'xxx", "run the cell again"),
        ({}, "is without a schema, and this envmatrix reads schema 2", "run the cell again"),
    ],
)
def test_evidence_of_another_schema_is_named(
    schema: dict[str, object], said: str, next_step: str
) -> None:
    """The error tells both schemas, and only a newer file asks for a newer envmatrix."""
    data = {name: value for name, value in GOOD.items() if name != "schema"} | schema
    error = refused(json.dumps(data))
    assert said in error.what
    assert next_step == error.next_step


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ('{"schema": 2', "it is not JSON"),
        ("<<<<<<< HEAD\n{}", "it is not JSON"),
        ('{"schema": 2, "size": ' + "9" * 5000 + "}", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 50_000, "it is nested too deeply"),
        ('{"schema": 2, "a": ' + "[" * DEEPEST + "]" * DEEPEST + "}", "it is nested too deeply"),
        ('{"schema": 2, "a": NaN}', "it holds a number that is not finite"),
        ('{"schema": 2, "a": "\\ud800"}', "it holds a text that is not Unicode"),
    ],
    ids=lambda value: f"{value:.20}",
)
def test_damage_is_named(text: str, why: str) -> None:
    """A damaged file gives an error that says what is wrong with the file, and the remedy."""
    error = refused(text)
    assert error.what == f"this evidence file is damaged: {why}"
    assert error.next_step == RESTORE


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"extra": 1}, "it has the unknown field extra"),
        ({"image": {"name": "a", "layers": [], "size": 1, "id": 2}}, "the unknown field image.id"),
        (
            {"image": {"name": "a", "layers": ["b", "c"], "contents": ["d"], "size": 1}},
            "the field image holds what",
        ),
        ({"axes": {"os": "debian12"}}, "it lacks the field axes.python"),
        (
            {"verdict": "great"},
            "the field verdict holds what `envmatrix schema evidence` does not allow",
        ),
        ({"generated_at": "soon"}, "the field generated_at holds what"),
        ({"probes": [1]}, "the field probes.0 holds what"),
    ],
)
def test_a_field_that_does_not_fit_is_named(change: dict[str, Any], why: str) -> None:
    """An unknown field, a missing field, and a field with a wrong value are each named."""
    error = refused(json.dumps(GOOD | change))
    assert why in error.what
    assert error.next_step == RESTORE


@given(st.text())
def test_any_text_is_read_or_refused_with_one_kind_of_error(text: str) -> None:
    """A text that is no evidence gives an UnreadableEvidenceError, and nothing else."""
    refused(text)


@given(st.data())
def test_evidence_with_any_field_spoiled_is_refused_or_read(data: st.DataObject) -> None:
    """Whatever stands in a field, reading gives evidence or an UnreadableEvidenceError."""
    values: st.SearchStrategy[object] = (
        st.none() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({})
    )
    spoiled = GOOD | {data.draw(st.sampled_from(sorted(GOOD))): data.draw(values)}
    try:
        found = read_evidence(json.dumps(spoiled), "x.json")
    except UnreadableEvidenceError:
        return
    assert found == read_evidence(json.dumps(found.to_json()), "x.json")


def test_evidence_that_is_expected_is_run_again_by_its_id() -> None:
    """Where the file says of which cell it is, the remedy is the command for that cell."""
    for text in ("[]", '{"schema": 1}'):
        with pytest.raises(UnreadableEvidenceError) as caught:
            read_evidence(text, "cells/x.json", "x")
        assert caught.value.next_step.startswith("run the cell again: `envmatrix run x`")
