"""Events from many threads: none is lost, none is sent twice."""

from __future__ import annotations

import threading

import pytest

THREADS = 8
EACH = 1000


@pytest.mark.parametrize("delivery", ["background", "inline"])
def test_events_from_8_threads_arrive_once_each(running, server, read, delivery):
    core = {"delivery": delivery, "queue_size": THREADS * EACH}
    start = threading.Barrier(THREADS)

    with running(core) as (thea, plugin):

        def work(thread):
            start.wait(60)
            for number in range(EACH):
                thea.callbacks.trigger("on_intent_detected", user_id=f"user-{thread}", intent=str(number), score=0.5)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(120)
        assert thea.callbacks.flush(120) == 0
    sent = [each["properties"] for each in read(*server.requests)]
    assert len(sent) == len({each["$insert_id"] for each in sent}) == THREADS * EACH
    assert plugin.sent == THREADS * EACH
    assert all(len(read(each)) <= 50 for each in server.requests)
    if delivery == "background":
        for thread in range(THREADS):
            mine = [int(each["intent"]) for each in sent if each["distinct_id"] == f"user-{thread}"]
            assert mine == sorted(mine)
