"""The tree of errors: codes, attributes, pickling, and writing errors down."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from thea_core import errors
from thea_core.errors import RecordedError, TheaError, error_text, format_traceback

CLASSES = [getattr(errors, name) for name in errors.__all__]

EXAMPLES = [
    errors.UnknownHookError("no such hook", hook="on_mesage"),
    errors.HookCallError("called wrongly"),
    errors.RegistrationError("does not fit", plugin="shop"),
    errors.CallbackLimitError("too many"),
    errors.DefinitionError(["one", "two"]),
    errors.IllegalTransitionError("no such transition", source="idle", target="executing"),
    errors.ContextError("not JSON", path="context['a']"),
    errors.ValidationError("empty"),
    errors.GuardUnavailableError("guard", "it raised"),
    errors.ConfigError(["one", "two"]),
    errors.PluginNotFoundError("not there", plugin="shop"),
    RecordedError("builtins.ValueError", "bad", "the traceback"),
]


class BadStringError(Exception):
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class CtrlCError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class TestTree:
    @pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
    def test_every_error_is_a_thea_error_with_a_docstring(self, kind: type[TheaError]) -> None:
        assert issubclass(kind, TheaError)
        assert kind.__doc__

    def test_every_class_has_a_code_of_its_own(self) -> None:
        codes = [kind.code for kind in CLASSES]
        assert len(set(codes)) == len(codes)
        assert all(code == code.lower().replace(" ", "-") for code in codes)

    @pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
    def test_the_tree_in_the_modules_docstring_shows_it_where_it_stands(self, kind: type[TheaError]) -> None:
        lines = errors.__doc__.splitlines()
        (line,) = [each for each in lines if kind.__name__ in each.replace("─", " ").replace("│", " ").split()]
        depth = line.index(kind.__name__) // 4 - 1
        assert depth == len([each for each in kind.__mro__ if issubclass(each, TheaError)]) - 1

    @pytest.mark.parametrize(
        ("kind", "builtin"),
        [
            (errors.UnknownHookError, LookupError),
            (errors.HookCallError, TypeError),
            (errors.ReentrancyError, RuntimeError),
            (errors.ContextError, ValueError),
            (errors.IllegalTransitionError, ValueError),
            (errors.InvalidRequestError, ValueError),
        ],
    )
    def test_those_that_mean_what_a_builtin_means_are_caught_as_that_too(
        self, kind: type[TheaError], builtin: type[Exception]
    ) -> None:
        assert issubclass(kind, builtin)

    def test_the_vetoes_are_vetoes(self) -> None:
        for kind in (errors.ValidationError, errors.AgentNotAvailableError, errors.GuardUnavailableError):
            assert issubclass(kind, errors.TransitionVeto)


class TestCrossingProcesses:
    @pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
    def test_an_error_is_pickled_and_copied_with_its_attributes(self, error: TheaError) -> None:
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is type(error)
            assert str(again) == str(error)
            assert again.args == error.args
            assert vars(again) == vars(error)


class TestMessages:
    def test_several_problems_are_told_at_once(self) -> None:
        assert str(errors.DefinitionError(["one", "two"])).splitlines()[1:] == ["  - one", "  - two"]
        assert str(errors.ConfigError(["one", "two"])) == "one\n\ntwo"

    def test_a_guard_says_which_and_why_and_what_to_do(self) -> None:
        text = str(errors.GuardUnavailableError("bouncer", "it raised"))
        assert "'bouncer'" in text
        assert "(it raised)" in text
        assert "--without-guards" in text


class TestRecordedError:
    def recorded(self) -> RecordedError:
        try:
            {}["lost"]
        except KeyError as error:
            return RecordedError.of(error)

    def test_it_keeps_type_message_and_traceback_as_text(self) -> None:
        error = self.recorded()
        assert error.type_name == "builtins.KeyError"
        assert error.message == "'lost'"
        assert error.traceback.startswith("Traceback (most recent call last):")
        assert str(error) == "builtins.KeyError: 'lost'"

    def test_it_is_an_exception_that_callbacks_can_raise(self) -> None:
        with pytest.raises(RecordedError):
            raise self.recorded()

    def test_its_json_form_leads_back(self) -> None:
        error = self.recorded()
        again = RecordedError.from_json(json.loads(json.dumps(error.to_json())))
        assert vars(again) == vars(error)

    def test_an_exception_without_text_is_recorded_with_a_note(self) -> None:
        error = RecordedError.of(BadStringError())
        assert error.message == "<str() of the exception raised SystemExit>"
        assert "BadStringError" in error.traceback


class TestText:
    def test_the_text_of_an_exception_is_its_str(self) -> None:
        assert error_text(ValueError("bad")) == "bad"

    def test_a_subclass_of_str_is_made_plain(self) -> None:
        class Text(str):
            __slots__ = ()

        class OddError(Exception):
            def __str__(self) -> str:
                return Text("odd")

        assert type(error_text(OddError())) is str

    def test_ctrl_c_while_formatting_passes(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            error_text(CtrlCError())

    def test_the_traceback_of_an_exception_that_cannot_be_formatted_is_a_note(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: BaseException) -> list[str]:
            raise error

        monkeypatch.setattr("traceback.format_exception", fail)
        error: BaseException = SystemExit()
        assert format_traceback(ValueError()) == "ValueError: <formatting the exception raised SystemExit>\n"
        error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            format_traceback(ValueError())
