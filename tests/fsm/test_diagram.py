from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from thea_core import Definition, FSMEngine
from thea_core.fsm.diagram import draw

STRANGE = ['say "hi"', "two\nlines", "two\\nlines", "back\\", "#quot;", "ñ → ☃", "\ud800", "tab\there", "<b>&amp;</b>"]


def strange() -> Definition:
    ring = {name: [following] for name, following in zip(STRANGE, [*STRANGE[1:], STRANGE[0]], strict=True)}
    return Definition({**ring, "trouble": [STRANGE[0]]}, initial=STRANGE[0], error="trouble", final=[STRANGE[2]])


def test_the_text_shows_each_state_with_its_targets_and_marks_the_current_one() -> None:
    assert FSMEngine().diagram(current="idle") == (
        "  initial        -> processing\n"
        "  processing     -> disambiguation | executing\n"
        "  disambiguation -> executing | processing\n"
        "  executing      -> completion | disambiguation | processing\n"
        "  completion     -> idle\n"
        "> idle           -> processing\n"
        "  error_handler  -> idle | processing | executing | initial\n"
        "  any state      -> error_handler\n"
    )


def test_the_text_tells_final_states() -> None:
    definition = Definition({"a": ["end"], "x": ["a"]}, initial="a", error="x", final=["end"])
    assert draw(definition) == "  a         -> end\n  x         -> a\n  end       -> (final)\n  any state -> x\n"


def test_mermaid_has_a_name_for_each_state_and_marks_the_current_one() -> None:
    definition = Definition({"a": ["end"], "x": ["a"]}, initial="a", error="x", final=["end"])
    assert draw(definition, "mermaid", current="a") == (
        "stateDiagram-v2\n"
        '    state "a" as s0\n'
        '    state "x" as s1\n'
        '    state "end" as s2\n'
        "    [*] --> s0\n"
        "    s0 --> s2\n"
        "    s0 --> s1\n"
        "    s1 --> s0\n"
        "    s2 --> s1\n"
        "    s2 --> [*]\n"
        "    classDef current font-weight:bold,stroke-width:3px\n"
        "    class s0 current\n"
    )


def test_dot_shows_final_states_the_current_one_and_the_ways_to_the_error_state() -> None:
    definition = Definition({"a": ["end"], "x": ["a"]}, initial="a", error="x", final=["end"])
    assert draw(definition, "dot", current="end") == (
        "digraph thea {\n"
        "    rankdir=LR;\n"
        "    node [shape=box, style=rounded];\n"
        '    "" [shape=point];\n'
        '    "a";\n'
        '    "x";\n'
        '    "end" [peripheries=2, penwidth=3];\n'
        '    "" -> "a";\n'
        '    "a" -> "end";\n'
        '    "a" -> "x" [style=dashed];\n'
        '    "x" -> "a";\n'
        '    "end" -> "x" [style=dashed];\n'
        "}\n"
    )


@pytest.mark.parametrize("form", ["text", "mermaid", "dot"])
class TestStrangeNames:
    def test_each_state_stands_on_a_line_of_its_own(self, form: str) -> None:
        plain = Definition({"a": ["b"], "b": ["a"], "x": ["a"]}, initial="a", error="x", final=["b"])
        lines = draw(strange(), form, current=STRANGE[1]).splitlines()
        more = len(STRANGE) - 2
        ways = 3 if form != "text" else 1  # for each further state: itself, one way out, one to the error state
        assert len(lines) == len(draw(plain, form, current="a").splitlines()) + ways * more

    def test_the_drawing_is_printable(self, form: str) -> None:
        assert draw(strange(), form).replace("\n", "").isprintable()

    def test_no_two_names_look_the_same(self, form: str) -> None:
        lines = draw(strange(), form).splitlines()
        shown = {
            "text": lambda line: line[2:].split(" ->")[0].strip(),
            "mermaid": lambda line: line.partition(" as ")[0],
            "dot": lambda line: line.removesuffix(" [peripheries=2];").removesuffix(";"),
        }[form]
        states = [line for line in lines if {"text": "->", "mermaid": " as s", "dot": ";"}[form] in line]
        states = [shown(line) for line in states if form != "dot" or " -> " not in line]
        assert len(states) == len(set(states))


def test_a_quote_does_not_end_a_label_of_mermaid() -> None:
    labels = re.findall(r'state "([^"]*)" as s\d+$', draw(strange(), "mermaid"), re.MULTILINE)
    assert labels[:2] == ["say #quot;hi#quot;", r"two\nlines"]
    assert "#35;quot;" in labels
    assert len(labels) == len(STRANGE) + 1


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("definition", [Definition(), strange()], ids=["default", "strange"])
def test_graphviz_reads_every_state_and_every_way(definition: Definition) -> None:
    done = subprocess.run(
        ["dot", "-Tjson0"],
        input=draw(definition, "dot"),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    graph = json.loads(done.stdout)
    assert len(graph["objects"]) == len(definition.states) + 1
    assert len(graph["edges"]) == 1 + sum(len(definition.targets(state)) for state in definition.states)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no diagram form 'svg'; the forms are: text, mermaid, dot"):
        FSMEngine().diagram("svg")


def test_an_unknown_current_state_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no state 'idel'; the states are: initial, "):
        FSMEngine().diagram(current="idel")
