"""The settings of pip, and the same settings as uv gets them."""

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from envmatrix.model.errors import InputError, ToolError
from envmatrix.resolve.pip_settings import (
    PipSettings,
    default_index,
    parse,
    pip_environment,
    pip_settings,
    shown,
)

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
        timeout=180,
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


def test_nothing_set_gives_no_index() -> None:
    """Uv then asks its own default index, and nothing is set in its environment but limits."""
    assert PipSettings() == parse("")
    assert "[[index]]" not in PipSettings().uv_config(None, "first-index")
    assert PipSettings().uv_environment({}) == {"UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "2"}


@pytest.mark.parametrize(
    ("listing", "timeout", "retries"),
    [
        ("global.timeout='60'\nglobal.retries='1'", 60, 1),
        (":env:.default-timeout='180'\nglobal.retries='50'", 180, 2),
        ("global.timeout='soon'\nglobal.retries='-1'", 15, 2),
        ("global.timeout='0'", 1, 2),
    ],
)
def test_limits_are_those_of_pip_and_bounded(listing: str, timeout: float, retries: int) -> None:
    """A retry is cheap once or twice. What is no number counts as not set."""
    found = parse(listing)
    assert (found.timeout, found.retries) == (timeout, retries)


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
        index_url="https://user:secret@index.example/simple",
        extra_index_urls=("https://a.example/simple", gone.as_uri()),
        find_links=(str(tmp_path), str(gone)),
        trusted_hosts=("a.example",),
        cert="/ca.pem",
        client_cert="/me.pem",
        proxy="http://proxy.example:3128",
    )
    assert tomllib.loads(settings.uv_config("https://variant.example", "first-index")) == {
        "no-index": False,
        "keyring-provider": "disabled",
        "index-strategy": "first-index",
        "find-links": [str(tmp_path)],
        "allow-insecure-host": ["a.example"],
        "index": [
            {"url": "https://variant.example"},
            {"url": "https://a.example/simple"},
            {"url": "https://user:secret@index.example/simple", "default": True},
        ],
    }
    assert settings.uv_environment({"http_proxy": "http://other.example"}) == {
        "SSL_CERT_FILE": "/ca.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        "ALL_PROXY": "http://proxy.example:3128",
        "HTTP_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "UV_HTTP_TIMEOUT": "15",
        "UV_HTTP_RETRIES": "2",
    }


def test_no_setting_of_uv_that_changes_answers_reaches_uv() -> None:
    """Of the environment only an allow-list reaches uv, and of PIP_ variables only pip's places."""
    changing = {
        f"UV_{name}": "1"
        for name in (
            *("PRERELEASE", "RESOLUTION", "OVERRIDE", "CONSTRAINT", "TORCH_BACKEND", "INDEX"),
            *("EXCLUDE_NEWER", "DEFAULT_INDEX", "EXTRA_INDEX_URL", "FIND_LINKS", "CONFIG_FILE"),
            *("NO_BINARY", "KEYRING_PROVIDER", "OFFLINE", "NO_INDEX", "PYTHON", "FORK_STRATEGY"),
        )
    } | {"PIP_NO_BINARY": ":all:", "PIP_PRE": "1", "PIP_TARGET": "/x", "PIP_CONSTRAINT": "/y"}
    harmless = {"PATH": "/bin", "HOME": "/h", "UV_CACHE_DIR": "/c", "no_proxy": "x"}
    found = PipSettings().uv_environment(changing | harmless)
    assert harmless == {name: found[name] for name in harmless}
    assert not changing.keys() & found.keys()
    pip = pip_environment(changing | {"PIP_INDEX_URL": "https://a.example", "HOME": "/h"})
    assert {"PIP_INDEX_URL"} == {name for name in pip if name.startswith("PIP_")}
    assert pip["HOME"] == "/h"


BASE = PipSettings("https://index.example/simple")


@pytest.mark.parametrize(
    "other",
    [
        PipSettings("https://other.example/simple"),
        PipSettings("https://index.example/other"),
        replace(BASE, extra_index_urls=("https://a.example",)),
        replace(BASE, find_links=("https://a.example",)),
        replace(BASE, no_index=True),
        replace(BASE, trusted_hosts=("a.example",)),
        replace(BASE, cert="/ca.pem"),
        replace(BASE, client_cert="/me.pem"),
        replace(BASE, proxy="http://proxy.example"),
    ],
)
def test_the_digest_tells_settings_apart(other: PipSettings) -> None:
    """Whatever may change an answer changes the digest."""
    assert BASE.digest != other.digest


