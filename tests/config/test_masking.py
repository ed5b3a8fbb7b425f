"""What is hidden, and what a text gives away."""

from __future__ import annotations

import pytest

from thea_core.config.masking import is_secret, leaks, mask_line, mask_url, masked, secret_key, secret_texts


@pytest.mark.parametrize("key", ["token", "API_KEY", "client-secret", "password", "dsn", "webhook_url", "tokens"])
def test_a_key_that_ends_like_a_secret_is_one(key: str) -> None:
    assert secret_key(key)


@pytest.mark.parametrize("key", ["tokenizer", "level", "url_prefix", ""])
def test_other_keys_are_no_secrets(key: str) -> None:
    assert not secret_key(key)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///home/me@work/thea.db", "sqlite:///home/me@work/thea.db"),
        ("postgresql://me:pass@word@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=me&password=hunter2", "postgresql://host/db?user=me&password=***"),
        ("redis://host/0", "redis://host/0"),
        ("memory:", "memory:"),
        ("host=db password=hunter2", "***"),
    ],
)
def test_the_user_and_password_of_a_url_are_hidden(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('dsn = "https://abc', "dsn = ***"),
        ('timeout = "30m', 'timeout = "30m'),
        ('{ level = 1, "api_key" = "abc', '{ level = 1, "api_key" = ***'),
        ('address = "https://me:pw@host', "***"),
    ],
)
def test_a_broken_line_is_shown_without_what_may_be_a_secret(line: str, shown: str) -> None:
    assert mask_line(line) == shown


def test_masking_reaches_tables_in_arrays_and_leaves_the_original() -> None:
    data = {"sinks": [{"token": "t0", "name": "a"}], "level": "x"}
    assert masked(data, {("level",)}, by_name=True) == {"sinks": [{"token": "***", "name": "a"}], "level": "***"}
    assert data["sinks"] == [{"token": "t0", "name": "a"}]


def test_names_hide_nothing_unless_asked() -> None:
    assert masked({"url": "memory:"}, ()) == {"url": "memory:"}


def test_the_texts_of_all_secrets_are_found() -> None:
    data = {"auth_key": {"id": 7, "parts": ["x", "y"]}, "name": "plain", "list": ["a", "hidden"]}
    assert sorted(secret_texts(data, {("list", 1)})) == ["7", "hidden", "x", "y"]


def test_what_stands_below_a_secret_is_one() -> None:
    assert is_secret(("auth_key", "id"), ())
    assert is_secret(("list", 1), {("list", 1)})
    assert not is_secret(("list", 0), {("list", 1)})


@pytest.mark.parametrize(
    ("text", "leaked"),
    [("bad value 12345", True), ("the part 2345 6", False), ("it is ab", True), ("nothing here", False)],
)
def test_a_piece_of_five_characters_or_a_whole_short_secret_leaks(text: str, *, leaked: bool) -> None:
    assert leaks(text, {"xx12345yy", "ab", ""}) is leaked
