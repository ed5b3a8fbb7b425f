"""How failures are logged: each distinct one once with its traceback, then counted."""

from __future__ import annotations

import gc
import logging
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

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


class WithoutNameError(type):
    """Its classes have no name: a metaclass may do anything."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise SystemExit("from __qualname__")
        return super().__getattribute__(name)


class HostileError(Exception, metaclass=WithoutNameError):
    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise SystemExit("from __traceback__")


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

    def test_an_exception_that_raises_when_it_is_looked_at_stops_no_chain(
        self, callbacks: CallbackManager, fire: Callable[..., None], caplog: pytest.LogCaptureFixture
    ) -> None:
        ran = []

        def bad() -> None:
            raise HostileError("the reason")

        callbacks.register("on_message", bad)
        callbacks.register("on_message", lambda: ran.append("after"))
        for _ in range(10):
            fire("on_message", **MESSAGE)
        assert len(ran) == 10
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert "(an exception without a name: the reason)" in caplog.messages[0]
        assert "in bad" in caplog.messages[0]

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


class TestSummary:
    @staticmethod
    def raised(function: Callable[[], object]) -> BaseException:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 -- any
            function()
        return caught.value

    def test_the_count_is_told_each_time_it_has_grown_tenfold(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, LOGGER)
        log, error = FailureLog(), self.raised(fail)
        for _ in range(1234):
            log.report("shop", "on_message", "Shop.count", error)
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        place = f"{__file__}:{fail.__code__.co_firstlineno + 1}"
        assert [each.getMessage() for each in warnings] == [
            f"plugin 'shop', callback Shop.count failed in on_message {count} times so far (ValueError at {place})"
            for count in (10, 100, 1000)
        ]
        assert len(caplog.records) == 1234  # one line a failure

    def test_it_has_no_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), self.raised(fail)
        for _ in range(10):
            log.report("shop", "on_message", "callback", error)
        assert [(record.levelname, bool(record.exc_info)) for record in caplog.records] == [
            ("ERROR", True),
            ("WARNING", False),
        ]

    def test_each_distinct_failure_has_a_count_of_its_own(self, caplog: pytest.LogCaptureFixture) -> None:
        log, errors = FailureLog(), [self.raised(fail), self.raised(fail_elsewhere)]
        for _ in range(9):
            for error in errors:
                log.report("shop", "on_message", "callback", error)
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        log.report("shop", "on_message", "callback", errors[0])
        assert caplog.records[2].getMessage().endswith(f"(ValueError at {__file__}:{fail.__code__.co_firstlineno + 1})")

    def test_failures_in_many_threads_are_all_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), ValueError("x")
        start = threading.Barrier(8)

        def work() -> None:
            start.wait()
            for _ in range(125):
                log.report("shop", "on_message", "callback", error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [record.levelname for record in caplog.records].count("ERROR") == 1
        told = [record.args[2] for record in caplog.records if isinstance(record.args, tuple) and record.levelno == 30]
        assert sorted(told) == [10, 100, 1000]

    def test_a_turn_and_an_observer_are_summed_up_too(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), ValueError("x")
        for _ in range(10):
            log.report_turn("executing", error)
            log.report_observer("watch", "on_message", error)
        assert caplog.messages[2:] == [
            "a turn failed in the state 'executing' 10 times so far (ValueError)",
            "observer watch failed in on_message 10 times so far (ValueError)",
        ]

    def test_a_turn_has_a_logger_of_its_own(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is told by ``on_error``, too: who reports that can leave the log's out, and keep those of callbacks."""
        caplog.set_level(logging.DEBUG, "thea_core")
        log, error = FailureLog(), ValueError("x")
        for _ in range(10):
            log.report_turn("executing", error)
        log.report("shop", "on_message", "callback", error)
        assert [record.name for record in caplog.records] == [*["thea_core.turns"] * 10, LOGGER]
        assert {record.levelname for record in caplog.records[:10]} == {"ERROR", "DEBUG", "WARNING"}


