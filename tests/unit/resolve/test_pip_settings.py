"""The settings of pip, and the same settings as arguments of uv."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envmatrix.resolve.pip_settings import PipSettings, parse, pip_settings

# As pip 24 prints them.
LISTING = """\
:env:.cert='/etc/company/ca.pem'
:env:.extra-index-url='https://env.example/simple'
:env:.timeout='180'
download.index-url='https://download.example/simple'
freeze.find-links='/not/for/downloads'
global.cert='/etc/ssl/ca.pem'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
global.index-url='https://user:pa%20ss@index.example/simple'
global.no-index='false'
global.proxy='http://proxy.example:3128'
global.trusted-host='index.example other.example'
"""


def test_the_environment_wins_over_commands_and_these_over_global() -> None:
    """The order in the list does not count."""
    expected = PipSettings(
        index_url="https://download.example/simple",
        extra_index_urls=("https://env.example/simple",),
        trusted_hosts=("index.example", "other.example"),
        cert="/etc/company/ca.pem",
        proxy="http://proxy.example:3128",
    )
    assert expected == parse(LISTING)
    assert expected == parse("\n".join(reversed(LISTING.splitlines())))


def test_a_value_over_several_lines_gives_several_values() -> None:
    """A file of pip's settings can hold one index on each line."""
    listing = "global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'"
    assert parse(listing).extra_index_urls == (
        "https://a.example/simple",
        "https://b.example/simple",
    )


def test_nothing_set_gives_nothing() -> None:
    """Uv gets neither arguments nor variables then."""
    assert PipSettings() == parse("")
    assert PipSettings().uv_arguments() == []
    assert PipSettings().uv_environment() == {}


def test_the_output_of_the_real_pip_is_read(tmp_path: Path) -> None:
    """The settings come from a file with quotes and blanks in it, and from a variable."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://index.example/it's\nfind-links =\n  /a\n  /b\n"
        "no-index = yes\n[install]\ntrusted-host = index.example\n",
        encoding="utf-8",
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env=clean | {"PIP_CONFIG_FILE": str(config), "PIP_PROXY": "http://proxy.example:3128"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ours = {line for line in listing.splitlines() if "example" in line or "/a" in line}
    settings = parse("\n".join(sorted(ours | {"global.no-index='yes'"})))
    assert settings.index_url == "https://index.example/it's"
    assert settings.find_links == ("/a", "/b")
    assert settings.trusted_hosts == ("index.example",)
    assert settings.proxy == "http://proxy.example:3128"
    assert settings.no_index


def test_uv_gets_all_settings_except_places_that_do_not_exist(tmp_path: Path) -> None:
    """Uv fails where a find-links folder does not exist, and pip ignores such a folder."""
    gone = tmp_path / "gone"
    settings = PipSettings(
        index_url="https://index.example/simple",
        extra_index_urls=("https://a.example/simple", gone.as_uri()),
        find_links=(str(tmp_path), str(gone)),
        no_index=True,
        trusted_hosts=("a.example",),
        cert="/ca.pem",
        client_cert="/me.pem",
        proxy="http://proxy.example:3128",
    )
    assert [
        *("--default-index", "https://index.example/simple"),
        "--no-index",
        *("--index", "https://a.example/simple"),
        *("--find-links", str(tmp_path)),
        *("--allow-insecure-host", "a.example"),
    ] == settings.uv_arguments()
    assert settings.uv_environment() == {
        "SSL_CERT_FILE": "/ca.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        "ALL_PROXY": "http://proxy.example:3128",
    }


def test_pip_is_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """They include those of this process's environment."""
    monkeypatch.setenv("PIP_PROXY", "http://proxy.example:3128")
    pip_settings.cache_clear()
    try:
        assert pip_settings().proxy == "http://proxy.example:3128"
    finally:
        pip_settings.cache_clear()
