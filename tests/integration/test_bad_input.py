"""Bad input through the command and the application: what was found, what was expected, what to do; nothing is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Command
from thea_core import ContextError, InvalidRequestError, Thea, UnknownHookError

STORE = '[store]\nurl = "sqlite:///thea.db"\n'
LONG = "x" * 65_537


def stored(directory: Path) -> tuple[int, int]:
    """Return how many conversations and how many message ids are stored, whatever their tables are called."""
    with sqlite3.connect(directory / "thea.db") as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        counts = [connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(tables)]
    connection.close()
    return sum(counts), len(tables)


BAD_LINES: list[tuple[bytes, str, str]] = [
    (b"not json", "not-json", "JSON"),
    (b'["a"]', "not-an-object", "no object"),
    (b'{"text": "a"}', "no-message", "no 'message'"),
    (b'{"message": "\xe9"}', "not-utf8", "save the file as UTF-8"),
    (b'{"message": "a\\u0000b"}', "invalid-request", "NUL character at character 1; remove it"),
    (b'{"message": "a\\ud800"}', "invalid-request", "lone surrogate"),
    (json.dumps({"message": LONG}).encode(), "invalid-request", "65537 bytes of UTF-8; at most 65536"),
    (b'{"message": 7}', "invalid-request", "the message is int; it must be a str"),
    (b'{"message": "a", "user_id": ""}', "invalid-request", "the user_id is empty; it must have 1 to 256"),
    (b'{"message": "a", "user_id": 7}', "invalid-request", "the user_id is int; it must be a str"),
    (json.dumps({"message": "a", "user_id": LONG}).encode(), "invalid-request", "the user_id has 65537 characters"),
    (json.dumps({"message": "a", "message_id": "x" * 257}).encode(), "invalid-request", "message_id has 257"),
]
GOOD = [b'{"message": ""}', b'{"message": "  \\t "}', b'{"message": "hola"}']


def mixed() -> bytes:
    """Return a file in which each bad line stands between good ones, of which some are empty or blank."""
    lines = [line for number, (bad, _, _) in enumerate(BAD_LINES) for line in (GOOD[number % 3], bad)]
    return b"\n".join([*lines, GOOD[2]])


def test_bad_lines_are_told_by_number_and_the_rest_goes_on(thea: Command) -> None:
    thea.write(STORE)
    thea.write(mixed(), "m.jsonl")
    outcome = thea("run", "m.jsonl")
    assert outcome.status == 1
    assert [each["line"] for each in outcome.rows] == list(range(1, 2 * len(BAD_LINES) + 2))
    good, bad = outcome.rows[::2], outcome.rows[1::2]
    assert all(each["ok"] and each["reply"] for each in good)
    for row, (_, code, words) in zip(bad, BAD_LINES, strict=True):
        assert row["error"]["code"] == code
        assert row["error"]["message"].startswith(f"m.jsonl:{row['line']}: ")
        assert words in row["error"]["message"]
        assert len(row["error"]["message"]) < 500
    assert f"{len(BAD_LINES)} lines refused" in outcome.errors
    assert "The first refused line: m.jsonl:2: " in outcome.errors
    assert "Traceback" not in outcome.errors
    with Thea({"store": {"url": "sqlite:///thea.db"}}) as app:
        assert app.contexts.load("m.jsonl:1")["message"] == ""
        assert "message" not in app.contexts.load("m.jsonl:2")


def test_strict_stops_there_and_keeps_what_was_done(thea: Command) -> None:
    thea.write(STORE)
    thea.write(mixed(), "m.jsonl")
    outcome = thea("run", "m.jsonl", "--strict")
    assert outcome.status == 1
    assert [each["line"] for each in outcome.rows] == [1, 2]
    assert "error[not-json]: m.jsonl:2: " in outcome.errors
    assert [each.get("repeated") for each in thea("run", "m.jsonl").rows][:3] == [True, None, False]


def test_a_tsv_without_the_column_leaves_nothing_behind(thea: Command) -> None:
    thea.write(STORE)
    thea.write("titel\tintent\nhola\tx\n", "m.tsv")
    before = thea.files()
    outcome = thea("run", "m.tsv")
    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.errors.startswith("error[no-text-column]: m.tsv:1: a TSV needs a column 'text'")
    assert "its first line names: 'titel', 'intent'; name the column" in outcome.errors
    assert thea.files() == before


CONFIGS: dict[str, tuple[str, int, list[str]]] = {
    "wrong type": (
        "[store]\nurl = 5\n",
        3,
        ["thea.toml:2: store.url", "found: 5", "expected: ", "to do: write url"],
    ),
    "unknown key": (
        '[sessions]\ntimeot = "3m"\n',
        3,
        ["thea.toml:2: sessions.timeot is not a known key", "valid: timeout", "did you mean: timeout?"],
    ),
    "not TOML": ("[store\n", 3, ["thea.toml:1"]),
    "a required plugin that is not installed": (
        '[plugins]\nenabled = ["lantern"]\n[plugins.lantern]\nrequired = true\n',
        4,
        ["error[plugin-not-found]: no plugin 'lantern' is installed", "pip install thea-lantern"],
    ),
    "a directory that is missing": (
        '[store]\nurl = "sqlite:///missing/thea.db"\n',
        5,
        ["error[store-unavailable]", "missing does not exist; create it first"],
    ),
    "a directory in place of the file": (
        '[store]\nurl = "sqlite:///folder"\n',
        5,
        ["error[store-unavailable]", "folder is a directory; name a file in it"],
    ),
    "no database": (
        '[store]\nurl = "sqlite:///notes.txt"\n',
        5,
        ["error[store-schema]", "notes.txt: it is no SQLite database; it was left as it is: name another file"],
    ),
    "another program's database": (
        '[store]\nurl = "sqlite:///other.db"\n',
        5,
        ["error[store-schema]", "other.db", "name another file"],
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_that_cannot_be_used_ends_the_run_and_leaves_all_as_it_was(thea: Command, case: str) -> None:
    text, status, words = CONFIGS[case]
    thea.write(text)
    thea.write("hola\n", "m.txt")
    thea.write("Some notes that nobody wants to lose, and that are no database at all.\n" * 100, "notes.txt")
    (thea.directory / "folder").mkdir()
    with sqlite3.connect(thea.directory / "other.db") as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = thea.files()
    outcome = thea("run", "m.txt")
    assert (outcome.status, outcome.output) == (status, "")
    for each in words:
        assert each in outcome.errors
    assert "Traceback" not in outcome.errors
    assert {name: data for name, data in thea.files().items() if not name.startswith(".thea")} == before


def test_a_plugin_that_is_not_installed_is_told_and_the_rest_goes_on(thea: Command) -> None:
    thea.write('[plugins]\nenabled = ["lantern"]\n' + STORE)
    thea.write("hola\n", "m.txt")
    outcome = thea("run", "m.txt")
    assert (outcome.status, len(outcome.rows)) == (0, 1)
    assert "warning: a plugin is left out: no plugin 'lantern' is installed" in outcome.errors


def offer(directory: Path, distribution: str) -> None:
    """Install a distribution that offers the plugin ``weather``."""
    info = directory / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[thea.plugins]\nweather = weather_plugin\n", "utf-8")


def test_a_name_that_two_distributions_offer_is_told_with_both(thea: Command) -> None:
    offer(thea.directory, "thea-weather")
    offer(thea.directory, "weather-for-thea")
    thea.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\nrequired = true\n' + STORE)
    thea.write("hola\n", "m.txt")
    outcome = thea("run", "m.txt", PYTHONPATH=str(thea.directory))
    assert outcome.status == 4
    assert "error[plugin-conflict]" in outcome.errors
    assert "thea-weather" in outcome.errors
    assert "weather-for-thea" in outcome.errors
    assert "uninstall all of them but one" in outcome.errors


def test_a_hook_that_there_is_not_is_told_with_a_suggestion(thea: Command) -> None:
    outcome = thea("plugins", "order", "on_mesage")
    assert outcome.status == 1
    assert "error[unknown-hook]: there is no hook 'on_mesage' (did you mean on_message?)" in outcome.errors
    with pytest.raises(UnknownHookError, match=r"did you mean on_message\?"):
        Thea({"store": {"url": "memory:"}}).callbacks.register("on_mesage", print)


REQUESTS: list[tuple[Any, Any, str]] = [
    ("ana", LONG, "the message has 65537 bytes of UTF-8; at most 65536 are handled: shorten it"),
    ("ana", b"hola", r"the message is bytes; it must be a str; decode it first"),
    ("ana", "a\0", "a NUL character at character 1; remove it"),
    ("ana", "a\udc80", "a lone surrogate, .* at character 1; remove it"),
    ("", "hola", "the user_id is empty; it must have 1 to 256"),
    (None, "hola", "the user_id is NoneType; it must be a str"),
    ("x" * 257, "hola", "the user_id has 257 characters; .* shorten or hash"),
    ("a\0", "hola", "the user_id has a NUL character"),
]


@pytest.mark.parametrize(("user_id", "message", "words"), REQUESTS)
def test_a_request_that_cannot_be_handled_fires_and_stores_nothing(
    thea: Command, user_id: Any, message: Any, words: str
) -> None:
    fired: list[str] = []

    def note(message: str) -> None:
        fired.append(message)

    with Thea({"store": {"url": "sqlite:///thea.db"}}) as app:
        app.callbacks.register("on_message", note)
        app.handle_request("ana", "before", "1")
        before, rows = app.contexts.load("ana"), stored(thea.directory)
        with pytest.raises(InvalidRequestError, match=words):
            app.handle_request(user_id, message, "2")
        assert (app.contexts.load("ana"), stored(thea.directory)) == (before, rows)
        assert app.handle_request("ana", "", "2").ok
        assert app.handle_request("ana", " \n", "3").ok
    assert fired == ["before", "", " \n"]


CONTEXTS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda good: [good], "a context must be a dict, not list"),
    (lambda good: {**good, "cart": [{1, 2}]}, r"context\['cart'\]\[0\] .*; a context holds only dict with str keys"),
    (lambda good: {**good, "price": float("nan")}, r"context\['price'\]"),
    (lambda good: {**good, "cart": {1: 2}}, r"context\['cart'\] has a key that is int, not str"),
    (
        lambda good: {key: good[key] for key in good if key != "state"},
        r"context\['state'\] is missing; it must be a str",
    ),
    (
        lambda good: {**good, "state": "idel"},
        r"context\['state'\] is 'idel', which is no state .*idle.*; the states are",
    ),
    (lambda good: {**good, "user_id": "eva"}, r"context\['user_id'\] is 'eva', but .* 'ana'"),
]


@pytest.mark.parametrize(("spoil", "words"), CONTEXTS)
def test_a_context_that_cannot_be_kept_changes_nothing(thea: Command, spoil: Any, words: str) -> None:
    with Thea({"store": {"url": "sqlite:///thea.db"}}) as app:
        app.handle_request("ana", "hola")
        good = app.contexts.load("ana")
        with pytest.raises(ContextError, match=words):
            app.contexts.save("ana", spoil(good))
        assert app.contexts.load("ana") == good
        app.contexts.save("ana", {**good, "cart": ["bread"]})
        assert app.handle_request("ana", "hola").context["cart"] == ["bread"]
