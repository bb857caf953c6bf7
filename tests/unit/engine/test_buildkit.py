"""What BuildKit is asked and what it answers, in traces recorded from Docker 20.10.24."""

from __future__ import annotations

import base64
import json
import re

import pytest

from envmatrix.engine.buildkit import (
    Build,
    NeedsSession,
    cached,
    pruning,
    read,
    trace_text,
)

BEGINS = base64.b64decode(
    "CtUBCkdzaGEyNTY6OTE2YjNlMjliNmM1YTVlZjU0MDQzYTFiNTllZWU0Mjk1ZDJiMmY3ODFjYTA2ZDNkYjEyZGVhM2Jk"
    "YzUyNTU1YRJHc2hhMjU2OmJjNjE0YWQ3MjU2ODJkY2IzZDY0MGI4NTFiMzVhMjY5OTZhNWY1MGFkNGIxZDg4N2FhNzFl"
    "YmQ5ODRiNWI5MmUaM1syLzJdIFJVTiBlY2hvIG9uZTsgc2xlZXAgMC4xOyBlY2hvIHR3byA+JjI7IGV4aXQgNyoMCN2n"
    "j9gGELWfkKwD"
)
PRINTS = base64.b64decode(
    "Gl4KR3NoYTI1Njo5MTZiM2UyOWI2YzVhNWVmNTQwNDNhMWI1OWVlZTQyOTVkMmIyZjc4MWNhMDZkM2RiMTJkZWEzYmRj"
    "NTI1NTVhEgsI36eP2AYQqfSsBRgBIgRvbmUK"
)
PRINTS_AN_ERROR = base64.b64decode(
    "Gl8KR3NoYTI1Njo5MTZiM2UyOWI2YzVhNWVmNTQwNDNhMWI1OWVlZTQyOTVkMmIyZjc4MWNhMDZkM2RiMTJkZWEzYmRj"
    "NTI1NTVhEgwI36eP2AYQmOb0uQMYAiIEdHdvCg=="
)
ENDS = base64.b64decode(
    "CsECCkdzaGEyNTY6OTE2YjNlMjliNmM1YTVlZjU0MDQzYTFiNTllZWU0Mjk1ZDJiMmY3ODFjYTA2ZDNkYjEyZGVhM2Jk"
    "YzUyNTU1YRJHc2hhMjU2OmJjNjE0YWQ3MjU2ODJkY2IzZDY0MGI4NTFiMzVhMjY5OTZhNWY1MGFkNGIxZDg4N2FhNzFl"
    "YmQ5ODRiNWI5MmUaM1syLzJdIFJVTiBlY2hvIG9uZTsgc2xlZXAgMC4xOyBlY2hvIHR3byA+JjI7IGV4aXQgNyoMCN2n"
    "j9gGELWfkKwDMgwI56eP2AYQxoLZqwI6XGV4ZWN1dG9yIGZhaWxlZCBydW5uaW5nIFsvYmluL3NoIC1jIGVjaG8gb25l"
    "OyBzbGVlcCAwLjE7IGVjaG8gdHdvID4mMjsgZXhpdCA3XTogZXhpdCBjb2RlOiA3"
)


def test_a_step_that_begins_is_named_with_its_instruction() -> None:
    """The name is one line of the log."""
    assert trace_text(BEGINS) == "[2/2] RUN echo one; sleep 0.1; echo two >&2; exit 7\n"


def test_the_output_of_a_step_is_kept_as_it_is_from_both_streams() -> None:
    """A trace may hold any number of messages."""
    assert trace_text(PRINTS) == "one\n"
    assert trace_text(PRINTS + PRINTS_AN_ERROR) == "one\ntwo\n"


def test_a_step_that_ends_adds_nothing() -> None:
    """Its name was logged when it began, and its error is an event of its own."""
    assert trace_text(ENDS) == ""
    assert trace_text(b"") == ""


def test_output_that_is_not_utf8_is_still_logged() -> None:
    """A step may print any bytes."""
    log = b"\x22\x02\xff!"
    assert trace_text(b"\x1a" + bytes([len(log)]) + log) == "\N{REPLACEMENT CHARACTER}!"


