"""Hashing, redaction and escaping."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_logging import user_hash
from thea_logging.privacy import Cleaner, Pseudonyms, clean_name, escape, escape_lines, truncate

KEY = "0123456789abcdef"


class TestUserHash:
    def test_is_what_its_docstring_says_so_that_anyone_can_compute_it(self):
        expected = hashlib.blake2b(b"alvaro_123", key=KEY.encode(), digest_size=8).hexdigest()
        assert user_hash("alvaro_123", KEY) == expected == "8b510e6625264de6"

    def test_depends_on_the_key(self):
        assert user_hash("alvaro_123", KEY) != user_hash("alvaro_123", KEY + "x")

    def test_refuses_a_key_that_is_too_long(self):
        with pytest.raises(ValueError, match="64"):
            user_hash("alvaro_123", "k" * 65)

    @given(st.text(st.characters(exclude_categories=())))
    def test_every_string_has_one(self, user_id):
        assert len(Pseudonyms(b"key").digest(user_id)) == 8

    def test_hashing_one_user_leaves_no_trace_in_the_next(self):
        pseudonyms = Pseudonyms(b"key")
        pseudonyms.digest("ana")
        assert pseudonyms.digest("berta") == Pseudonyms(b"key").digest("berta")
        assert pseudonyms.digest("ana") == Pseudonyms(b"key").digest("ana")

    def test_what_is_no_string_has_the_hash_of_its_text(self):
        pseudonyms = Pseudonyms(b"key")
        for user_id in (1, True, [1]):
            assert pseudonyms.digest(user_id) == pseudonyms.digest(str(user_id))


class TestEscape:
    @given(st.text(st.characters(exclude_categories=())))
    def test_what_comes_out_is_printable_and_one_line(self, text):
        escaped = escape(text)
        assert escaped.isprintable()
        assert len(escaped.splitlines()) <= 1

    @pytest.mark.parametrize("text", ["", "plain", "crear evento mañana ✓", "日本語", "back\\slash"])
    def test_leaves_printable_text_alone(self, text):
        assert escape(text) == text

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a\nb", "a\\nb"),
            ("a\r\x00", "a\\r\\x00"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("\x85\x9b", "\\x85\\x9b"),
            ("\u2028\u202e", "\\u2028\\u202e"),
            ("\ud800", "\\ud800"),
        ],
    )
    def test_names_what_it_takes_away(self, text, expected):
        assert escape(text) == expected

    def test_escape_lines_keeps_line_feeds_and_nothing_else(self):
        assert escape_lines("a\x1b\n  b\r\n") == "a\\x1b\n  b\\r\n"


class TestCleaner:
    def test_redacts_then_truncates_then_escapes(self):
        clean = Cleaner(lambda text: text.replace("4111", "#") + "\n" * 5, limit=6)
        assert clean("4111 4111") == "# #\\n\\n…"

    def test_the_redactor_sees_the_whole_text(self):
        seen = []
        Cleaner(lambda text: seen.append(text) or "", limit=3)("a long text")
        assert seen == ["a long text"]

    @pytest.mark.parametrize("answer", [None, b"bytes", 3])
    def test_gives_none_where_the_redactor_returns_no_string(self, answer):
        assert Cleaner(lambda _: answer, limit=9)("secret") is None

    def test_gives_none_where_the_redactor_raises(self):
        assert Cleaner(lambda text: text[999], limit=9)("secret") is None

    def test_lets_an_interrupt_pass(self):
        def interrupted(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Cleaner(interrupted, limit=9)("text")

    def test_keeps_all_without_a_limit(self):
        assert Cleaner(None, limit=None)("x" * 5000) == "x" * 5000


@given(st.text(max_size=30), st.integers(1, 20))
def test_truncate_never_exceeds_the_limit_and_changes_nothing_shorter(text, limit):
    cut = truncate(text, limit)
    assert len(cut) <= limit
    assert cut == text or (len(text) > limit and cut.endswith("…"))


def test_a_name_is_at_most_256_characters_on_one_line():
    assert clean_name("a\nb") == "a\\nb"
    assert len(clean_name("x" * 1000)) == 256
    assert clean_name(7) == "7"
