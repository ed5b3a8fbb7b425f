"""Which line a key stands in."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core.config.locate import locate

TEXT = '''\
# a comment with = and [brackets]
top = 1
[plugins]
enabled = [  # comment ]
    "logging",
    'sentry', "x"
]
inline = { a = 1, b = { c = "}" }, d = [1, [2,
 3]] }
long = """
[not.a.table]
key = "no \\"""key"
"""
raw = \'\'\'
x = 1\'\'\'\'
dotted . "quoted.key" = 2026-01-01T00:00:00Z
[plugins."my plugin".settings]
dsn = "x"
[[items]]
name = "a"
[[items]]
name = "b"
[items.sub]
z = 1
[[items.deep]]
y = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("plugins",), 3),
        (("plugins", "enabled"), 4),
        (("plugins", "enabled", 0), 5),
        (("plugins", "enabled", 1), 6),
        (("plugins", "enabled", 2), 6),
        (("plugins", "inline", "b", "c"), 8),
        (("plugins", "inline", "d", 1, 1), 9),
        (("plugins", "long"), 10),
        (("plugins", "raw"), 14),
        (("plugins", "dotted"), 16),
        (("plugins", "dotted", "quoted.key"), 16),
        (("plugins", "my plugin", "settings"), 17),
        (("plugins", "my plugin", "settings", "dsn"), 18),
        (("items", 0, "name"), 20),
        (("items", 1, "name"), 22),
        (("items", 1, "sub", "z"), 24),
        (("items", 1, "deep", 0, "y"), 26),
    ],
)
def test_each_key_has_its_line(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert locate(TEXT)[path] == line


def test_a_text_that_is_no_toml_gives_the_lines_up_to_there() -> None:
    assert locate("a = 1\n= 2\nb = 3\n") == {("a",): 1}


@pytest.mark.parametrize(
    "text", ["[a", "[[a]", "a = [1", "a = {b = 1", "a = '''", 'a = "', "a", "a =", "a" + "=[" * 5000]
)
def test_no_text_makes_it_raise(text: str) -> None:
    assert isinstance(locate(text), dict)


def test_carriage_returns_do_not_count_as_lines() -> None:
    assert locate("a = 1\r\nb = 2\r\n") == {("a",): 1, ("b",): 2}


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=4)
SCALARS = st.one_of(st.integers(-9, 9), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), KEYS)
TABLES = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3),
    lambda inner: st.dictionaries(KEYS, st.one_of(SCALARS, inner, st.lists(SCALARS, max_size=3)), max_size=3),
    max_leaves=8,
)


@given(TABLES)
def test_every_key_of_any_document_is_found(data: dict[str, Any]) -> None:
    import tomlkit

    text = tomlkit.dumps(data)
    assert _keys(tomllib.loads(text), ()) <= locate(text).keys()


def _keys(data: dict[str, Any], path: tuple[str, ...]) -> set[tuple[str, ...]]:
    found = set()
    for key, value in data.items():
        found |= {(*path, key)} | (_keys(value, (*path, key)) if isinstance(value, dict) else set())
    return found
