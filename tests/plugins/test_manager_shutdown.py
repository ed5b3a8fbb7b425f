"""The end: in reverse order, under one deadline, whatever plugins do."""

from __future__ import annotations

import logging
import threading

import pytest

from tests.plugins.running import Application, Recording, running
from thea_core.errors import PluginError
from thea_core.markers import hookimpl


class Slow(Recording):
    """Takes its time, by the injected clock, to shut down."""

    def __init__(self, name, seconds, notes):
        super().__init__(name, notes)
        self.seconds = seconds
        self.clock = None

    @hookimpl
    def on_startup(self, app):
        self.clock = app.clock

    @hookimpl
    def on_shutdown(self, timeout):
        super().on_shutdown(timeout)
        self.clock.advance(self.seconds)


def test_the_last_that_was_started_is_the_first_and_each_gets_what_is_left_of_the_deadline():
    notes = []
    app = Application(objects=[Slow("first", 0, notes), Slow("second", 9, notes), Slow("third", 2, notes)])
    app.start()
    app.close(timeout=10.0)
    assert notes == [("stop", "third", 10.0), ("stop", "second", 8.0), ("stop", "first", 0.0)]
    assert set(app.states().values()) == {"stopped"}


def test_those_that_are_still_running_see_the_events_of_one_that_is_shut_down():
    class Chatty(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            app.say()

    first, last = Recording("first"), Chatty("last")
    with running(first, last) as app:
        pass
    assert first.notes == [("start", "first"), ("message", "first"), ("stop", "first", 5.0)]
    assert last.notes == [("start", "last")]


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit("boom")])
def test_what_one_raises_is_logged_and_the_others_are_shut_down(caplog, error):
    class Broken(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            raise error

    first = Recording("first")
    with running(first, Broken("broken")):
        pass
    assert first.notes[-1] == ("stop", "first", 5.0)
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "plugin 'broken' (" in record.getMessage()


def test_what_one_has_to_say_at_its_end_is_told_in_its_own_words(caplog):
    class Losing(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            raise PluginError("12 events lost: HTTP 500", plugin="losing")

    with running(Losing("losing")) as app:
        pass
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.getMessage() == "plugin 'losing': 12 events lost: HTTP 500"
    assert [each.reason for each in app.plugins] == [record.getMessage()]


def test_an_error_about_another_plugin_names_the_one_that_raised_it(caplog):
    class Broken(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            raise PluginError("no plugin 'x' is installed", plugin="x")

    with running(Broken("broken")):
        pass
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "plugin 'broken' (" in record.getMessage()
    assert "cannot be shut down: no plugin 'x' is installed" in record.getMessage()


def test_one_that_hangs_is_left_behind_and_the_others_are_shut_down(caplog):
    go_on = threading.Event()

    class Hanging(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            go_on.wait(10)

    first = Recording("first")
    app = Application(objects=[first, Hanging("hanging")])
    app.start()
    app.close(timeout=0.0)
    go_on.set()
    assert first.notes[-1] == ("stop", "first", 0.0)
    assert "its on_shutdown is still running" in caplog.text


def test_a_call_that_hangs_takes_half_of_the_time_at_most_and_only_once(caplog):
    entered, go_on = threading.Event(), threading.Event()

    class Hanging(Recording):
        @hookimpl
        def on_message(self, message):
            entered.set()
            go_on.wait(10)

    app = Application(objects=[Hanging("first"), Recording("second")])
    app.start()
    call = threading.Thread(target=app.say, daemon=True)
    call.start()
    assert entered.wait(10)
    app.close(timeout=0.02)
    go_on.set()
    call.join(10)
    warnings = [each.getMessage() for each in caplog.records if "still under way" in each.getMessage()]
    assert warnings == ["calls are still under way while the plugin 'second' is shut down"]


def test_the_second_time_nothing_happens():
    plugin = Recording("plugin")
    with running(plugin) as app:
        app.close()
        notes = list(plugin.notes)
    assert plugin.notes == notes


def test_a_plugin_that_is_enabled_while_the_application_ends_is_shut_down_again():
    starting, go_on = threading.Event(), threading.Event()

    class Late(Recording):
        late = False

        @hookimpl
        def on_startup(self, app):
            super().on_startup(app)
            if self.late:
                starting.set()
                go_on.wait(10)

    late, failures = Late("late"), []
    app = Application(objects=[late])
    app.start()
    app.plugins.disable("late")
    late.late = True

    def enable():
        try:
            app.plugins.enable("late")
        except Exception as error:
            failures.append(str(error))

    enabling = threading.Thread(target=enable, daemon=True)
    enabling.start()
    assert starting.wait(10)
    app.close(timeout=0.0)
    go_on.set()
    enabling.join(10)
    assert "the application was closed meanwhile" in failures[0]
    assert late.notes[-2:] == [("start", "late"), ("stop", "late", 0.0)]
    assert app.callbacks.chain("on_message") == []


def test_one_that_is_being_disabled_when_the_time_is_up_is_not_shut_down_twice():
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            super().on_shutdown(timeout)
            entered.set()
            go_on.wait(10)

    slow = Slow("slow")
    app = Application(objects=[slow])
    app.start()
    disabling = threading.Thread(target=app.plugins.disable, args=("slow",), daemon=True)
    disabling.start()
    assert entered.wait(10)
    app.close(timeout=0.0)
    go_on.set()
    disabling.join(10)
    assert slow.notes == [("start", "slow"), ("stop", "slow", 5.0)]
    assert app.states() == {"slow": "disabled"}
