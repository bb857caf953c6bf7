"""Untrusted text: nothing acts upon what is kept of it, and ordinary Unicode is kept."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envmatrix.model.text import LINE_LIMIT, NAME_LIMIT, UNSEEN, inert, inert_data, json_line, line
from envmatrix.model.text import name as name_of

ACTS = re.compile(f"[{UNSEEN}]")
TEXTS = st.text() | st.text(st.sampled_from("\x1b\x9b[]0;31m\x07\x9c\\\r\n\u202e\u2028a:/@?="))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2K\x1b[1A\rmoved", " moved"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;https://evil\x07click\x1b]8;;\x07", "click"),
        ("\x1b]0;title\x1b\\text", "text"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1bPdevice\x1b\\text", "text"),
        ("\x1b]0;no end", "0;no end"),
        ("\x1bctext\x1b(B", "text"),
        ("\x1b\x1b[31m[31mx", "[31mx"),
        ("a\x00b\x08c\x7fd\x85e", "abcd e"),
        ("a\u202eb\u2066c\u200fd\u061ce", "abcde"),
        ("a\u2028b\u2029c\x0bd\x0ce", "a b c d e"),
        ("a\r\nb\rc\nd\te", "a b c d    e"),
        ("a\ud800b\udfffc", "abc"),
        ("a\ufeffb\u200bc\U000e0041d", "abcd"),
        ("a\U0001bca0b\U0001d173c", "abc"),
        ("e" + "\u0301" * 50, "e" + "\u0301" * 4),
    ],
)
def test_what_a_terminal_acts_upon_is_taken_out(text: str, kept: str) -> None:
    """Escapes, controls, turns of direction, breaks and halves of characters are taken out."""
    assert kept == line(text)


@pytest.mark.parametrize(
    "text",
    [
        "plain text [red]markup[/] :100: <b>",
        "größer, naïve, 日本語, Ελληνικά, עברית, العربية",
        "می\u200cخواهم",  # noqa: RUF001
        "👩\u200d👩\u200d👧 🏳️\u200d🌈 ✓ ✗",
        unicodedata.normalize("NFD", "Việt Nam"),
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """Text of any language, markup and emoji stay as they are."""
    assert text == line(text)


def test_lines_stay_lines() -> None:
    """A text of lines keeps its lines and its tabs, whatever ends a line in it."""
    assert inert("a\tb\r\nc\x1b[1md\re\u2028f") == "a\tb\ncd\ne\nf"


def test_a_long_line_loses_its_end() -> None:
    """A line has at most so many characters, and shows that it was cut."""
    assert line("x" * 10**6) == "x" * (LINE_LIMIT - 4) + " ..."
    assert line("abcdefgh", 6) == "ab ..."
    assert line("abcdef", 6) == "abcdef"


@given(TEXTS)
def test_whatever_a_text_holds_nothing_acts_upon_the_rest(text: str) -> None:
    """A line is one line without any such character, and cleaning it again changes nothing."""
    once = line(text)
    assert ACTS.search(once) is None
    assert [once] == (once.splitlines() or [""])
    assert once == line(once)
    assert inert(text) == inert(inert(text))


# --- credentials -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("http://me:word@host/simple", "http://***@host/simple"),
        ("http://TOKEN@host:80/simple", "http://***@host:80/simple"),
        ("http://me@host", "http://***@host"),
        ("http://me:p@ss@host/x", "http://***@host/x"),
        ("http://me:pa/ss#w@host/x", "http://***@host/x"),
        ("`https://a:b@h/` and https://c@h", "`https://***@h/` and https://***@h"),
        ("proxy me:word@host:3128 failed", "proxy ***@host:3128 failed"),
        ("https://h/dl/abcdefgh12345678xyz/simple/", "https://h/dl/***/simple/"),
        ("https://h/a.whl?X-Signature=12#sha256=34", "https://h/a.whl?***#sha256=34"),
        ("https://h?token=1 end", "https://h?*** end"),
        ("Authorization: Basic bWU6d29yZDE=", "Authorization: Basic ***"),
        ("Bearer abcd1234efgh", "Bearer ***"),
        ("PIP_TOKEN=abcd1234efgh", "PIP_TOKEN=***"),
        ('{"password": "abcd1234"}', '{"password": "***"}'),
    ],
)
def test_credentials_are_hidden(text: str, kept: str) -> None:
    """Users, passwords, tokens, queries, and parts of paths that look like tokens are hidden."""
    assert kept == line(text)
    assert kept == line(kept)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/a/b@c",
        "host:5000/os/debian:12@sha256:0123456789abcdef",
        "https://wheels.example/whl/cu130/torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "git@host:project/it.git, someone@example.org",
        "https://h/x? and more",
        "unexpected token: expected an identifier",
        "undefined symbol: foo@GLIBC_2.38",
        "://",
    ],
)
def test_what_holds_no_credentials_stays(text: str) -> None:
    """Ports, digests of images, names of wheels, addresses of mail and error messages stay."""
    assert text == line(text)


# --- names, data, JSON -----------------------------------------------------------------------


@given(st.text())
def test_a_name_is_no_path(text: str) -> None:
    """A name of untrusted text is a short word without any part of a path, and never empty."""
    word = name_of(text)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", word)
    assert len(word) <= NAME_LIMIT + 1


def test_a_good_name_stays() -> None:
    """A version or an axis is its own name, and a path becomes a word."""
    assert name_of("2.13.0+cu130") == "2.13.0+cu130"
    assert name_of("../../etc/passwd") == "x.._.._etc_passwd"


def test_data_is_cleaned_at_every_depth_but_too_deep() -> None:
    """Texts and keys of data are inert. What is deeper is left to be refused."""
    assert inert_data({"\x07a": ["\x07b", ("\x07c",)]}, 3) == {"a": ["b", ["c"]]}
    assert inert_data([["\x07"]], 1) == [["\x07"]]
    assert inert_data({"a": ["x" * 9, 1, None]}, 3, 6) == {"a": ["xx ...", 1, None]}


@given(st.recursive(st.text(), st.lists))
def test_json_holds_the_same_data_and_nothing_unseen(data: object) -> None:
    """JSON writes what is not seen as numbers, so it stays valid and tells the same data."""
    text = json_line(json.dumps(data, ensure_ascii=False))
    assert ACTS.search(text) is None
    assert json.loads(text) == data


def test_json_of_half_a_character_can_be_written() -> None:
    """Half of a character becomes its number, and a character beyond 16 bits becomes two."""
    assert json_line('"\ud800 \U000e0041 ä"\n') == '"\\ud800 \\udb40\\udc41 ä"\n'


@pytest.mark.parametrize(
    "piece",
    ["://x:", "a:b", "token=", "\x1b]", "\x1b[0", "/a1", "a:b@", "basic ", "\x90a", "e\u0301", "?"],
)
def test_a_megabyte_is_cleaned_in_one_pass(piece: str) -> None:
    """No text takes more than linear time; one that would take a square of it never ends here."""
    assert ACTS.search(inert(piece * (10**6 // len(piece)))) is None