class TestWithoutTraceback:
    """What did not end in time has raised nothing: it has no traceback, and no place."""

    STACK = 'It hangs here:\n  File "shop.py", line 5, in wait\n    sleep(3600)\n'

    def test_no_empty_traceback_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        FailureLog().report("shop", "on_message", "wait", TimeoutError("not back within 2s"))
        (record,) = caplog.records
        assert record.exc_info is None
        assert record.getMessage() == (
            "plugin 'shop', callback wait failed in on_message; the others go on (TimeoutError: not back within 2s)"
        )

    def test_each_is_the_same_failure_whatever_its_text(self, caplog: pytest.LogCaptureFixture) -> None:
        log = FailureLog()
        for number in range(9):
            log.report("shop", "on_message", "wait", TimeoutError(f"number {number}"))
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        log.report("shop", "on_message", "wait", TimeoutError("number 10"))
        assert caplog.messages[1] == (
            "plugin 'shop', callback wait failed in on_message 10 times so far (TimeoutError)"
        )

    def test_details_follow_the_first_line_and_only_that(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, LOGGER)
        log = FailureLog()
        for _ in range(10):
            log.report("shop", "on_message", "wait", TimeoutError("not back within 2s"), detail=self.STACK)
        assert caplog.messages[0].splitlines()[1:] == self.STACK.splitlines()
        assert not any("shop.py" in each for each in caplog.messages[1:])

    def test_the_secrets_are_taken_out_of_them(self, caplog: pytest.LogCaptureFixture) -> None:
        log = FailureLog()
        log.redact = lambda text: text.replace("3600", "***")
        log.report("shop", "on_message", "wait", TimeoutError("not back"), detail=self.STACK)
        assert "sleep(***)" in caplog.text

    def test_an_exception_with_a_traceback_has_both(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), TestSummary.raised(fail)
        log.report("shop", "on_message", "wait", error, detail=self.STACK)
        (record,) = caplog.records
        assert "in wait" in record.getMessage()
        assert record.exc_info is not None

    def test_where_both_hold_secrets_none_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), TestSummary.raised(fail)
        log.redact = lambda text: text.replace("reason", "***").replace("3600", "***")
        log.report("shop", "on_message", "wait", error, detail=self.STACK)
        assert "in wait" in caplog.text
        assert "in fail" in caplog.text
        assert "3600" not in caplog.text
        assert "reason" not in caplog.text


class TestFailureLog:
    def test_it_remembers_the_last_1000_distinct_failures(self, caplog: pytest.LogCaptureFixture) -> None:
        log, error = FailureLog(), ValueError("x")
        for number in range(1001):
            log.report("shop", "on_message", f"callback {number}", error)
        log.report("shop", "on_message", "callback 1000", error)
        log.report("shop", "on_message", "callback 0", error)
        assert len(caplog.records) == 1002

    def test_what_it_remembers_of_one_is_short_however_long_the_names_are(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        kind = type("x" * 10**6, (Exception,), {})
        code = compile("raise kind", "y" * 10**6, "exec")
        log, error = FailureLog(), TestSummary.raised(lambda: exec(code, {"kind": kind}))
        for _ in range(10):
            log.report("shop", "on_message", "callback", error)
        assert len(caplog.messages[1]) < 1500

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

    def test_a_long_name_is_cut(self) -> None:
        assert short_text(type("x" * 10**6, (Exception,), {})()) == "x" * 200

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


def test_the_failures_of_each_plugin_are_counted() -> None:
    failures = FailureLog()
    for plugin, hook in [("shop", "on_message"), ("shop", "on_error"), ("shop", "on_error"), ("other", "on_error")]:
        failures.report(plugin, hook, "hear", ValueError("down"))
    assert [failures.of_plugin(name) for name in ("shop", "other", "nobody")] == [3, 1, 0]
