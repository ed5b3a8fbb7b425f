"""The store of events: one file, safe in threads and after a fork, with errors that say what to do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from datetime import date, time

import pytest

from thea_agenda import AgendaError, AgendaStore, Event
from thea_core import StoreError, TheaError

DAY = date(2026, 3, 5)
DINNER = Event("cena", DAY, time(21))


class TestAdd:
    def test_an_event_is_found_again(self, store):
        assert store.add("ana", DINNER, message_id="1") == DINNER
        assert store.events("ana", DAY) == ([DINNER], 1)

    def test_the_same_message_id_makes_no_second_event_and_returns_the_first(self, store):
        store.add("ana", DINNER, message_id="1")
        again = store.add("ana", Event("other", date(2026, 3, 6)), message_id="1")
        assert again == DINNER
        assert store.events("ana", DAY) == ([DINNER], 1)

    def test_the_same_message_id_of_another_user_is_another_event(self, store):
        store.add("ana", DINNER, message_id="1")
        store.add("luis", DINNER, message_id="1")
        assert store.events("luis", DAY)[1] == 1

    def test_events_survive_the_store(self, store, path):
        store.add("ana", DINNER, message_id="1")
        assert AgendaStore(path).events("ana", DAY) == ([DINNER], 1)

    def test_eight_threads_that_send_one_message_id_make_one_event(self, store):
        barrier = threading.Barrier(8)

        def add():
            barrier.wait()
            store.add("ana", DINNER, message_id="1")

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.events("ana", DAY)[1] == 1


class TestEvents:
    def test_they_come_by_day_and_time_whole_days_first(self, store):
        late, whole, next_day = (
            Event("late", DAY, time(21)),
            Event("whole", DAY),
            Event("next", date(2026, 3, 6), time(8)),
        )
        for number, event in enumerate((next_day, late, whole)):
            store.add("ana", event, message_id=str(number))
        assert store.events("ana", DAY) == ([whole, late, next_day], 3)

    def test_only_days_from_first_to_last_count(self, store):
        for number in range(1, 6):
            store.add("ana", Event(str(number), date(2026, 3, number)), message_id=str(number))
        events, count = store.events("ana", date(2026, 3, 2), date(2026, 3, 4))
        assert ([event.title for event in events], count) == (["2", "3", "4"], 3)

    def test_a_limit_cuts_the_list_and_not_the_count(self, store):
        for number in range(5):
            store.add("ana", DINNER, message_id=str(number))
        events, count = store.events("ana", DAY, limit=2)
        assert (len(events), count) == (2, 5)

    def test_nobody_sees_the_events_of_another_user(self, store):
        store.add("ana", DINNER, message_id="1")
        assert store.events("luis", DAY) == ([], 0)


class TestFile:
    def test_it_is_in_wal_mode(self, store):
        with sqlite3.connect(store.path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()

    def test_the_first_call_opens_it_where_nobody_did(self, path):
        assert AgendaStore(path).events("ana", DAY) == ([], 0)

    def test_several_stores_may_open_one_new_file_at_once(self, path):
        failures = []
        barrier = threading.Barrier(6)

        def use(number):
            barrier.wait()
            try:
                AgendaStore(path).add("ana", DINNER, message_id=str(number))
            except AgendaError as error:
                failures.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert AgendaStore(path).events("ana", DAY)[1] == 6

    def test_a_folder_that_does_not_exist_is_a_clear_error(self, tmp_path):
        with pytest.raises(AgendaError, match=r"cannot be opened.*\[plugins\.agenda\.settings\] path"):
            AgendaStore(tmp_path / "nowhere" / "agenda.db").open()

    def test_a_file_that_is_no_database_is_a_clear_error_and_stays_as_it_is(self, path):
        path.write_text("dear diary, today I wrote a file that is no database" * 30)
        before = path.read_bytes()
        with pytest.raises(AgendaError, match="not a database"):
            AgendaStore(path).open()
        assert path.read_bytes() == before

    def test_the_database_of_another_program_is_refused_and_stays_as_it_is(self, path):
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE conversations (id)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(AgendaError, match="another program"):
            AgendaStore(path).open()
        assert path.read_bytes() == before

    def test_a_file_of_a_newer_version_is_refused(self, store):
        connection = sqlite3.connect(store.path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(AgendaError, match="newer thea-agenda"):
            AgendaStore(store.path).open()

    def test_a_file_that_went_missing_is_an_error_and_not_an_empty_agenda(self, store):
        store.path.unlink()
        with pytest.raises(AgendaError, match="cannot be read"):
            store.events("ana", DAY)
        assert not store.path.exists()

    def test_a_row_that_somebody_spoiled_is_a_clear_error(self, store):
        store.add("ana", DINNER, message_id="1")
        connection = sqlite3.connect(store.path)
        with connection:
            connection.execute("UPDATE events SET day = '2026-99-99'")
        connection.close()
        with pytest.raises(AgendaError, match="cannot be read"):
            store.events("ana", DAY)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
    def test_a_forked_child_and_its_parent_both_write(self, store):
        store.add("ana", DINNER, message_id="parent")
        child = os.fork()
        if child == 0:
            try:
                store.add("ana", DINNER, message_id="child")
            except BaseException:  # the child must end here, whatever happens
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        store.add("ana", DINNER, message_id="parent again")
        assert store.events("ana", DAY)[1] == 3


class TestClose:
    def test_a_closed_store_refuses_with_a_clear_error(self, store):
        store.close()
        with pytest.raises(AgendaError, match="is closed"):
            store.add("ana", DINNER, message_id="1")

    def test_it_may_be_opened_again(self, store):
        store.close()
        store.open()
        assert store.events("ana", DAY) == ([], 0)


class TestAvailable:
    def test_a_good_file_is_available(self, store):
        assert store.available()

    def test_a_missing_file_is_not(self, store):
        store.path.unlink()
        assert not store.available()


def test_the_error_is_theas_but_not_one_of_the_conversations_store():
    assert issubclass(AgendaError, TheaError)
    assert not issubclass(AgendaError, StoreError)


def test_sqlite_is_imported_only_where_the_agenda_is_used():
    # What measures coverage may have loaded sqlite3 before: it is taken away, and must not come back.
    program = (
        "import sys; sys.modules.pop('sqlite3', None);"
        "import thea_agenda; thea_agenda.AgendaStore('x.db'); print('sqlite3' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
