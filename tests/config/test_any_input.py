"""Laws: whatever is read, it is a configuration or a ConfigError, and no secret is told either way."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from thea_core.config import Config, PluginConfig
from thea_core.config.environment import apply_overrides
from thea_core.config.model import keys_of, sections_of
from thea_core.config.show import as_json
from thea_core.config.tree import Tree
from thea_core.errors import ConfigError

SECRET = "hunter2!"

KEYS = st.sampled_from(
    sorted(
        {key for section in (*sections_of().values(), PluginConfig) for key in keys_of(section)}
        | {"x", "api_key", "es"}
    )
)
SCALARS = st.one_of(
    st.sampled_from(["${S}", "${MISSING}", "${MISSING:-1}", "memory:", "veto", "none", "x", "1h", ""]),
    st.integers(-2, 10**30),
    st.booleans(),
    st.floats(),
    st.text(max_size=3),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(KEYS, v, max_size=3)), max_leaves=6
)
DATA = st.dictionaries(
    st.sampled_from([*sections_of(), "stor"]), st.dictionaries(KEYS, VALUES, max_size=3) | VALUES, max_size=3
)


def _told(data: dict[str, Any], environ: dict[str, str]) -> str:
    try:
        config = Config.from_mapping(data, environ=environ)
    except ConfigError as error:
        return str(error)
    return repr(config) + str(config.origins) + str(config.deferred) + json.dumps(as_json(config))


@given(DATA)
def test_any_mapping_is_a_configuration_or_an_error_and_tells_no_secret(data: dict[str, Any]) -> None:
    assert SECRET not in _told(data, {"S": SECRET})


@given(VALUES)
def test_no_setting_under_a_secret_name_is_told(value: Any) -> None:
    told = _told({"plugins": {"x": {"settings": {"a": [{"api_key": [SECRET, value]}], "dsn": {"deep": SECRET}}}}}, {})
    assert SECRET not in told


NAMES = st.lists(
    st.sampled_from(["STORE", "URL", "PLUGINS", "ENABLED", "X", "SETTINGS", "", "FSM", "TRANSITIONS"]), max_size=4
)


@given(DATA, st.dictionaries(NAMES.map(lambda words: "THEA__" + "__".join(words)), st.text(max_size=5), max_size=3))
def test_any_variable_is_put_somewhere_or_refused(data: dict[str, Any], environ: dict[str, str]) -> None:
    tree = Tree(data=json.loads(json.dumps(data, default=str)))
    apply_overrides(tree, environ)
    assert len(tree.problems) <= len(environ)
