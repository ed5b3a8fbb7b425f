"""Where values come from."""

from __future__ import annotations

from thea_core.config.tree import DEFAULT, Node, Origin, Tree, nearest


def test_an_origin_says_where_and_through_which_variable() -> None:
    assert str(Origin("file", "thea.toml")) == "thea.toml"
    assert str(Origin("file", "thea.toml", 4, "DSN")) == "thea.toml:4, from ${DSN}"


def test_a_value_has_the_origin_of_the_table_around_it() -> None:
    outer = Origin("file", "thea.toml", 1)
    assert nearest({("a",): outer}, ("a", "b", 0)) == outer
    assert nearest({}, ("a",)) == DEFAULT


def test_an_element_is_mended_without_its_position() -> None:
    assert (
        Origin("file", "thea.toml", 2).mend(("plugins", "enabled", 0), '"name"')
        == 'write "name" in line 2 of thea.toml'
    )
    assert Origin("file", "thea.toml").mend(("store", "url"), '"x"') == 'write url = "x" in thea.toml'


def test_a_key_without_a_known_line_is_mended_in_the_file() -> None:
    tree = Tree(data={"qqq": 1}, origins={(): Origin("file", "thea.toml")})
    tree.root().child("qqq").unknown(["store"])
    assert "to do: remove qqq in thea.toml" in str(tree.problems[0])


def test_printing_a_node_shows_no_value() -> None:
    assert "hunter2" not in repr(Node(Tree(data={"a": "hunter2"}), ("a",), "hunter2"))
