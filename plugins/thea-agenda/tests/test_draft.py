"""The draft of an event in the context, and titles."""

from __future__ import annotations

import json
from datetime import date, time

import pytest

from thea_agenda.draft import MAX_TITLE, Draft, clean_title, remember, remembered_language, shorten

DRAFT = Draft("session-1", "cena", date(2026, 3, 5), time(21, 30), failed=1)


@pytest.mark.parametrize("draft", [DRAFT, Draft("session-1")])
def test_a_draft_comes_back_from_the_json_of_a_context(draft):
    context = remember({"user_id": "ana", "state": "executing"}, "es", draft)
    assert Draft.from_context(json.loads(json.dumps(context))) == draft


def test_remembering_keeps_what_others_have_in_the_context_and_changes_nothing_in_place():
    before = {"user_id": "ana", "state": "idle", "cart": [1]}
    after = remember(before, "en", None)
    assert after == {**before, "agenda": {"language": "en"}}
    assert "agenda" not in before


@pytest.mark.parametrize(
    "memory",
    [None, [], "x", {}, {"draft": None}, {"draft": {}}, {"draft": {**DRAFT.to_json(), "day": "soon"}}],
)
def test_what_is_no_draft_is_none(memory):
    assert Draft.from_context({"agenda": memory}) is None


@pytest.mark.parametrize(("memory", "language"), [({"language": "es"}, "es"), ({"language": "fr"}, None), (3, None)])
def test_only_a_language_that_it_speaks_is_remembered(memory, language):
    assert remembered_language({"agenda": memory}) == language


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("cena", "cena"),
        ("called dinner with Ana", "dinner with Ana"),
        ("que se llama 'La cena'", "La cena"),
        ("con el título de «Fiesta»", "Fiesta"),
        ("for me please", ""),
        ("cita con el médico para el", "cita con el médico"),
        ("para", ""),
        ("Despedida", "Despedida"),
        ("", ""),
    ],
)
def test_a_title_has_no_words_that_only_lead_to_it(text, title):
    assert clean_title(text) == title


def test_a_long_title_is_cut():
    assert shorten("x" * 1000) == "x" * (MAX_TITLE - 1) + "…"