def test_the_digest_holds_no_secret() -> None:
    """Another password, user or token gives the same digest, so nothing can be guessed from it."""
    for user in ("user:secret@", "TOKEN@", ""):
        assert BASE.digest == PipSettings(f"https://{user}index.example/simple").digest
    assert replace(BASE, timeout=1, retries=0).digest == BASE.digest


def test_another_wheel_in_a_folder_is_another_setting(tmp_path: Path) -> None:
    """A proof does not outlive what a folder of find-links held."""
    before = PipSettings(find_links=(str(tmp_path),)).digest
    (tmp_path / "a-1-py3-none-any.whl").touch()
    assert before != PipSettings(find_links=(str(tmp_path),)).digest


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@index.example/secret/simple?token=secret", "https://index.example/…"),
        ("https://SECRET@index.example:8080/", "https://index.example:8080/…"),
        ("https://index.example:secret/", "https://index.example/…"),
        ("file:///home/secret", "a local folder"),
        ("/home/secret", "a local folder"),
    ],
)
def test_an_address_is_shown_without_anything_that_may_be_secret(url: str, expected: str) -> None:
    """A token can stand before the host, in the path and in the query."""
    assert expected == shown(url)


def test_pip_tells_its_default_index() -> None:
    """The address is not written into this program."""
    assert default_index().startswith("https://")


def test_pip_is_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """They include those of this process's environment."""
    monkeypatch.setenv("PIP_PROXY", "http://proxy.example:3128")
    pip_settings.cache_clear()
    try:
        assert pip_settings().proxy == "http://proxy.example:3128"
    finally:
        pip_settings.cache_clear()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("SECRET\n", "pip.conf:1"),
        ("[global]\n\nSECRET\n", "pip.conf:3"),
        ("[global]\nproxy = SECRET\nproxy = SECRET\n", "pip.conf:3"),
        ("[global]\nproxy = \xe9\n", "pip.conf"),
    ],
)
def test_settings_that_pip_cannot_read_are_not_passed_over(
    text: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named, and no line of it is shown. Without them the user's indexes are gone."""
    config = tmp_path / "pip.conf"
    config.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with pytest.raises(InputError) as caught:
        pip_settings.__wrapped__()
    assert caught.value.where.endswith(where)
    assert "SECRET" not in str(caught.value)


def test_a_setting_of_pip_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are those of pip."""
    monkeypatch.setenv("PIP_TIMEOUT", "soon")
    with pytest.raises(InputError, match="soon"):
        pip_settings.__wrapped__()


def test_a_missing_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without pip cannot tell any settings."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(ToolError, match="pip is missing"):
        pip_settings.__wrapped__()


@pytest.mark.parametrize(
    "settings",
    [
        PipSettings("http://user:SECRET@[bad/simple"),
        PipSettings(extra_index_urls=("https://user:SECRET@host:port/",)),
        PipSettings(find_links=("http://[SECRET",)),
        PipSettings(proxy="http://SECRET@proxy:99999999"),
    ],
)
def test_an_address_that_is_none_is_refused_and_not_shown(settings: PipSettings) -> None:
    """The error names the setting, and holds nothing of a password."""
    with pytest.raises(InputError, match="holds an address that is none") as caught:
        settings.check()
    assert "SECRET" not in str(caught.value)


def test_a_user_without_a_home_gets_one_that_nobody_writes_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither pip nor uv starts without a home. uv then keeps nothing, unless it is told where."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert pip_environment({})["HOME"] == "/"
    given = PipSettings().uv_environment({"PATH": "/bin"})
    assert (given["HOME"], given["UV_NO_CACHE"]) == ("/", "1")
    assert "UV_NO_CACHE" not in PipSettings().uv_environment({"UV_CACHE_DIR": "/somewhere"})


def test_the_home_of_a_user_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their settings and their netrc lie there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pip_environment({"HOME": str(tmp_path)}) == {"HOME": str(tmp_path)}
    assert "UV_NO_CACHE" not in PipSettings().uv_environment({"HOME": str(tmp_path)})
