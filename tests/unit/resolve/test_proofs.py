"""No refusal and no fault of any index is a proof, whatever uv makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_index import (
    Corrupted,
    Empty,
    FakeIndex,
    Fault,
    Hang,
    Portal,
    RedirectLoop,
    Reset,
    Status,
    Truncated,
)

from envmatrix.model.locks import Problem, Resolution
from envmatrix.model.verdicts import Judgement, Verdict
from envmatrix.resolve.pip_settings import DEFAULT_INDEX, PipSettings
from envmatrix.resolve.resolver import Resolver
from envmatrix.store.records import Records


@dataclass
class Trial:
    """Two indexes: one that has everything, and one that has only pip. Settings name them."""

    folder: Path
    full: FakeIndex
    bare: FakeIndex
    told: list[str] = field(default_factory=list)

    def ask(
        self,
        *requires: str,
        place: str = "default",
        python: str = "3.12",
        retries: int = 0,
        settings: PipSettings | None = None,
    ) -> Resolution:
        """Ask a new resolver, with the full index in one of the places of the settings."""
        full, bare = self.full.url, self.bare.url
        made = {
            "default": PipSettings(full),
            "extra": PipSettings(bare, extra_index_urls=(full,)),
            "variant": PipSettings(bare),
            "links": PipSettings(bare, find_links=(full.replace("/simple/", "/links/"),)),
        }[place]
        chosen = settings or PipSettings(
            made.index_url, made.extra_index_urls, made.find_links, timeout=2, retries=retries
        )
        index = full if place == "variant" else None
        problem = Problem(requires, (), index, python, "2.36", "amd64", "2026-11-20")
        resolver = Resolver(Records(self.folder), chosen, self.told.append)
        return resolver.resolve_all([problem], 1, lambda *_: None)[problem.key]

    def judged(self, *requires: str, place: str = "default", python: str = "3.12") -> Judgement:
        """Ask, and return the judgement."""
        judgement = self.ask(*requires, place=place, python=python).judgement
        assert judgement is not None
        return judgement


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """The two indexes, and a uv that keeps nothing and waits for nothing."""
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setattr("envmatrix.resolve.resolver._PAUSE_SECONDS", 0.01)
    with FakeIndex() as full, FakeIndex() as bare:
        full.add("jinja2", "3.1.6", requires=["markupsafe>=2"])
        full.add("markupsafe", "3.0")
        full.add("old", "1.0", tags="cp39-cp39-manylinux_2_17_x86_64")
        full.add("new", "1.0", tags="cp312-cp312-manylinux_2_40_x86_64")
        full.add("clash", "1.0", requires=["markupsafe<2"])
        full.add_source("sources", "1.0")
        full.add("pip", "26.0")
        bare.add("pip", "26.0")
        yield Trial(tmp_path, full, bare)
        assert full.errors == bare.errors == []


FAULTS: tuple[Fault, ...] = (
    *(Status(code) for code in (401, 403, 407, 429, 500, 502, 503, 504)),
    Portal(),
    Empty(),
    RedirectLoop(),
    Reset(),
    Truncated(on="pages"),
    Truncated(on="pages", honest=True),
    Corrupted(on="pages"),
    Corrupted(on="files"),
    Truncated(on="files"),
    Truncated(on="files", honest=True),
    Portal(on="files"),
    Empty(on="files"),
    RedirectLoop(on="files"),
    Status(403, on="files"),
    Status(500, on="files"),
)


@pytest.mark.parametrize("name", ["jinja2", "markupsafe"])
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_no_fault_of_an_index_is_a_proof(trial: Trial, fault: Fault, name: str) -> None:
    """The cell stays unknown, and the class tells whether credentials are missing."""
    trial.full.fail(fault, name=name)
    judgement = trial.judged("jinja2==3.1.6")
    refused = isinstance(fault, Status) and fault.code in (401, 403, 407)
    assert (judgement.verdict, judgement.kind) == (
        Verdict.UNKNOWN,
        "credentials" if refused else "blocked",
    )
    assert judgement.remedy


@pytest.mark.parametrize("place", ["extra", "variant"])
@pytest.mark.parametrize(
    "fault", [Status(401), Status(403), Status(503), Portal(), Empty(), Reset()], ids=str
)
def test_it_does_not_matter_which_index_is_at_fault(trial: Trial, fault: Fault, place: str) -> None:
    """Uv passes over such an index where another one answers. The cause names it."""
    trial.full.fail(fault)
    judgement = trial.judged("jinja2==3.1.6", place=place)
    assert judgement.verdict is Verdict.UNKNOWN
    assert trial.full.url.partition("/simple")[0] in judgement.cause


def test_an_index_that_hangs_is_no_proof(trial: Trial) -> None:
    """Nothing waits longer than the limit of the settings, twice."""
    trial.full.fail(Hang(30.0))
    settings = PipSettings(trial.full.url, timeout=1, retries=0)
    judgement = trial.ask("jinja2==3.1.6", settings=settings).judgement
    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.UNKNOWN, "blocked")


@pytest.mark.parametrize("fault", [Status(401), Status(403), Portal(), Empty()], ids=str)
@pytest.mark.parametrize("name", ["jinja2", "markupsafe"])
def test_a_fault_that_passes_leads_to_the_lock(trial: Trial, fault: Fault, name: str) -> None:
    """The pages that envmatrix sees contradict what uv said, so uv is asked once more."""
    trial.full.fail(fault, name=name, times=1)
    assert trial.ask("jinja2==3.1.6").lock is not None


@pytest.mark.parametrize("fault", [Status(503), Reset(), Truncated(on="files")], ids=str)
def test_what_is_transient_is_tried_again_and_told(trial: Trial, fault: Fault) -> None:
    """The number of tries is that of pip's settings, and bounded."""
    trial.full.fail(fault, name="jinja2", times=4)
    assert trial.ask("jinja2==3.1.6", retries=2).lock is not None
    assert all(said.startswith("jinja2==3.1.6 is asked for again: ") for said in trial.told)


