"""What is kept of an event: nothing about a person, unless it is asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core import RecordedError
from thea_core.callbacks.event_json import NotKept, TextLength
from thea_core.callbacks.privacy import Redaction, render, user_hash

KEY = b"0123456789abcdef"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "hunter2"


def raised(error: BaseException) -> BaseException:
    """Return the exception as one that was raised, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def family() -> BaseException:
    """Return an exception with a cause, with what was being handled, members and notes."""
    try:
        try:
            try:
                raise LookupError("first: ana")  # noqa: TRY301 -- the chain is what it is about
            except LookupError:
                raise KeyError("second: ana")  # noqa: B904 -- the same
        except KeyError as error:
            raise RuntimeError("third: ana") from error
    except RuntimeError as error:
        error.add_note("a note: ana")
        group = ExceptionGroup("several: ana", [raised(ValueError(f"member {n}: ana")) for n in range(12)])
        group.__cause__ = error
        return raised(group)


def redaction(**options: Any) -> Redaction:
    return Redaction(key=KEY, **options)


class TestByDefault:
    def test_of_a_message_the_length_is_kept_and_of_the_user_a_hash(self) -> None:
        given_ = {"user_id": "ana", "message": "Agendar reunión", "timestamp": NOON, "event_id": "e", "session_id": "s"}
        assert redaction()("on_message", given_) == given_ | {
            "user_id": user_hash("ana", KEY),
            "message": TextLength(15),
        }

    @pytest.mark.parametrize(
        ("hook", "arguments"),
        [
            ("on_state_change", {"old_state": "idle", "new_state": "processing"}),
            ("on_intent_detected", {"intent": "agenda", "score": 0.5}),
            ("on_agent_delegated", {"agent": "agenda", "intent": "agenda"}),
            ("on_session_timeout", {"session_id": "s-1"}),
            ("on_plugin_health", {"plugin": "shop", "hook": "on_message", "state": "open"}),
        ],
    )
    def test_names_of_the_application_are_kept(self, hook: str, arguments: dict[str, Any]) -> None:
        kept = redaction()(hook, {"user_id": "ana", **arguments})
        assert kept == {"user_id": user_hash("ana", KEY), **arguments}

    def test_of_an_error_class_and_frames_are_kept_and_no_text(self) -> None:
        kept = redaction()("on_error", {"user_id": "ana", "error": family(), "traceback": "ana"})
        error = kept["error"]
        assert type(error) is RecordedError
        assert (error.type_name, error.message) == ("builtins.ExceptionGroup", "<32 characters left out>")
        assert "in raised" in error.traceback
        assert "RuntimeError: <10 characters left out>" in error.traceback
        assert error.traceback == kept["traceback"]
        texts = [line for line in error.traceback.splitlines() if "ana" in line]
        assert all(line.lstrip().startswith(("raise ", "group = ")) for line in texts), "not even in a line of source"

    def test_of_an_error_that_is_only_text_no_text_is_kept(self) -> None:
        error = RecordedError("builtins.ValueError", "ana", "Traceback: ana")
        kept = redaction()("on_error", {"user_id": "ana", "error": error, "traceback": "ana"})
        assert kept["error"].to_json() == {
            "type_name": "builtins.ValueError",
            "message": "<3 characters left out>",
            "traceback": "",
        }
        assert kept["traceback"] == ""

    def test_an_error_without_a_text_has_none_left_out(self) -> None:
        assert redaction()("on_error", {"error": ValueError()})["error"].message == ""

    def test_of_hooks_that_are_not_theas_texts_and_what_may_hold_some_are_left_out(self) -> None:
        given_ = {
            "user_id": "ana",
            "note": "for ana",
            "names": ["ana"],
            "paid": True,
            "sum": 9.5,
            "when": NOON,
            "x": None,
        }
        kept = redaction()("on_order", given_ | {"error": ValueError("ana")})
        assert kept.pop("error").message == "<3 characters left out>"
        assert kept == given_ | {
            "user_id": user_hash("ana", KEY),
            "note": TextLength(7),
            "names": NotKept("list"),
        }

    @pytest.mark.parametrize(("user_id", "kept"), [(7, user_hash("7", KEY)), (None, NotKept("NoneType"))])
    def test_a_user_id_that_is_no_text_is_not_kept_either(self, user_id: Any, kept: Any) -> None:
        assert redaction()("on_message", {"user_id": user_id})["user_id"] == kept

    @given(st.text(st.characters(exclude_categories=())))
    def test_every_text_has_a_hash(self, user_id: str) -> None:
        assert len(user_hash(user_id, KEY)) == 16


