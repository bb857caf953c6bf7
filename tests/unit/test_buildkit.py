"""What BuildKit says of a build, in traces recorded from Docker 20.10.24."""

from __future__ import annotations

import base64
import json

import pytest

from envmatrix.buildkit import NeedsSession, cached, read, trace_text

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
    """One line of the log; what it prints follows it."""
    assert trace_text(BEGINS) == "[2/2] RUN echo one; sleep 0.1; echo two >&2; exit 7\n"


def test_what_a_step_prints_is_told_as_it_is_from_both_streams() -> None:
    """A trace may hold any number of messages."""
    assert trace_text(PRINTS) == "one\n"
    assert trace_text(PRINTS + PRINTS_AN_ERROR) == "one\ntwo\n"


def test_a_step_that_ends_adds_nothing() -> None:
    """Its name was told when it began; its error is an event of its own."""
    assert trace_text(ENDS) == ""
    assert trace_text(b"") == ""


def test_a_build_ends_with_an_image_or_with_what_failed() -> None:
    """The command that failed is in the log already: the error does not repeat it."""
    trace = {"id": "moby.buildkit.trace", "aux": base64.b64encode(PRINTS).decode()}
    image = {"id": "moby.image.id", "aux": {"ID": "sha256:12"}}
    old = {"error": "executor failed running [/bin/sh -c a\n[b]]: exit code: 7"}
    new = {"error": 'process "/bin/sh -c a\n"b"" did not complete successfully: exit code: 7'}
    lines = [json.dumps(event).encode() for event in (trace, image, old, new)]
    failed = ("error", "the step failed: exit code: 7")
    assert list(read(lines)) == [("log", "one\n"), ("image", "sha256:12"), failed, failed]


def test_only_steps_that_have_the_mark_are_ours() -> None:
    """What others built is not, nor what is no step."""
    usage = {
        "BuildCache": [
            {"ID": "ours", "Description": "mount / from exec /bin/sh -c touch /dev/shm/mark"},
            {"ID": "another's", "Description": "mount / from exec /bin/sh -c make"},
            {"ID": "a file", "Description": "http url /dev/shm/mark"},
        ]
    }
    assert cached(usage, "/dev/shm/mark") == {"ours"}  # noqa: S108
    assert cached({"BuildCache": None}, "/dev/shm/mark") == frozenset()  # noqa: S108


def test_an_engine_that_takes_no_context_without_a_session_is_told_apart() -> None:
    """As Docker 26.1 said where its images are containerd's: no step of the build has failed."""
    said = (
        'failed to read downloaded context: failed to load cache key: Get "http://x": '
        "dial tcp: lookup x: no such host"
    )
    with pytest.raises(NeedsSession):
        list(read([json.dumps({"errorDetail": {"message": said}, "error": said}).encode()]))
