"""The reference page says what the configuration takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from thea_core.config import PluginConfig, load_config
from thea_core.config.model import RESERVED_NAMES, Section, keys_of, sections_of
from thea_core.config.problems import toml_text

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
TABLES: dict[str, type[Section]] = {**sections_of(), "plugins.NAME": PluginConfig}
KEYS = [(f"{table}.{name}", section, name) for table, section in TABLES.items() for name in keys_of(section)]
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("path", "section", "name"), KEYS, ids=[each[0] for each in KEYS])
def test_each_key_has_its_row_with_type_default_and_meaning(path: str, section: type[Section], name: str) -> None:
    key, default = keys_of(section)[name], section().shown(name)
    shown = "" if default is None else f" `{toml_text(default)}`"
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{path}` |"))
    assert row.startswith(f"| `{path}` | {key.kind.name} |{shown} |")
    assert row.replace("`", "").rpartition(" | ")[2].startswith(key.meaning.rstrip(".").replace("`", ""))


def test_it_has_no_row_for_a_key_that_there_is_not() -> None:
    assert re.findall(r"^\| `(\w+(?:\.\w+)+)` \|", PAGE, re.MULTILINE) == [path for path, _, _ in KEYS]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_its_examples_load(example: str, tmp_path: Path) -> None:
    path = tmp_path / ("pyproject.toml" if "[tool." in example else "thea.toml")
    path.write_text(example, encoding="utf-8")
    load_config(path, environ={"SENTRY_DSN": "x"})


def test_it_names_every_text() -> None:
    from thea_core.conversation.texts import LANGUAGES, TEXT_NAMES

    listed = PAGE.partition("<!-- names of texts -->")[2].partition("<!-- end -->")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == TEXT_NAMES
    assert all(f"`{each}`" in PAGE for each in LANGUAGES)


def test_it_names_what_no_plugin_can_be_called() -> None:
    assert all(f"`{each}`" in PAGE.partition("No plugin can be called")[2][:60] for each in RESERVED_NAMES)