class TestWhereItIsAskedFor:
    def test_texts_are_kept(self) -> None:
        error = raised(ValueError("for ana"))
        given_ = {"user_id": "ana", "message": "hola", "error": error, "traceback": "as it came"}
        kept = redaction(messages=True)("on_error", given_)
        assert (kept["message"], kept["traceback"]) == ("hola", "as it came")
        assert kept["error"].message == "for ana"
        assert kept["user_id"] == user_hash("ana", KEY)

    def test_errors_that_were_written_down_are_kept(self) -> None:
        error = RecordedError("a", "b", "c")
        assert redaction(messages=True)("on_error", {"error": error})["error"].to_json() == error.to_json()

    def test_user_ids_are_kept(self) -> None:
        assert redaction(user_ids=True)("on_message", {"user_id": "ana", "message": "hola"}) == {
            "user_id": "ana",
            "message": TextLength(4),
        }

    @pytest.mark.parametrize("messages", [True, False])
    def test_secrets_are_taken_out_of_errors_all_the_same(self, messages: bool) -> None:
        clean = redaction(messages=messages, secrets=lambda text: text.replace(SECRET, "***").replace("raised", "***"))
        error = raised(ValueError(f"no {SECRET}"))
        kept = clean("on_error", {"error": error, "traceback": f"of {SECRET}"})
        assert all(SECRET not in text for text in (*kept["error"].to_json().values(), kept["traceback"]))
        assert "in ***" in kept["error"].traceback


class TestForeignObjects:
    def test_an_error_whose_class_raises_is_still_an_error(self) -> None:
        class Nameless(type):
            @property
            def __module__(cls) -> str:  # type: ignore[override]
                raise SystemExit

        class OddError(Exception, metaclass=Nameless):
            pass

        for messages in (True, False):
            kept = redaction(messages=messages)("on_error", {"error": OddError()})
            assert (kept["error"].type_name, "SystemExit" in kept["error"].message) == ("?", True)

    def test_an_interrupt_passes(self) -> None:
        class InterruptingError(Exception):
            def __str__(self) -> str:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            redaction()("on_error", {"error": InterruptingError()})

    def test_a_chain_without_end_ends(self) -> None:
        one, other = ValueError("one"), ValueError("other")
        one.__cause__, other.__cause__ = other, one
        assert render(one, str).count("direct cause") == 1
        first = error = ValueError("0")
        for number in range(1, 50):
            error.__cause__ = error = ValueError(str(number))
        assert render(first, str).count("direct cause") == 19

    def test_a_group_in_a_group_is_shown_three_deep(self) -> None:
        group: Exception = ValueError("inmost")
        for _ in range(5):
            group = ExceptionGroup("g", [group])
        text = render(group, str)
        assert text.count("in the group") == 3
        assert "-- and 1 more" in text


@pytest.mark.plugins
class TestLikeThePluginLogging:
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_a_user_has_the_same_hash_in_the_log(self, user_id: str) -> None:
        import thea_logging

        assert user_hash(user_id, KEY) == thea_logging.user_hash(user_id, KEY.decode())

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ValueError("never raised"),
            lambda: raised(ValueError("two\nlines")),
            lambda: RecordedError("builtins.ValueError", "text", "trace"),
            family,
        ],
        ids=["fresh", "raised", "recorded", "family"],
    )
    def test_a_traceback_without_texts_is_the_same(self, make: Any) -> None:
        from thea_logging.errors import render as render_of_the_plugin

        def clean(text: str) -> str:
            return f"<{len(text)}>"

        error = make()
        assert render(error, clean) == render_of_the_plugin(error, clean)
