"""Root filesystems: what of the user's environment reaches the scripts of their packages."""

from envmatrix.bootstrap import environment


def test_only_how_to_reach_the_mirror_is_left_of_an_environment() -> None:
    """Bytecode, messages and their order would else depend on who makes the root."""
    kept = {"PATH": "/bin", "https_proxy": "http://proxy.example", "TMPDIR": "/big"}
    dropped = {"PYTHONHASHSEED": "7", "LANG": "de_DE.UTF-8", "XPATH": "x", "DPKG_ROOT": "/y"}
    assert kept.items() <= environment(kept | dropped).items()
    assert not dropped.keys() & environment(kept | dropped).keys()


def test_what_is_set_is_set_for_everybody() -> None:
    """Also where the user has set it to something else."""
    given = {"PYTHONDONTWRITEBYTECODE": "", "LC_ALL": "tr_TR.UTF-8"}
    assert environment(given) == environment({})