def test_a_refusal_is_told_at_once(trial: Trial) -> None:
    """Nobody waits for a password that nobody can type."""
    trial.full.credentials = ("user", "secret")
    assert trial.judged("jinja2==3.1.6").kind == "credentials"
    assert trial.told == []
    trial.full.requests.clear()
    lock = trial.ask(
        "jinja2==3.1.6", settings=PipSettings(trial.full.url_with_credentials, retries=0)
    ).lock
    assert lock is not None


@pytest.mark.parametrize("place", ["default", "extra", "variant"])
@pytest.mark.parametrize(
    ("requires", "kind"),
    [
        ("jinja2==9.9", "no-such-version"),
        ("absent==1.0", "no-such-package"),
        ("old==1.0", "no-wheel-for-python"),
        ("new==1.0", "glibc-too-old"),
        ("sources==1.0", "no-wheel"),
        ("sources", "no-wheel"),
    ],
)
def test_a_proof_that_every_index_confirms_is_believed(
    trial: Trial, requires: str, kind: str, place: str
) -> None:
    """The cause says by which indexes, and the record under which settings."""
    resolution = trial.ask(requires, place=place)
    judgement = resolution.judgement
    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.IMPOSSIBLE, kind)
    assert f"http://{trial.full.url.split('/')[2]}/" in judgement.cause
    assert "(according to " in judgement.cause
    assert resolution.settings


def test_pins_that_contradict_each_other_are_a_proof(trial: Trial) -> None:
    """Uv says so twice, and the metadata beside the wheels is what is in them."""
    judgement = trial.judged("jinja2==3.1.6", "clash==1.0")
    assert (judgement.verdict, judgement.kind) == (Verdict.IMPOSSIBLE, "conflict")


def test_metadata_that_lies_is_no_proof(trial: Trial) -> None:
    """A dependency that only a damaged metadata file names makes nothing impossible."""
    (wheel,) = trial.full.add("liar", "1.0")
    place = trial.full._files.index(wheel)
    lie = wheel.metadata + b"Requires-Dist: absent\n"
    object.__setattr__(trial.full._files[place], "metadata", lie)
    judgement = trial.judged("liar==1.0")
    assert judgement.verdict is Verdict.UNKNOWN
    assert "the metadata beside liar-1.0-py3-none-any.whl is not the one in it" in judgement.cause


