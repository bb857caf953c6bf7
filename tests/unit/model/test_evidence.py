"""Evidence: a typed record that survives JSON, with a published schema."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import INPUTS, the_evidence

from envmatrix.model.cells import declared, expand
from envmatrix.model.evidence import (
    Axes,
    BaseImage,
    CellImage,
    Declared,
    Difference,
    Evidence,
    Inputs,
    LockedWheels,
    Machine,
    Reproducibility,
    Reproducible,
    Seconds,
    Serves,
    json_schema,
)
from envmatrix.model.evidence_file import read_evidence
from envmatrix.model.matrix import Matrix
from envmatrix.model.part import DEEPEST, LARGEST, LONGEST
from envmatrix.model.probe_results import (
    NOTHING_OBSERVED,
    Observed,
    Outcome,
    ProbeResult,
    SharedRun,
    Way,
    import_observations,
)
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.report.document import Report

ROOT = Path(__file__).parents[3]
COMMITTED = sorted((ROOT / "reports" / "cells").glob("*.json"))
EVIDENCE = jsonschema.Draft202012Validator(json_schema())

# --- any evidence ----------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
handles = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,5}", fullmatch=True)
sizes = st.integers(0, LARGEST)
numbers = st.floats(allow_nan=False, allow_infinity=False)
spans = st.floats(0, LONGEST)
seconds = st.none() | spans
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
NAMES = set(Observed.model_fields)
observed = st.builds(
    lambda known, own: Observed.model_validate(own | known),
    st.fixed_dictionaries(
        {},
        optional={
            "version": words | st.none(),
            "python": st.just(3.1),
            "architectures": st.lists(words, max_size=2),
            "losses": st.lists(numbers, max_size=2),
        },
    ),
    st.dictionaries(words.filter(lambda name: name not in NAMES), plain, max_size=3),
)


def all_words(form: type[Any], of: st.SearchStrategy[str] = words) -> st.SearchStrategy[Any]:
    """Return a strategy for a part of evidence that holds nothing but text."""
    return st.builds(form, **dict.fromkeys(form.model_fields, of))


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy for a few values."""
    return st.lists(of, max_size=2).map(tuple)


