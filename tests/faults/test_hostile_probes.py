"""Probes that harm and lie, all in one run of a real engine: each has its own end, and no other."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from conftest import Folder
from disturbed import left, write_probe
from small_project import GOOD

from envmatrix.engine.client import Engine


def raw(observed: str) -> str:
    """Return a probe that reports this text of JSON, as it stands."""
    return (
        "name = os.path.basename(__file__)[6:-3].replace('_', '-')\n"
        'head = \'{"probe": "%s", "nonce": "%s", "observed": \' % (name, os.environ'
        "['ENVMATRIX_NONCE'])\n"
        f"print(head + {observed} + '}}')\n"
    )


PROBES = {
    "hangs": ("import time\ntime.sleep(300)", "timed out"),
    "floods": ("while True: print('x' * 10_000)", "output flood"),
    "forks": (
        "import time\nwhile True:\n    if not os.fork(): time.sleep(300)",
        "failed",
    ),
    "allocates": ("hog = [bytearray(2**26) for _ in range(1000)]", "out of memory"),
    "fills": (
        "file = open('/tmp/x', 'wb')\nfor _ in range(1100): file.write(bytes(2**20))",
        "failed",
    ),
    "leaves": (
        "import time\nif not os.fork():\n    os.setsid()\n    time.sleep(300)\nreport(observed={})",
        "passed",
    ),
    "forges": ('print(\'{"probe": "jinja2-forges", "nonce": "0", "observed": {}}\')', "bad report"),
    "forges-another": (
        "print(json.dumps({'probe': 'jinja2-import', 'nonce': os.environ['ENVMATRIX_NONCE']}))",
        "bad report",
    ),
    "bytes": (
        "import sys\nfor one in (sys.stdout, sys.stderr): one.buffer.write(bytes(range(256)))\n1/0",
        "failed",
    ),
    "long-line": ("import sys\nsys.stderr.write('a.' * 450_000)\nraise SystemExit(3)", "failed"),
    "long-report": (raw("'\"%s\"' % ('x' * 900_000)"), "bad report"),
    "deep": (raw("'[' * 100_000 + ']' * 100_000"), "bad report"),
    "nested": (raw("'{\"a\": ' * 950 + '1' + '}' * 950"), "bad report"),
    "half": (raw("'{\"a\": \"' + chr(92) + 'ud800\"}'"), "bad report"),
    "infinite": (raw("'{\"losses\": [NaN, Infinity]}'"), "bad report"),
    "text-of-numbers": (raw('\'{"losses": "none"}\''), "bad report"),
    "escapes": (
        "raise RuntimeError('\\x1b[2K\\x1b[1A\\x1b[32mworks\\x1b[0m \\u202e \\x1b]0;title\\x07')",
        "failed",
    ),
    "stops-the-first": (
        "for number in (19, 9): os.kill(1, number)\nreport(observed={})",
        "passed",
    ),
}
"""What each probe does, and how it must end."""
LONG = {"forks": 20, "allocates": 60, "fills": 60}
"""The seconds that probes have which reach a limit only after some work."""


def test_each_has_its_own_end_and_the_run_goes_on(folder: Folder, engine: Engine) -> None:
    """The limits hold, the others pass, the report is written, and nothing in it acts."""
    for name, (source, _) in PROBES.items():
        write_probe(folder, f"jinja2-{name}", source, timeout=LONG.get(name, 5))
    began = time.monotonic()

    done = folder.run("run", "--profile", "good")

    took = time.monotonic() - began
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    report: dict[str, Any] = json.loads(
        (folder.root / ".envmatrix/report/report.json").read_text(encoding="utf-8")
    )
    (cell,) = report["cells"]
    outcomes = {one["probe"]: one["outcome"] for one in cell["probes"]}
    expected = {f"jinja2-{name}": outcome for name, (_, outcome) in PROBES.items()}
    assert expected | {"jinja2-import": "passed"} == outcomes
    assert cell["verdict"] == "broken"
    assert took < 300
    for path in (folder.root / ".envmatrix").rglob("*"):
        if path.suffix in (".json", ".md", ".log") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text), (
                path
            )
    for text in (done.stdout, done.stderr):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert left(folder, engine) == []
    # The next run takes each result as it was found.
    assert "nothing built, nothing probed" in folder.run("run", "--profile", "good").stdout
    assert f"{GOOD}: broken" in done.stdout