def test_an_index_with_pages_in_html_confirms_too(trial: Trial) -> None:
    """Many private indexes know no JSON. Half of a page of theirs proves nothing."""
    trial.full.json = False
    assert trial.judged("absent==1.0").kind == "no-such-package"
    trial.full.fail(Truncated(on="pages", honest=True), name="pip")
    trial.full.remove("old")
    assert trial.judged("absent==1.0").kind == "blocked"


def test_a_server_that_answers_404_for_everything_is_no_index(trial: Trial) -> None:
    """A wrong path in the settings makes no cell impossible."""
    wrong = trial.full.url.replace("/simple/", "/wrong/")
    judgement = trial.ask("jinja2==3.1.6", settings=PipSettings(wrong, retries=0)).judgement
    assert judgement is not None
    assert judgement.verdict is Verdict.UNKNOWN
    assert "perhaps no package index" in judgement.cause


def test_a_404_for_what_the_root_lists_is_no_proof(trial: Trial) -> None:
    """An index in maintenance may answer so for every name."""
    trial.full.fail(Status(404))
    judgement = trial.judged("jinja2==3.1.6")
    assert judgement.verdict is Verdict.UNKNOWN
    assert "404 for names that its root lists" in judgement.cause


def test_an_index_without_well_known_names_shows_itself_by_its_root(trial: Trial) -> None:
    """A small private index has none of them."""
    trial.full.remove("pip")
    assert trial.judged("absent==1.0").kind == "no-such-package"


