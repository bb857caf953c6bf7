"""YAML text becomes plain data that knows its places, or one error."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envmatrix.model import yamldoc
from envmatrix.model.errors import InputError
from envmatrix.model.yamldoc import MAX_BYTES, parse

# Pieces that YAML gives a meaning; joined at random they reach far more of the parser than
# random letters do.
PIECES = (
    *("a: ", "b", "- ", "? ", ": ", "\n", "  ", "\t", "[", "]", "{", "}", ",", "|", "|9\n", ">-"),
    *("'", '"', "#", "---\n", "...", "%YAML 9.9\n", "%TAG ! x\n", "<<: ", "&x ", "*x", "~", "-"),
    *("!!int ", "!!float ", "!!bool ", "!!null ", "!!timestamp ", "!!binary ", "!!set ", "!!omap "),
    *("!!pairs ", "!!str ", "!!map ", "!!seq ", "! ", "!<x> ", "!%zz ", "!!python/name:os.system "),
    *("2026-13-45", "2026-01-01 99:99:99", "12:30:45", "1e999", ".inf", "0x_", "0b_", "1_", "+1"),
    *("\\x", "\\uD800", "\\U00110000", "\x00", "\x85", "\u2028", "\ud800", "\ufeff", "\x1b", "é"),
    *("schema: 1\n", "profiles: ", "9" * 5000),
)
yamlish = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=14).map("".join)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with libyaml, and as a PyYAML that was built without it."""
    monkeypatch.setattr(yamldoc, "_QUICK", getattr(yaml, request.param))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | yamlish)
def test_any_text_is_read_or_refused_with_one_kind_of_error(text: str) -> None:
    """Any text is read, or gives an InputError."""
    with suppress(InputError):
        parse(text, "matrix.yaml")


def test_each_value_knows_its_line_column_and_raw_text() -> None:
    """Positions count from 1, and the text 3.10 is kept as it was written."""
    document = parse("a:\n  b: [x, 3.10]\n", "f.yaml")
    assert document.data == {"a": {"b": ["x", 3.1]}}
    assert document.where(("a", "b", 1)) == "f.yaml:2:10 (a.b.1)"
    assert document.spot(("a", "b", 1)).raw == "3.10"


def test_the_place_of_what_is_missing_is_that_of_its_parent() -> None:
    """The place of a missing key is the place of the mapping that lacks it."""
    assert parse("a:\n  b: 1\n", "f.yaml").where(("a", "c")) == "f.yaml:2:3 (a.c)"


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", '"a" stands twice, first on line 1', "f:3:1 (a)"),
        ("x:\n  - {a: 1, a: 2}\n", '"a" stands twice, first on line 2', "f:2:12 (x.0.a)"),
        ("a: &x 1\nb: *x\n", "aliases (*name) are not accepted", "f:2:4"),
        ("a: !!python/object/apply:os.system [id]\n", "python/object/apply:os.system", "f:1:4 (a)"),
        ("a: !mine 1\n", "!mine", "f:1:4"),
        ("a: {<<: {b: 1}}\n", "a key must be text, found <<", "f:1:5"),
        ("3.10: x\n", "a key must be text, found 3.10", "f:1:1"),
        ("[a]: x\n", "a key must be text, found a list or mapping", "f:1:1"),
        ('"a\\e[2J": x\n', "a key must be printable, found 'a\\x1b[2J'", "f:1:1"),
        ("a: 2026-13-45\n", "'2026-13-45' cannot be read as timestamp", "f:1:4 (a)"),
        ('a: "\\U00110000"\n', "not valid YAML", "f"),
        (f"%YAML {'9' * 5000}.1\n---\na: 1\n", "not valid YAML", "f"),
        ("a: !!int x\n", "'x' cannot be read as int", "f:1:4 (a)"),
        ("a: [1, 2\nb: 3\n", "not valid YAML: expected ',' or ']'", "f:2:2"),
        ("a: 1\n\tb: 2\n", "not valid YAML", "f:2:1"),
        ("a: 1\n---\nb: 2\n", "another document", "f:2:1"),
        ("", "empty", "f"),
        ("# only a comment\n", "empty", "f"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str, said: str, where: str) -> None:
    """Each error says what was found, where it stands, and what to do next."""
    with pytest.raises(InputError) as caught:
        parse(text, "f")
    assert said in caught.value.what
    assert where == caught.value.where
    assert caught.value.next_step


@pytest.mark.parametrize("mark", ["\x00", "\x07", "\x1b", "\x7f", "\ufffe", "\ud800"])
def test_control_characters_are_refused(mark: str) -> None:
    """A control character is refused, though it is quoted."""
    with pytest.raises(InputError, match="not valid YAML") as caught:
        parse(f'a: "x{mark}y"', "f")
    assert "remove control characters" in caught.value.next_step


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "a: ["])
def test_deep_nesting_is_refused(opening: str) -> None:
    """Deep nesting gives an error, and does not exhaust the stack."""
    with pytest.raises(InputError, match=r"nested too deeply|not valid YAML"):
        parse(opening * 20_000, "f")


def test_a_huge_file_is_refused_unread() -> None:
    """A file that is larger than any matrix is refused before it is parsed."""
    with pytest.raises(InputError, match=f"is larger than {MAX_BYTES}"):
        parse("- a\n" * MAX_BYTES, "f")


def test_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    """Windows line ends and a byte order mark do not change what is read."""
    assert parse("\ufeffa: 1\r\nb: 2\r\n", "f").data == {"a": 1, "b": 2}
