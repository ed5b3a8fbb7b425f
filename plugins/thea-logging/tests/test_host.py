"""The plugin in a process of its own: a host that has configured nothing, and one that has."""

from __future__ import annotations

import json
import subprocess
import sys

FIRE = """
import logging
from datetime import UTC, datetime
from thea_logging import JsonLinesFormatter, LoggingPlugin, LoggingSettings

def fire(plugin):
    common = {"user_id": "alvaro_123", "event_id": "e", "session_id": "s", "timestamp": datetime.now(UTC)}
    plugin.on_startup()
    plugin.on_message(**common, message="hi\\nERROR forged")
    plugin.on_state_change(**common, old_state="idle", new_state="processing")
    try:
        raise ValueError("boom")
    except ValueError as error:
        plugin.on_error(**common, error=error, traceback="")
    plugin.on_session_timeout(**common)
    plugin.on_intent_detected(**common, intent="agenda", score=1.0)
    plugin.on_agent_delegated(**common, agent="AgendaAgent", intent="agenda")
    plugin.on_shutdown()
"""

NAMES = [
    "thea.message",
    "thea.state_change",
    "thea.error",
    "thea.session_timeout",
    "thea.intent_detected",
    "thea.agent_delegated",
]


def _run(program):
    return subprocess.run(
        [sys.executable, "-c", FIRE + program], capture_output=True, text=True, check=True, timeout=60
    )


def test_an_unconfigured_host_stays_silent_and_its_root_logger_bare():
    done = _run("fire(LoggingPlugin())\nassert not logging.getLogger().handlers\nassert logging.root.level == 30\n")
    assert (done.stdout, done.stderr) == ("", "")


def test_json_to_standard_error_needs_no_configuration_by_the_host():
    done = _run("fire(LoggingPlugin(LoggingSettings(handler='json-stderr', include_message_text=True)))\n")
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event.name"] for line in lines] == NAMES
    assert lines[0]["thea.message.text"] == "hi\\nERROR forged"
    assert lines[2]["error.stack_trace"].endswith("ValueError: boom")


def test_a_host_with_a_json_formatter_of_its_own_gets_one_line_for_each_event():
    done = _run("""
import json

class Own(logging.Formatter):
    def format(self, record):
        fields = {key: value for key, value in vars(record).items() if "." in key}
        return json.dumps(fields | {"message": record.getMessage()})

handler = logging.StreamHandler()
handler.setFormatter(Own())
logging.basicConfig(level="INFO", handlers=[handler])
fire(LoggingPlugin())
""")
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == NAMES


def test_a_host_with_a_plain_format_gets_the_names_of_the_events():
    done = _run("logging.basicConfig(level='INFO', format='%(levelname)s %(message)s')\nfire(LoggingPlugin())\n")
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith(("INFO", "WARNING", "ERROR"))] == [
        "INFO thea.message",
        "INFO thea.state_change",
        "ERROR thea.error",
        "WARNING thea.session_timeout",
        "INFO thea.intent_detected",
        "INFO thea.agent_delegated",
    ]