def test_the_default_index_is_named_in_words(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user sets none, no address is told."""
    resolver = Resolver(Records(trial.folder), PipSettings(find_links=(), retries=0))
    resolver.indexes.default = lambda: trial.full.url
    assert resolver.indexes.named(None) == DEFAULT_INDEX


def test_what_a_base_needs_says_nothing_of_a_cell(trial: Trial) -> None:
    """A mirror that lacks pip or the installer leaves cells unknown, at the stage base."""
    trial.full.remove("pip")
    problem = Problem(("jinja2", "pip"), (), None, "3.12", "2.36", "amd64", "2026-11-20")
    resolver = Resolver(
        Records(trial.folder),
        PipSettings(trial.full.url, retries=0),
        of_the_base=frozenset({"pip", "uv"}),
    )
    found = resolver.resolve_all([problem], 1, lambda *_: None)[problem.key]
    assert found.judgement is not None
    assert (found.judgement.verdict, found.judgement.stage, found.judgement.kind) == (
        Verdict.UNKNOWN,
        "base",
        "base-package",
    )
    assert "pip is not in the package index" in found.judgement.cause
    assert not found.lasting


def test_one_bad_answer_settles_one_question(trial: Trial) -> None:
    """Other questions to the same index get their answers."""
    trial.full.add("urls", "1.0", requires=["other @ https://x.example/other-1-py3-none-any.whl"])
    trial.full.add("broken", "1.0")
    trial.full.fail(Corrupted(on="files"), name="broken")
    trial.full.fail(Status(503), name="old")
    resolver = Resolver(Records(trial.folder), PipSettings(trial.full.url, retries=0))
    problems = [
        Problem((name,), (), None, "3.12", "2.36", "amd64", "2026-11-20")
        for name in ("urls", "broken", "old", "jinja2")
    ]
    found = resolver.resolve_all(problems, 1, lambda *_: None)
    assert [found[one.key].lock is not None for one in problems] == [False, False, False, True]


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Auckland", "UTC"])
def test_the_zone_of_the_machine_changes_nothing(
    trial: Trial, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last second of the day in UTC counts, and the first of the next does not."""
    trial.full.add("dated", "1.0", upload_time="2026-11-20T23:59:59Z")
    trial.full.add("dated", "2.0", upload_time="2026-11-21T00:00:00Z")
    monkeypatch.setenv("TZ", zone)
    lock = trial.ask("dated").lock
    assert lock is not None
    assert [wheel.version for wheel in lock.wheels] == ["1.0"]


def test_ambient_settings_of_uv_change_nothing(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither variables nor the user's uv.toml reach uv."""
    trial.full.add("jinja2", "3.1.7rc1")
    trial.full.add("jinja2", "2.0")
    config = tmp_path / "config" / "uv" / "uv.toml"
    config.parent.mkdir(parents=True)
    config.write_text('constraint-dependencies = ["jinja2<3"]\n', encoding="utf-8")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("jinja2<1\n", encoding="utf-8")
    for name, value in {
        "XDG_CONFIG_HOME": str(config.parents[1]),
        "UV_CONFIG_FILE": str(config),
        "UV_PRERELEASE": "allow",
        "UV_RESOLUTION": "lowest",
        "UV_CONSTRAINT": str(constraints),
        "UV_OVERRIDE": str(constraints),
        "UV_INDEX": "http://127.0.0.1:9/simple/",
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple/",
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "UV_TORCH_BACKEND": "cpu",
        "UV_OFFLINE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    lock = trial.ask("jinja2").lock
    assert lock is not None
    assert [wheel.version for wheel in lock.wheels] == ["3.1.6", "3.0"]


def test_no_secret_of_the_settings_is_told_or_kept(trial: Trial) -> None:
    """Neither a password nor a bare token stands in a judgement, a record or a message."""
    host = trial.full.url.split("/")[2]
    trial.full.fail(Status(503))
    for user in ("user:SECRET@", "SECRET@"):
        settings = PipSettings(
            f"http://{user}{host}/simple/",
            extra_index_urls=(f"http://{user}{host}/SECRET/simple/",),
            retries=1,
        )
        judgement = trial.ask("jinja2==3.1.6", settings=settings).judgement
        assert judgement is not None
        assert "SECRET" not in f"{judgement}{trial.told}"
    for path in trial.folder.rglob("*.json"):
        assert "SECRET" not in path.read_text(encoding="utf-8")


def test_a_folder_that_is_a_tree_of_pages_confirms(trial: Trial, tmp_path: Path) -> None:
    """An index on this machine's disk is asked as well, and no path is told."""
    page = tmp_path / "index" / "local" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        '<a href="local-1.0-cp39-cp39-any.whl">local-1.0-cp39-cp39-any.whl</a>', "utf-8"
    )
    settings = PipSettings(page.parents[1].as_uri(), retries=0)
    judgement = trial.ask("absent==1.0", settings=settings).judgement
    assert judgement is not None
    assert (judgement.verdict, judgement.kind) == (Verdict.IMPOSSIBLE, "no-such-package")
    assert judgement.cause.endswith("(according to a local folder)")
    page.write_text("<p>nothing</p>", encoding="utf-8")
    judgement = trial.ask("local==1.0", settings=settings).judgement
    assert judgement is not None
    assert judgement.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("fault", [Status(401), Status(403), Portal()], ids=str)
def test_a_lock_that_was_made_without_an_index_is_told(trial: Trial, fault: Fault) -> None:
    """Uv passes over a further index that refuses. The user hears of it once, with its address."""
    trial.bare.fail(fault)
    settings = PipSettings(trial.full.url, extra_index_urls=(trial.bare.url,), timeout=2, retries=0)
    found = trial.ask("jinja2==3.1.6", settings=settings)
    if found.lock:
        (told,) = trial.told
        assert told.startswith("locks are made without an index of yours: ")
        assert trial.bare.url.partition("/simple")[0] in told
    else:
        assert found.judgement is not None
        assert found.judgement.verdict is Verdict.UNKNOWN


def test_a_lock_of_all_indexes_tells_nothing(trial: Trial) -> None:
    """An index that answers, also that it has none, gives no reason to speak."""
    settings = PipSettings(trial.full.url, extra_index_urls=(trial.bare.url,), timeout=2, retries=0)
    assert trial.ask("jinja2==3.1.6", settings=settings).lock
    assert trial.told == []
