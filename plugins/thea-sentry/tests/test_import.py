"""``sentry_sdk`` takes half a second to import: whoever does not need it does not pay for it."""

from __future__ import annotations

import subprocess
import sys

CHECK = "import sys; assert not [each for each in sys.modules if each.split('.')[0] == 'sentry_sdk']\n"


def _run(program):
    return subprocess.run(
        [sys.executable, "-c", program + CHECK], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_package_and_its_settings_import_no_sdk():
    done = _run("import thea_sentry; thea_sentry.SentryPlugin(thea_sentry.SentrySettings(dsn='https://k@h/1'))\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_enabled_without_a_dsn_it_imports_no_sdk():
    done = _run(
        "from thea_core import Thea\n"
        "from thea_sentry import SentryPlugin\n"
        "with Thea({'store': {'url': 'memory:'}}, plugins=[SentryPlugin()]) as thea:\n"
        "    thea.handle_request('ana', 'hola')\n"
        "    thea.callbacks.trigger('on_error', user_id='ana', error=ValueError(), traceback='')\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "nothing is reported: set `dsn`" in done.stderr


def test_its_information_imports_no_sdk(tmp_path):
    (tmp_path / "thea.toml").write_text('[plugins]\nenabled = ["sentry"]\n', encoding="utf-8")
    done = _run(
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "from thea_core.cli import main\n"
        "sys = __import__('sys'); sys.argv = ['thea', 'plugins', 'info', 'sentry', '--load']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
    )
    assert done.returncode == 0, done.stderr
    for name in ("dsn", "trail_length", "include_error_text"):
        assert name in done.stdout
