"""``open_store`` and the URLs that it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import FakeClock
from thea_core.errors import StoreUnavailableError
from thea_core.storage import SCHEMES, open_store, scheme_of
from thea_core.storage.memory import MemoryStore
from thea_core.storage.sqlite import SQLiteStore
from thea_core.testing.turns import turn


def test_memory_is_a_memory_store() -> None:
    assert isinstance(open_store("memory:", clock=FakeClock()), MemoryStore)


def test_a_relative_path_starts_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///a b%20?.db", clock=FakeClock())
    monkeypatch.chdir("/")
    turn(store)
    assert isinstance(store, SQLiteStore)
    assert (tmp_path / "a b%20?.db").is_file()
    store.close()


def test_a_relative_path_may_start_elsewhere(tmp_path: Path) -> None:
    open_store("sqlite:///thea.db", clock=FakeClock(), directory=tmp_path).close()
    assert (tmp_path / "thea.db").is_file()


def test_four_slashes_make_an_absolute_path(tmp_path: Path) -> None:
    open_store(f"SQLite:///{tmp_path}/thea.db", clock=FakeClock(), directory=Path("/nowhere")).close()
    assert (tmp_path / "thea.db").is_file()


def test_the_key_comes_from_the_given_randomness(tmp_path: Path) -> None:
    for url in ("memory:", "sqlite:///thea.db"):
        store = open_store(url, clock=FakeClock(), entropy=lambda size: b"k" * size, directory=tmp_path)
        assert store.key == b"k" * 32
        store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlit:///thea.db", "scheme 'sqlit'; did you mean 'sqlite'?"),
        ("postgre://user:secret@host/db", "scheme 'postgre'; did you mean 'postgres'?"),
        ("thea.db", "no scheme; did you mean sqlite:///thea.db?"),
        ("", "no scheme; valid are"),
        ("memory://here", "write that"),
        ("sqlite:thea.db", "write sqlite:///file.db"),
        ("sqlite://thea.db", "write sqlite:///file.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:////", "names no file"),
        ("sqlite:///:memory:", "write memory:"),
    ],
)
def test_a_url_that_is_wrong_gets_an_error_that_says_what_to_write(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        open_store(url, clock=FakeClock())
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_scheme_decides_whom_to_ask() -> None:
    assert [scheme_of(url) for url in ("memory:", "SQLite:///x", "redis://x", "x")] == ["memory", "sqlite", "redis", ""]
    assert SCHEMES == ("memory", "sqlite", "postgresql", "postgres")


def test_the_sqlite_store_is_loaded_only_where_it_is_used() -> None:
    program = "import sys, thea_core.storage; sys.exit('thea_core.storage.sqlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
