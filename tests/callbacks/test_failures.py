"""How failures are logged: each distinct one once with its traceback, then counted."""

from __future__ import annotations

import gc
import logging
import traceback
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.callbacks.helpers import MESSAGE, plug, say
from thea_core import CallbackManager, hookimpl
from thea_core.callbacks.failures import FailureLog, log_exception, short_text

LOGGER = "thea_core.callbacks"


def fail() -> None:
    raise ValueError("the reason")


def fail_elsewhere() -> None:
    raise ValueError("the reason")


class BadStringError(Exception):
    def __str__(self) -> str:
        raise SystemExit("from __str__")

    __repr__ = __str__


class RaisingHandler(logging.Handler):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@pytest.fixture
def raising_handler() -> Iterator[Callable[[type[BaseException]], None]]:
    logger, added = logging.getLogger(LOGGER), []

    def add(error: type[BaseException]) -> None:
        added.append(RaisingHandler(error))
        logger.addHandler(added[0])

    yield add
    logger.removeHandler(added[0])


class TestSecrets:
    @pytest.fixture
    def redacting(self, callbacks: CallbackManager) -> CallbackManager:
        callbacks.failures.redact = lambda text: text.replace("reason", "***")
        return callbacks

    def test_they_are_neither_in_the_log_nor_in_the_history(
        self, redacting: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        redacting.register("on_message", fail)
        say(redacting)
        assert "the ***" in caplog.text
        assert "in fail" in caplog.text  # the traceback is there
        assert [each.error for each in redacting.history] == ["ValueError: the ***"]
        # The line of the source that raised holds the text as well.
        assert "the reason" not in caplog.text

    def test_an_exception_without_any_is_logged_as_it_is(
        self, redacting: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        redacting.register("on_message", lambda: 1 / 0)
        say(redacting)
        assert caplog.records[0].exc_info is not None


class TestLogging:
    def test_a_failure_is_logged_with_whose_which_hook_and_traceback(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        callbacks.register("on_message", fail)
        say(callbacks)
        (record,) = caplog.records
        assert (record.name, record.levelname) == (LOGGER, "ERROR")
        assert record.getMessage() == (
            "local callback fail failed in on_message; the others go on (ValueError: the reason)"
        )
        assert record.exc_info is not None
        assert record.exc_info[2].tb_next.tb_frame.f_code is fail.__code__

    def test_a_plugins_failure_names_the_plugin(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Plugin:
            @hookimpl
            def on_message(self) -> None:
                raise ValueError

        plug(callbacks, Plugin())
        say(callbacks)
        assert caplog.records[0].getMessage().startswith("plugin 'shop', callback ")

    def test_the_same_failure_again_is_counted_at_debug_without_traceback(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, LOGGER)
        callbacks.register("on_message", fail)
        for _ in range(3):
            say(callbacks)
        assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG", "DEBUG"]
        assert caplog.records[2].getMessage() == "local callback fail failed in on_message again; 3 times so far"
        assert caplog.records[2].exc_info is None

    def test_another_callback_hook_exception_or_place_is_another_failure(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        def through() -> None:
            fail()

        def another() -> None:
            raise [KeyError, TypeError][len(caplog.records) % 2]

        for callback in (fail, fail_elsewhere, through, another):
            with callbacks.register("on_message", callback):
                say(callbacks)
        with callbacks.register("on_message", another):
            say(callbacks)
        with callbacks.register("on_error", fail):
            callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")
        assert [record.levelname for record in caplog.records] == ["ERROR"] * 6

    def test_an_exception_without_text_is_logged_by_its_type(
        self, callbacks: CallbackManager, fire: Callable[..., None], caplog: pytest.LogCaptureFixture
    ) -> None:
        def bad() -> None:
            raise BadStringError

        callbacks.register("on_message", bad)
        fire("on_message", **MESSAGE)
        assert "(BadStringError: <str() of the exception raised SystemExit>)" in caplog.records[0].getMessage()

    @pytest.mark.parametrize("error", [RuntimeError, SystemExit, GeneratorExit])
    def test_a_log_handler_that_raises_stops_no_chain(
        self,
        callbacks: CallbackManager,
        fire: Callable[..., None],
        raising_handler: Callable[[type[BaseException]], None],
        error: type[BaseException],
    ) -> None:
        ran = []
        raising_handler(error)
        callbacks.register("on_message", fail)
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["after"]

    def test_ctrl_c_in_a_log_handler_passes(
        self, callbacks: CallbackManager, raising_handler: Callable[[type[BaseException]], None]
    ) -> None:
        raising_handler(KeyboardInterrupt)
        callbacks.register("on_message", fail)
        with pytest.raises(KeyboardInterrupt):
            say(callbacks)

    def test_a_log_handler_that_fires_the_event_again_is_refused(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        handler = logging.Handler()
        handler.emit = lambda record: say(callbacks)
        callbacks.register("on_message", fail)
        logging.getLogger(LOGGER).addHandler(handler)
        try:
            say(callbacks)
        finally:
            logging.getLogger(LOGGER).removeHandler(handler)
        assert len(callbacks.history) == 1

    def test_an_exception_that_is_being_handled_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        try:
            fail()
        except ValueError:
            log_exception("%s failed", "it")
        assert caplog.records[0].getMessage() == "it failed"
        assert caplog.records[0].exc_info is not None


class TestFailureLog:
    def test_it_remembers_the_last_1000_distinct_failures(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), ValueError("x")
        for number in range(1001):
            log.report("shop", "on_message", f"callback {number}", error)
        log.report("shop", "on_message", "callback 1000", error)
        log.report("shop", "on_message", "callback 0", error)
        assert len(caplog.records) == 1002

    def test_it_keeps_neither_the_exception_nor_its_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class OwnError(Exception):
            pass

        monkeypatch.setattr(logging.getLogger(LOGGER), "disabled", True)  # pytest keeps what is logged
        log, error = FailureLog(), OwnError("x")
        log.report("shop", "on_message", "callback", error)
        watched = [weakref.ref(error), weakref.ref(OwnError)]
        del error, OwnError
        gc.collect()
        assert [each() for each in watched] == [None, None]


def test_an_exception_that_is_raised_again_and_again_does_not_keep_all_its_frames() -> None:
    """Python adds the frames of every raise to the traceback of the one object."""
    error = ValueError("one for all")
    failures = FailureLog()
    longest = 0
    for _ in range(5000):
        try:
            raise error
        except ValueError:
            failures.report("p", "on_message", "callback", error)
        longest = max(longest, sum(1 for _ in traceback.walk_tb(error.__traceback__)))
    assert 1 < longest <= 2000


class TestShortText:
    def test_it_is_the_type_and_the_text_on_one_line(self) -> None:
        assert short_text(ValueError("two\n  lines\t")) == "ValueError: two lines"

    def test_an_exception_without_text_is_its_type(self) -> None:
        assert short_text(ValueError()) == "ValueError"

    def test_a_long_text_is_cut(self) -> None:
        assert short_text(ValueError("x" * 10**6)) == "ValueError: " + "x" * 200

    def test_a_subclass_of_str_that_misbehaves_does_no_harm(self) -> None:
        class Text(str):
            __slots__ = ()

            def split(self, *_: object) -> list[str]:
                raise SystemExit

            __getitem__ = split

        class OddError(Exception):
            def __str__(self) -> str:
                return Text("odd")

        assert short_text(OddError()) == (f"{OddError.__qualname__}: odd")


def test_what_a_guards_failure_means_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A guard that fails refuses the transition: nothing goes on."""
    FailureLog().report("bouncer", "pre_transition", "check", ValueError("down"), guard=True)
    assert caplog.messages == [
        "guard 'bouncer', callback check failed in pre_transition; the transition is refused (ValueError: down)"
    ]