@pytest.mark.parametrize(
    "unknown",
    [
        b"\x48\xac\x02",  # field 9, a number of two bytes
        b"\x49" + b"12345678",  # field 9, eight bytes
        b"\x4d" + b"1234",  # field 9, four bytes
        b"\x4a\x03abc",  # field 9, a text
        b"\xa2\x01\x03abc",  # field 20, a text
    ],
)
def test_a_field_that_we_do_not_know_is_skipped(unknown: bytes) -> None:
    """Newer engines may add fields of any type, also before the ones that we read."""
    log = unknown + b"\x22\x03one"
    assert trace_text(unknown + b"\x1a" + bytes([len(log)]) + log + unknown) == "one"


def test_a_build_ends_with_an_image_or_with_what_failed() -> None:
    """The command that failed is in the log already, so the error does not repeat it."""
    trace = {"id": "moby.buildkit.trace", "aux": base64.b64encode(PRINTS).decode()}
    image = {"id": "moby.image.id", "aux": {"ID": "sha256:12"}}
    old = {"error": "executor failed running [/bin/sh -c a\n[b]]: exit code: 7"}
    new = {"error": 'process "/bin/sh -c a\n"b"" did not complete successfully: exit code: 7'}
    lines = [json.dumps(event).encode() for event in (trace, image, old, new)]
    failed = ("error", "the step failed: exit code: 7")
    assert [("log", "one\n"), ("image", "sha256:12"), failed, failed] == list(read(lines))


def test_an_error_that_names_no_command_is_kept_as_it_is() -> None:
    """The engine may fail without any step."""
    line = json.dumps({"error": "no space left on device"}).encode()
    assert list(read([line])) == [("error", "no space left on device")]


def test_an_event_that_we_do_not_know_is_skipped() -> None:
    """Newer engines may send other events; an empty line is none."""
    assert list(read([b'{"id": "new", "aux": {}}', b"", b'{"stream": "text"}'])) == []


def test_only_steps_that_have_the_mark_are_ours() -> None:
    """What other people built is not ours, and neither is an entry that is no step."""
    usage = {
        "BuildCache": [
            {"ID": "ours", "Description": "mount / from exec /bin/sh -c touch /dev/shm/mark"},
            {"ID": "another's", "Description": "mount / from exec /bin/sh -c make"},
            {"ID": "a file", "Description": "http url /dev/shm/mark"},
        ]
    }
    assert cached(usage, "/dev/shm/mark") == {"ours"}  # noqa: S108
    assert cached({"BuildCache": None}, "/dev/shm/mark") == frozenset()  # noqa: S108
    assert cached({}, "/dev/shm/mark") == frozenset()  # noqa: S108


def test_a_pruning_names_whole_ids_only() -> None:
    """An id that begins or ends with one of ours belongs to somebody else."""
    (pattern,) = json.loads(pruning(["b2", "a1"])["filters"])["id"]
    ids = ("a1", "b2", "a12", "1a1", "a1b2")
    assert [one for one in ids if re.search(pattern, one)] == ["a1", "b2"]


def test_an_engine_that_takes_no_context_without_a_session_is_told_apart() -> None:
    """Docker 26.1 said this with images in containerd; no step of the build has failed."""
    said = (
        'failed to read downloaded context: failed to load cache key: Get "http://x": '
        "dial tcp: lookup x: no such host"
    )
    with pytest.raises(NeedsSession):
        list(read([json.dumps({"errorDetail": {"message": said}, "error": said}).encode()]))


def test_the_two_requests_of_a_build_have_one_id() -> None:
    """One request uploads the context, and the other one builds; two builds have two ids."""
    build = Build("a:1", {"A": "b"}, {"x.internal": "127.0.0.1"}, {"l": "m"})
    assert build.uploading == {
        "version": "2",
        "remote": "upload-request",
        "buildid": f"upload-request:{build.id}",
    }
    assert build.building == {
        "version": "2",
        "remote": "upload-request",
        "buildid": build.id,
        "networkmode": "host",
        "buildargs": '{"A": "b"}',
        "extrahosts": ["x.internal:127.0.0.1"],
        "labels": '{"l": "m"}',
        "t": "a:1",
    }
    assert build.id != Build("a:1", {}, {}, {}).id
    assert "t" not in Build(None, {}, {}, {}).building
