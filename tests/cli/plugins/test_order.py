"""``thea plugins order`` shows the chain of a hook."""

from __future__ import annotations

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits

LATE = "from thea_core import hookimpl\n@hookimpl\ndef on_message(user_id): ...\n"
EARLY = "from thea_core import hookimpl\n@hookimpl(priority=9)\nasync def on_message(user_id): ...\n"
WRAPPER = "from thea_core import hookimpl\n@hookimpl(wrapper=True)\ndef on_message():\n    yield\n"


def test_callbacks_stand_in_the_order_in_which_they_run(cli: Command, site: FakeSite) -> None:
    site.plugin(LATE, name="late", value="late_plugin")
    site.plugin(EARLY, name="early", value="early_plugin")
    site.plugin(WRAPPER, name="around", value="around_plugin")
    cli.write('[plugins]\nenabled = ["late", "early", "around"]\n')
    shown = cli.json("plugins", "order", "on_message")
    assert [each["plugin"] for each in shown["callbacks"]] == ["around", "early", "late"]
    assert [each["async"] for each in shown["callbacks"]] == [False, True, False]
    text = cli.ok("plugins", "order", "on_message")
    assert "priority 9, enabled[1]" in text
    assert "wrapper, " in text


def test_limits_and_deliveries_are_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(EARLY, name="early", value="early_plugin")
    site.plugin(LATE.replace("@hookimpl", "@hookimpl(timeout=None)"), name="late", value="late_plugin")
    cli.write('[plugins]\nenabled = ["early", "late"]\n[plugins.early]\ndelivery = "background"\n')
    shown = cli.json("plugins", "order", "on_message")["callbacks"]
    assert [(each["timeout"], each["delivery"]) for each in shown] == [(2.0, "background"), (None, "inline")]
    early, late = cli.ok("plugins", "order", "on_message").splitlines()[1:]
    assert "-           2 s         background  " in early
    assert "-           unlimited   inline      " in late


def test_life_cycle_hooks_have_limits_of_their_own(cli: Command, site: FakeSite) -> None:
    site.plugin("from thea_core import hookimpl\n@hookimpl\ndef on_startup(app): ...\n")
    cli.write('[plugins]\nenabled = ["weather"]\n')
    _, line = cli.ok("plugins", "order", "on_startup").splitlines()
    assert "-           -           -         " in line


def test_the_store_is_not_opened(cli: Command) -> None:
    cli.write("[plugins]\nenabled = []\n")
    assert cli.ok("plugins", "order", "on_error") == "No callback of on_error is enabled.\n"
    assert not (cli.directory / "thea.db").exists()


def test_an_unknown_hook_is_refused_with_the_one_that_was_meant(cli: Command) -> None:
    result = cli("plugins", "order", "on_mesage")
    assert result.exit_code == exits.FAILED
    assert "error[unknown-hook]" in result.stderr
    assert "did you mean on_message?" in result.stderr


def test_a_plugin_that_is_left_out_is_told(cli: Command, site: FakeSite) -> None:
    site.plugin("1 / 0")
    cli.write('[plugins]\nenabled = ["weather"]\n')
    result = cli("plugins", "order", "on_message")
    assert result.exit_code == exits.OK
    assert "warning: " in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_without_plugins_nothing_is_loaded(cli: Command, site: FakeSite) -> None:
    site.plugin("1 / 0")
    cli.write('[plugins]\nenabled = ["weather"]\n')
    result = cli("--no-plugins", "plugins", "order", "on_message")
    assert (result.exit_code, result.stderr) == (exits.OK, "")


def test_a_guard_is_not_left_out_in_silence(cli: Command, site: FakeSite) -> None:
    site.plugin(LATE)
    cli.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\non_failure = "veto"\n')
    refused = cli("plugins", "order", "on_message", "--no-plugins")
    assert refused.exit_code == exits.PLUGIN
    assert refused.stderr.startswith("error[guard-required]")
    assert cli("plugins", "order", "on_message", "--no-plugins", "--without-guards").exit_code == exits.OK