hashes = st.dictionaries(words, words, max_size=2)
probes = st.builds(
    ProbeResult,
    probe=words,
    required=st.booleans(),
    outcome=st.sampled_from(Outcome),
    kind=words,
    cause=words,
    seconds=spans,
    exit_code=st.none() | st.integers(),
    observed=observed,
    log_tail=words,
)
evidence = st.builds(
    Evidence,
    generated_at=st.datetimes(timezones=st.just(UTC)),
    tool=words,
    host=all_words(Machine),
    kind=st.sampled_from(["container", "host"]),
    id=handles,
    axes=all_words(Axes, handles),
    verdict=st.sampled_from(Verdict),
    stage=words,
    class_=words,
    cause=words,
    remedy=words,
    declared=st.none() | all_words(Declared),
    observed=observed,
    serves=st.none() | st.builds(Serves, driver=st.none() | words, generations=tuples(words)),
    lock=st.none() | st.builds(LockedWheels, sha256=words, wheels=hashes),
    base=st.none()
    | st.builds(BaseImage, id=handles, origin=st.none() | words, digest=st.none() | words),
    inputs=st.none()
    | st.builds(
        Inputs,
        lock=words,
        dockerfile=words,
        settings=words,
        base=words,
        declared=words,
        probes=hashes,
    ),
    image=st.none()
    | st.builds(CellImage, name=words, layers=tuples(handles), size=sizes)
    | st.builds(
        lambda layers, name, size: CellImage(name=name, layers=layers, contents=layers, size=size),
        tuples(handles),
        words,
        sizes,
    ),
    reproducibility=st.builds(
        Reproducibility,
        status=st.sampled_from(Reproducible),
        verified_at=st.none() | st.dates(),
        differences=tuples(all_words(Difference)),
        notes=tuples(words),
    ),
    seconds=st.builds(Seconds, base=seconds, build=seconds, probe=seconds),
    probes=tuples(probes),
    log=st.none() | words,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(evidence)
def test_evidence_survives_its_json(found: Evidence) -> None:
    """Any evidence is read back from its JSON as it was, and its JSON fits the schema."""
    data = found.to_json()
    assert found == read_evidence(json.dumps(data), "x.json")
    assert data == read_evidence(json.dumps(data), "x.json").to_json()
    assert [error.message for error in EVIDENCE.iter_errors(data)] == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_evidence_is_current_and_whole(path: Path) -> None:
    """Each committed file fits the schema, and is the same after it was read and written."""
    data = json.loads(path.read_text(encoding="utf-8"))
    assert [error.message for error in EVIDENCE.iter_errors(data)] == []
    assert data == read_evidence(path.read_text(encoding="utf-8"), path.name).to_json()
    assert data["id"] == path.stem


def test_the_committed_report_fits_its_schema_and_the_evidence_beside_it() -> None:
    """reports/report.json fits the schema of reports, and its cells are the committed files."""
    assert COMMITTED
    data = json.loads((ROOT / "reports" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, Report.model_json_schema(), format_checker=jsonschema.FormatChecker())
    for cell in data["cells"]:
        assert [error.message for error in EVIDENCE.iter_errors(cell)] == []
        path = ROOT / "reports" / "cells" / f"{cell['id']}.json"
        assert json.loads(path.read_text(encoding="utf-8")) == cell
    assert {cell["id"] for cell in data["cells"]} == {path.stem for path in COMMITTED}


# --- the schema ------------------------------------------------------------------------------


def described(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every property of a JSON Schema, with the path to it."""
    if isinstance(node, dict):
        for name, below in node.get("properties", {}).items():
            yield f"{path}.{name}", below
        for name, below in node.items():
            yield from described(below, f"{path}.{name}")
    elif isinstance(node, list):
        for below in node:
            yield from described(below, path)


@pytest.mark.parametrize("schema", [json_schema(), Report.model_json_schema()])
def test_every_property_of_the_schema_is_described(schema: dict[str, Any]) -> None:
    """Each property of each part has a sentence that describes it."""
    jsonschema.Draft202012Validator.check_schema(schema)
    found = dict(described(schema))
    assert {path for path, one in found.items() if not one.get("description", "").strip()} == set()
    # What a probe observed, too: a serialiser of our own once hid its properties.
    assert {f".$defs.Observed.{name}" for name in NAMES} <= set(found)


def test_the_published_schema_is_the_one_in_force() -> None:
    """docs/evidence.schema.json is to the letter what `envmatrix schema evidence` prints."""
    published = (ROOT / "docs" / "evidence.schema.json").read_text(encoding="utf-8")
    assert published == json.dumps(json_schema(), indent=2) + "\n"


@pytest.mark.parametrize("wrong", [{"schema": 1}, {"verdict": "great"}, {"extra": 1}, {"axes": {}}])
def test_the_schema_refuses_what_is_no_evidence(wrong: dict[str, Any]) -> None:
    """The JSON Schema refuses another version, another verdict, and an unknown field."""
    assert not EVIDENCE.is_valid(the_evidence().to_json() | wrong)


# --- its parts -------------------------------------------------------------------------------


def test_evidence_cannot_be_changed() -> None:
    """Assigning to a field of evidence is an error."""
    found = the_evidence()
    with pytest.raises(ValidationError, match="frozen"):
        found.verdict = Verdict.BROKEN  # type: ignore[misc]


def test_evidence_gives_its_judgement_and_its_layers() -> None:
    """The judgement of evidence has the verdict, stage, class, cause and remedy that it holds."""
    found = the_evidence(
        Verdict.BROKEN, class_="crash", cause="SIGSEGV", remedy="read the log", image=None
    )
    assert found.judgement == Judgement(Verdict.BROKEN, "probe", "crash", "SIGSEGV", "read the log")
    assert found.layers == ()
    assert the_evidence().layers == ("sha256:os", "sha256:cell")


def test_evidence_takes_what_a_rebuild_gave() -> None:
    """Nothing but the reproducibility differs in the evidence that takes another one."""
    proven = Reproducibility(status=Reproducible.PROVEN)
    found = the_evidence().with_reproducibility(proven)
    assert found.reproducibility == proven
    assert found.with_reproducibility(Reproducibility()) == the_evidence()


@pytest.mark.parametrize(
    ("change", "words_"),
    [
        ({}, []),
        ({"lock": "new"}, ["lock"]),
        ({"dockerfile": "new"}, ["Dockerfile"]),
        ({"settings": "new"}, ["image settings"]),
        ({"base": "new"}, ["base"]),
        ({"declared": "new"}, ["declared axes"]),
        ({"probes": {"torch-import": "new"}}, ["probe torch-import"]),
        ({"probes": {}}, ["probe torch-import"]),
        (
            {"probes": {"torch-import": "6", "torch-sum": "1"}, "base": "new", "lock": "new"},
            ["lock", "base", "probe torch-sum"],
        ),
    ],
)
def test_changed_inputs_are_named(change: dict[str, Any], words_: list[str]) -> None:
    """Each input that differs is named in words, and no other is."""
    now = INPUTS.model_copy(update=change)
    assert INPUTS.changed(now) == words_
    assert now.changed(INPUTS) == words_


def test_every_input_can_be_named() -> None:
    """No input can change without a word for it."""
    for name in set(Inputs.model_fields) - {"probes", "runner"}:
        assert len(INPUTS.changed(INPUTS.model_copy(update={name: "new"}))) == 1


@pytest.mark.parametrize(
    ("then", "now", "words_"),
    [
        ("", "a", []),
        ("a", "a", []),
        ("a", "b", ["the runner of probes"]),
        ("a", "", ["the runner of probes"]),
    ],
)
def test_the_runner_is_an_input_of_what_ran_in_it(then: str, now: str, words_: list[str]) -> None:
    """Evidence of probes that each ran alone names no runner, and no new one makes it stale."""
    before, after = (INPUTS.model_copy(update={"runner": one}) for one in (then, now))
    assert before.changed(after) == words_


@pytest.mark.parametrize(
    ("earlier", "flaky"), [(None, False), (Outcome.FAILED, False), (Outcome.TIMED_OUT, True)]
)
def test_a_probe_that_ended_in_two_ways_is_flaky(earlier: Outcome | None, flaky: bool) -> None:
    """One that ended in the same way beside others and alone is not."""
    shared = SharedRun(outcome=earlier) if earlier else None
    result = ProbeResult(probe="p", required=True, outcome=Outcome.FAILED, shared=shared)
    assert result.flaky is flaky
    assert ProbeResult.model_validate(result.to_json()) == result


def test_a_result_of_before_ran_alone() -> None:
    """Evidence that says nothing of it was made when each probe had a container of its own."""
    result = ProbeResult.model_validate({"probe": "p", "required": True, "outcome": "passed"})
    assert (result.ran, result.shared, result.passed) == (Way.ALONE, None, True)


def test_an_observation_keeps_only_what_was_said() -> None:
    """The JSON of an observation holds the facts that the probe told, with its own among them."""
    said = {"version": "2.10.0", "python": None, "mine": {"a": [1, None]}, "items": 1}
    found = Observed.model_validate(said)
    assert found.to_json() == said
    assert dict(found.items()) == said
    assert NOTHING_OBSERVED.to_json() == {}


def test_what_is_declared_is_told_by_name(small: Matrix) -> None:
    """What a cell declares is told under the names by which probes observe it."""
    told = dict(declared(small, expand(small)[0]).items())
    assert told["codename"] == "bullseye"
    assert set(told) < NAMES


def test_an_axis_is_observed_as_text() -> None:
    """A number that a probe tells for an axis is kept as text, as the axis is declared."""
    assert Observed.model_validate({"python": 3.1}).python == "3.1"


def nested(depth: int) -> Any:
    """Return lists in lists."""
    return 1 if depth == 0 else [nested(depth - 1)]


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        ({"losses": [float("nan")]}, "not finite"),
        ({"mine": {"a": float("inf")}}, "not finite"),
        ({"mine": "\ud800"}, "not Unicode"),
        ({"\ud800": 1}, "not Unicode"),
        ({"version": "\udfff"}, "not Unicode"),
        ({"mine": nested(DEEPEST)}, "nested too deeply"),
        ({"losses": ["much"]}, "losses"),
    ],
)
def test_an_observation_that_no_file_keeps_is_refused(fact: dict[str, Any], why: str) -> None:
    """A fact that JSON cannot hold, or that is nested too deeply, is no observation."""
    with pytest.raises(ValidationError, match=why):
        Observed.model_validate(fact)


def test_a_fact_may_be_nested_as_deep_as_a_file_keeps() -> None:
    """The deepest fact that an observation takes survives JSON."""
    deepest = Observed.model_validate({"mine": nested(DEEPEST - 1)})
    probe = ProbeResult(probe="p", required=True, outcome=Outcome.PASSED, observed=deepest)
    assert json.loads(json.dumps(probe.to_json()))["observed"] == deepest.to_json()


@pytest.mark.parametrize("outcome", Outcome)
def test_a_probe_failed_unless_it_passed_or_was_not_run(outcome: Outcome) -> None:
    """Every outcome but passed and not run is a failure."""
    result = ProbeResult(probe="torch-sum", required=True, outcome=outcome)
    assert result.failed == (outcome not in (Outcome.PASSED, Outcome.NOT_RUN))


def test_what_a_cell_is_comes_from_the_probe_that_imports_the_framework() -> None:
    """The observations of the first import probe that told any are those of the cell."""

    def probe(name: str, **facts: str) -> ProbeResult:
        return ProbeResult(
            probe=name, required=True, outcome=Outcome.PASSED, observed=Observed(**facts)
        )

    imported = probe("torch-import", version="2.10.0")
    assert import_observations([]) == NOTHING_OBSERVED
    assert import_observations([probe("torch-sum", version="9")]) == NOTHING_OBSERVED
    results = [probe("torch-sum", version="9"), probe("other-import"), imported]
    assert import_observations(results) == imported.observed


def test_the_digests_of_contents_stand_beside_the_layers() -> None:
    """There is one for each layer, or none; evidence without an image takes none."""
    found = the_evidence()
    assert found.contents == ()
    known = found.with_contents(["one", "two"])
    assert known.contents == ("one", "two")
    assert known == known.with_contents([])
    assert the_evidence(image=None) == the_evidence(image=None).with_contents(["one"])
    with pytest.raises(ValidationError, match="one digest of its content for each layer"):
        CellImage(name="x", layers=("a", "b"), contents=("one",), size=1)
