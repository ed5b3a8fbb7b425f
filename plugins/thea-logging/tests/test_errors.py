"""How an exception is written into the log."""

from __future__ import annotations

import traceback

import pytest

from thea_core import RecordedError
from thea_logging.errors import error_text, error_type, is_plain, render


class _UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("secret")


def _raised_from(error, cause):
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def _raised_while_handling(error, handled):
    error.__context__ = _raised_from(handled, None)
    return error


def _upper(text):
    return text.upper()


class TestType:
    def test_a_builtin_needs_no_module(self):
        assert error_type(ValueError()) == "ValueError"

    def test_others_name_theirs(self):
        assert error_type(_UnprintableError()).endswith("test_errors._UnprintableError")

    def test_a_recorded_error_names_the_class_that_it_stands_for(self):
        assert error_type(RecordedError("builtins.KeyError", "k")) == "KeyError"
        assert error_type(RecordedError("app.Broken", "k")) == "app.Broken"


class TestText:
    def test_is_what_str_gives(self):
        assert error_text(ValueError("boom")) == "boom"

    def test_of_a_recorded_error_is_its_message(self):
        assert error_text(RecordedError("builtins.KeyError", "'name'")) == "'name'"

    def test_is_a_note_where_str_raises(self):
        assert error_text(_UnprintableError()) == "<str() of the exception raised RuntimeError>"


class TestIsPlain:
    def test_an_ordinary_error_is(self):
        assert is_plain(_raised_from(ValueError("one"), KeyError("two")))

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("hi\nERROR forged"),
            _raised_from(ValueError("fine"), ValueError("\x1b[2J")),
            _raised_while_handling(ValueError("fine"), ValueError("\u2028")),
            ExceptionGroup("fine", [ValueError("fine"), ValueError("a\rb")]),
            SyntaxError("invalid", ("<text>", 1, 1, "what the \x1b[31muser wrote", 1, 2)),
        ],
        ids=["itself", "cause", "context", "group", "syntax"],
    )
    def test_an_error_that_could_forge_a_line_is_not(self, error):
        assert not is_plain(error)

    def test_an_error_with_a_note_that_could_forge_a_line_is_not(self):
        error = ValueError("fine")
        error.add_note("a\nb")
        assert not is_plain(error)

    def test_ends_where_exceptions_lead_to_each_other(self):
        first, second = ValueError("one"), ValueError("two")
        first.__cause__, second.__cause__ = second, first
        assert is_plain(first)


class TestRender:
    def test_has_pythons_own_lines_for_an_ordinary_chain(self):
        error = _raised_from(ValueError("one"), _raised_while_handling(KeyError("two"), OSError("three")))
        assert render(error, str) == "".join(traceback.format_exception(error)).rstrip("\n")

    def test_cleans_the_text_of_every_exception_and_note(self):
        error = _raised_from(ValueError("one"), _raised_while_handling(ValueError("two"), ValueError("three")))
        error.add_note("four")
        lines = render(error, _upper).splitlines()
        texts = [line for line in lines if line.startswith("ValueError") or line == "FOUR"]
        assert texts == ["ValueError: THREE", "ValueError: TWO", "ValueError: ONE", "FOUR"]

    def test_shows_the_members_of_a_group(self):
        error = ExceptionGroup("both", [_raised_from(ValueError("a"), KeyError("b")), OSError("c")])
        text = render(error, _upper)
        assert "exception 1 of 2" in text
        assert "  ValueError: A" in text
        assert "  KeyError: 'B'" in text
        assert "  OSError: C" in text

    def test_shows_at_most_ten_members(self):
        text = render(ExceptionGroup("many", [ValueError(str(n)) for n in range(15)]), str)
        assert "ValueError: 9" in text
        assert "ValueError: 10" not in text
        assert "and 5 more" in text

    def test_ends_in_deeply_nested_groups(self):
        error: Exception = ValueError("deep")
        for _ in range(10):
            error = ExceptionGroup("level", [error])
        assert "and 1 more" in render(error, str)

    def test_ends_where_exceptions_lead_to_each_other(self):
        first, second = ValueError("one"), ValueError("two")
        first.__cause__, second.__cause__ = second, first
        assert render(first, str).count("ValueError") == 2

    def test_shows_at_most_twenty_exceptions_of_a_chain(self):
        error = ValueError("0")
        for number in range(1, 30):
            newer = ValueError(str(number))
            newer.__cause__, error = error, newer
        assert render(error, str).count("ValueError") == 20

    def test_leaves_out_a_context_that_was_suppressed(self):
        error = _raised_while_handling(ValueError("one"), KeyError("two"))
        error.__suppress_context__ = True
        assert "KeyError" not in render(error, str)

    def test_escapes_the_frames_too(self):
        space: dict[str, object] = {}
        exec(compile("def f():\n    raise ValueError('x')\n", "evil\x1b[2J\nname", "exec"), space)
        try:
            space["f"]()  # type: ignore[operator]
        except ValueError as error:
            text = render(error, str)
        assert "\x1b" not in text

    def test_ignores_notes_that_are_no_strings(self):
        error = ValueError("one")
        error.__notes__ = [3, "kept"]  # type: ignore[list-item]
        assert render(error, str) == "ValueError: one\nkept"
        error.__notes__ = 7  # type: ignore[assignment]
        assert render(error, str) == "ValueError: one"
