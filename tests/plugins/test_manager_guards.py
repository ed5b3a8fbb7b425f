"""Guards: the application does not start, and does not go on, without them unless it is told to."""

from __future__ import annotations

import pytest

from tests.plugins.running import Application, Recording, running
from thea_core.errors import GuardRequiredError, GuardUnavailableError, PluginLoadError
from thea_core.fsm import FSMEngine
from thea_core.markers import hookimpl
from thea_core.plugins.entries import PluginOptions

GUARD = {"guard": PluginOptions(guard=True, required=True)}
CONTEXT = {"user_id": "ana", "state": "initial"}


class Guard(Recording):
    error: Exception | None = None

    @hookimpl
    def pre_transition(self, context):
        if self.error is not None:
            raise self.error


class BrokenGuard(Guard):
    @hookimpl
    def on_startup(self, app):
        raise ValueError("boom")


def engine(app):
    return FSMEngine(callbacks=app.callbacks)


def test_a_guard_that_fails_in_a_transition_refuses_it():
    guard = Guard("guard")
    with running(guard, tables=GUARD) as app:
        fsm = engine(app)
        assert fsm.handle("processing", CONTEXT)["state"] == "processing"
        guard.error = ValueError("boom")
        with pytest.raises(GuardUnavailableError, match="boom"):
            fsm.handle("processing", CONTEXT)


def test_the_start_is_refused_where_a_guard_fails_and_those_that_were_started_are_shut_down():
    first = Recording("first")
    with (
        pytest.raises(GuardRequiredError, match=r"'guard' is a guard(.|\n)*boom(.|\n)*--without-guards") as caught,
        running(first, BrokenGuard("guard"), tables=GUARD),
    ):
        pass
    assert caught.value.plugin == "guard"
    assert isinstance(caught.value.__cause__, ValueError)
    assert first.notes == [("start", "first"), ("stop", "first", 5.0)]


def test_a_guard_is_required_though_only_on_failure_says_so():
    tables = {"guard": PluginOptions(guard=True)}
    with pytest.raises(GuardRequiredError), running(BrokenGuard("guard"), tables=tables):
        pass


def test_with_permission_a_guard_that_fails_is_left_out(caplog):
    with running(BrokenGuard("guard"), tables=GUARD, without_guards=True) as app:
        assert app.states() == {"guard": "failed"}
        assert "a plugin is left out: plugin 'guard'" in caplog.text
        assert engine(app).handle("processing", CONTEXT)["state"] == "processing"


def test_with_permission_a_guard_that_starts_still_guards():
    guard = Guard("guard")
    guard.error = ValueError("boom")
    with running(guard, tables=GUARD, without_guards=True) as app, pytest.raises(GuardUnavailableError):
        engine(app).handle("processing", CONTEXT)


@pytest.mark.parametrize("name", ["guard", "thea-guard", "Thea_Guard", "acme-policies"])
def test_the_start_is_refused_where_a_guard_is_not_installed_whatever_name_enables_it(site, name):
    with pytest.raises(GuardRequiredError), running(enabled=[name], tables=GUARD):
        pass


@pytest.mark.usefixtures("lantern")
def test_a_missing_plugin_is_no_guard_where_the_guard_is_just_not_enabled(site):
    site.module("guard_plugin", "")
    site.distribution("acme-policies", plugins={"guard": "guard_plugin"})
    with running(enabled=["lantern"], tables=GUARD) as app:
        assert app.states() == {"lantern": "failed"}


@pytest.mark.usefixtures("lantern")
def test_a_missing_plugin_is_no_guard_where_its_own_table_says_what_it_is(site):
    tables = {**GUARD, "lantern": PluginOptions(priority=1)}
    with running(enabled=["lantern"], tables=tables) as app:
        assert app.states() == {"lantern": "failed"}


def test_starting_without_plugins_is_refused_where_a_guard_is_enabled():
    with pytest.raises(GuardRequiredError, match="all plugins are switched off"):
        Application(objects=[Guard("guard")], tables=GUARD, no_plugins=True).start()


def test_starting_without_plugins_and_without_guards_is_possible():
    with running(Guard("guard"), tables=GUARD, no_plugins=True, without_guards=True) as app:
        assert app.states() == {"guard": "disabled"}


def test_a_guard_that_is_configured_but_not_enabled_is_not_missed():
    with running(tables=GUARD, no_plugins=True) as app:
        assert app.states() == {}


class TestDisable:
    def test_it_is_refused(self):
        with running(Guard("guard"), tables=GUARD) as app:
            with pytest.raises(GuardRequiredError, match="is a guard"):
                app.plugins.disable("guard")
            assert app.states() == {"guard": "running"}

    def test_it_is_allowed_by_the_argument(self):
        with running(Guard("guard"), tables=GUARD) as app:
            assert app.plugins.disable("guard", without_guards=True).state == "disabled"

    def test_it_is_allowed_where_the_application_may_run_without_guards(self):
        with running(Guard("guard"), tables=GUARD, without_guards=True) as app:
            assert app.plugins.disable("guard").state == "disabled"

    def test_a_guard_that_fails_to_come_back_is_told(self):
        guard = BrokenGuard("guard")
        with running(guard, tables=GUARD, without_guards=True) as app:
            with pytest.raises(PluginLoadError, match="boom"):
                app.plugins.enable("guard")
            assert app.states() == {"guard": "failed"}


def test_while_the_application_ends_no_transition_slips_by_a_guard():
    guard = Guard("guard")
    guard.error = ValueError("boom")
    outcomes = []

    class Last(Recording):
        """Started first, so shut down last: the guard is shut down already."""

        @hookimpl
        def on_shutdown(self, timeout):
            try:
                outcomes.append(engine(app).handle("processing", CONTEXT))
            except GuardUnavailableError:
                outcomes.append("refused")

    with running(Last("last"), guard, tables=GUARD) as app:
        pass
    assert outcomes == ["refused"]
    assert guard.notes[-1] == ("stop", "guard", 5.0)
