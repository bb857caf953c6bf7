"""Verdicts and judgements."""

from envmatrix.model.errors import InputError
from envmatrix.model.verdicts import NOT_ATTEMPTED, Judgement, Verdict, excluded_by_rule


def test_a_judgement_survives_its_json() -> None:
    """A judgement is read back from its JSON as it was."""
    judgement = Judgement(Verdict.BROKEN, "probe", "crash", "ended by SIGSEGV", "read the log")
    assert judgement == Judgement.from_json(judgement.to_json())


def test_a_judgement_from_before_remedies_were_kept_is_read() -> None:
    """A judgement without a remedy is read with an empty one."""
    data = Judgement(Verdict.BROKEN, "probe", "crash", "ended by SIGSEGV", "read").to_json()
    del data["remedy"]
    assert Judgement.from_json(data).remedy == ""


def test_a_rule_that_excludes_gives_its_reason() -> None:
    """A cell that a rule excludes is impossible, and the cause is the reason of the rule."""
    found = excluded_by_rule("nobody asked for it")
    assert found == Judgement(Verdict.IMPOSSIBLE, "rule", "rule", "nobody asked for it")


def test_an_error_says_what_happened_where_and_what_to_do() -> None:
    """The text of an error has a line for each of what, where and next, and none for an empty."""
    error = InputError("it is wrong", where="f:1", next_step="mend it")
    assert str(error) == "it is wrong\n  where: f:1\n  next:  mend it"
    assert str(InputError("it is wrong")) == "it is wrong"


def test_a_remedy_names_the_cell_in_its_commands() -> None:
    """The word CELL of a command becomes the id, and other words stay."""
    judgement = Judgement(Verdict.UNKNOWN, "plan", remedy="a CELL: `envmatrix run CELL`")
    assert judgement.about("x-1").remedy == "a CELL: `envmatrix run x-1`"
    assert NOT_ATTEMPTED.about("x-1").remedy == "`envmatrix run x-1`"
    plain = Judgement(Verdict.UNKNOWN, "plan", remedy="wait")
    assert plain.about("x-1") is plain
