"""The count of what is lost."""

from __future__ import annotations

from thea_mixpanel.losses import Losses


def test_a_summary_names_the_one_reason():
    losses = Losses()
    assert losses.summary() == ""
    losses.add("HTTP 500")
    assert losses.summary() == "1 event lost: HTTP 500"
    losses.add("HTTP 500", 1233)
    assert losses.summary() == "1,234 events lost: HTTP 500"


def test_of_several_reasons_the_most_frequent_is_first():
    losses = Losses()
    losses.add("HTTP 500", 3)
    losses.add("no connection", 1200)
    assert losses.summary() == "1,203 events lost: 1,200 no connection, 3 HTTP 500"
    assert losses.counts == {"HTTP 500": 3, "no connection": 1200}


def test_each_reason_is_logged_by_itself(caplog):
    losses = Losses()
    for reason in ("a", "b", "a"):
        losses.add(reason)
    assert [each.getMessage() for each in caplog.records] == ["1 event lost: a", "1 event lost: b"]
