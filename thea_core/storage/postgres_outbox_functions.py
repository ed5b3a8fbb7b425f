"""What the PostgreSQL store's outbox does on the server, by the rules of :mod:`thea_core.storage.postgres_functions`.

A row of ``thea_lanes`` stands for the events of one user and plugin that are not delivered and not parked; it is there
as long as there are any. It is locked before those events are looked at, and looked at again in a later statement.
"""

# ruff: noqa: S608 -- the statements are put together from constants only

from __future__ import annotations

from thea_core.storage.claims import RUN

__all__ = ["OUTBOX_FUNCTIONS"]

_STORE_EVENTS = """
CREATE FUNCTION thea_store_events(
    _user text, _plugins text[], _hooks text[], _event_ids text[], _events text[], _moment double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO thea_lanes AS l (user_id, plugin, due)
    SELECT DISTINCT _user, p.plugin COLLATE "C" AS plugin, _moment FROM unnest(_plugins) AS p (plugin) ORDER BY plugin
    ON CONFLICT (user_id, plugin) DO UPDATE SET due = l.due;  -- locks it
    INSERT INTO thea_events (plugin, user_id, hook, event_id, event, stored)
    SELECT e.plugin, _user, e.hook, e.event_id, e.event, _moment
    FROM unnest(_plugins, _hooks, _event_ids, _events) WITH ORDINALITY AS e (plugin, hook, event_id, event, place)
    ORDER BY e.place;
END
$$
"""

_APPEND = """
CREATE FUNCTION thea_append(
    _user text, _plugins text[], _hooks text[], _event_ids text[], _events text[], _at double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM thea_synchronize();
    PERFORM thea_store_events(_user, _plugins, _hooks, _event_ids, _events, thea_now(_at));
END
$$
"""

# All of the user's lanes are locked at once, in their order, with those of the events that are about to be stored; one
# is made where all events are parked.
_FORGET_EVENTS = """
CREATE FUNCTION thea_forget_events(
    _user text, _plugins text[], _moment double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    locked text[];
BEGIN
    WITH lanes AS (
        INSERT INTO thea_lanes AS l (user_id, plugin, due)
        SELECT _user, p.plugin, _moment FROM (
            SELECT plugin FROM thea_lanes WHERE user_id = _user
            UNION SELECT plugin FROM thea_events WHERE user_id = _user AND NOT parked
            UNION SELECT plugin FROM thea_events WHERE user_id = _user AND parked
            UNION SELECT plugin COLLATE "C" FROM unnest(_plugins) AS given (plugin)
        ) AS p ORDER BY p.plugin
        ON CONFLICT (user_id, plugin) DO UPDATE SET due = l.due
        RETURNING l.plugin
    )
    SELECT array_agg(plugin) INTO locked FROM lanes;
    DELETE FROM thea_events WHERE user_id = _user AND plugin = ANY (locked) AND NOT parked;
    DELETE FROM thea_events WHERE user_id = _user AND plugin = ANY (locked) AND parked;
    DELETE FROM thea_lanes WHERE user_id = _user AND plugin = ANY (locked);
END
$$
"""

# One row an event, as the outbox's list has it, after the number of the claim.
_CLAIM = f"""
CREATE FUNCTION thea_claim(
    _plugin text, _duration double precision, _limit bigint, _at double precision
) RETURNS TABLE (
    claim bigint, number bigint, plugin text, user_id text, hook text, event_id text, event text,
    stored double precision, attempts integer, due double precision, error text, parked boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment double precision := thea_now(_at);
    users text[];
BEGIN
    PERFORM thea_relax();
    SELECT array_agg(found.user_id) INTO users FROM (
        SELECT l.user_id FROM thea_lanes AS l
        WHERE l.plugin = _plugin AND l.due <= moment
        ORDER BY l.due, l.user_id
        LIMIT _limit
        FOR UPDATE SKIP LOCKED
    ) AS found;
    UPDATE thea_lanes
    SET due = moment + _duration, attempts = attempts + 1, claim = nextval('thea_claims'), claimed = true
    WHERE plugin = _plugin AND user_id = ANY (users);
    RETURN QUERY
    SELECT
        l.claim, e.number, e.plugin, e.user_id, e.hook, e.event_id, e.event, e.stored,
        CASE WHEN e.place = 1 THEN l.attempts ELSE 0 END, CASE WHEN e.place = 1 THEN l.due END, e.error, e.parked
    FROM unnest(users) WITH ORDINALITY AS u (user_id, place)
    JOIN thea_lanes AS l ON l.user_id = u.user_id AND l.plugin = _plugin
    CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY e.number) AS place FROM thea_events AS e
        WHERE e.user_id = l.user_id AND e.plugin = _plugin AND NOT e.parked
        ORDER BY e.number LIMIT CASE WHEN l.attempts = 1 THEN {RUN} ELSE 1 END
    ) AS e
    ORDER BY u.place, e.number;
END
$$
"""

_SETTLE = """
CREATE FUNCTION thea_settle(
    _user text, _plugin text, _claim bigint, _delivered bigint[], _failed bigint, _tried bigint, _parked boolean,
    _error text, _attempts bigint, _delay double precision, _at double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM thea_relax();
    PERFORM FROM thea_lanes WHERE user_id = _user AND plugin = _plugin AND claim = _claim FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM thea_events WHERE number = ANY (_delivered);
    IF _failed IS NOT NULL THEN
        UPDATE thea_events
        SET error = _error, parked = _parked, attempts = CASE WHEN _parked THEN _tried ELSE 0 END
        WHERE number = _failed;
    END IF;
    PERFORM FROM thea_events WHERE user_id = _user AND plugin = _plugin AND NOT parked;
    IF FOUND THEN
        UPDATE thea_lanes SET due = thea_now(_at) + _delay, attempts = _attempts, claim = 0, claimed = false
        WHERE user_id = _user AND plugin = _plugin;
    ELSE
        DELETE FROM thea_lanes WHERE user_id = _user AND plugin = _plugin;
    END IF;
    RETURN true;
END
$$
"""

# For both of these the lanes of the given events are locked one after another; one is made where it is missing (its
# events are all parked), and removed again where it has no event after that.
_RETRY = """
CREATE FUNCTION thea_retry(_numbers bigint[], _at double precision) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    lane record;
    moment double precision;
    first bigint;
    count bigint;
    total bigint := 0;
BEGIN
    FOR lane IN SELECT * FROM thea_lanes_of(_numbers) LOOP
        moment := thea_lock(lane.user_id, lane.plugin, _at);
        CONTINUE WHEN thea_is_claimed(lane.user_id, lane.plugin, moment);
        first := thea_first(lane.user_id, lane.plugin);
        UPDATE thea_events SET parked = false, attempts = 0
        WHERE number = ANY (_numbers) AND user_id = lane.user_id AND plugin = lane.plugin AND parked;
        GET DIAGNOSTICS count = ROW_COUNT;
        IF first = ANY (_numbers) THEN
            count := count + 1;
            first := NULL;
        END IF;
        total := total + count;
        IF count > 0 OR first IS NULL THEN
            PERFORM thea_free(lane.user_id, lane.plugin, first, moment);
        END IF;
    END LOOP;
    RETURN total;
END
$$
"""

_DROP = """
CREATE FUNCTION thea_drop(_numbers bigint[], _at double precision) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    lane record;
    moment double precision;
    first bigint;
    count bigint;
    total bigint := 0;
BEGIN
    FOR lane IN SELECT * FROM thea_lanes_of(_numbers) LOOP
        moment := thea_lock(lane.user_id, lane.plugin, _at);
        DELETE FROM thea_events
        WHERE number = ANY (_numbers) AND user_id = lane.user_id AND plugin = lane.plugin AND parked;
        GET DIAGNOSTICS count = ROW_COUNT;
        total := total + count;
        CONTINUE WHEN thea_is_claimed(lane.user_id, lane.plugin, moment);
        first := thea_first(lane.user_id, lane.plugin);
        DELETE FROM thea_events
        WHERE number = ANY (_numbers) AND user_id = lane.user_id AND plugin = lane.plugin;
        GET DIAGNOSTICS count = ROW_COUNT;
        total := total + count;
        IF count > 0 OR first IS NULL THEN
            PERFORM thea_free(lane.user_id, lane.plugin, first, moment);
        END IF;
    END LOOP;
    RETURN total;
END
$$
"""

_LANES_OF = """
CREATE FUNCTION thea_lanes_of(_numbers bigint[]) RETURNS TABLE (user_id text, plugin text) LANGUAGE sql AS $$
    SELECT DISTINCT e.user_id, e.plugin FROM thea_events AS e WHERE e.number = ANY (_numbers)
    ORDER BY e.user_id, e.plugin
$$
"""

# Returns the time, as it was when the lock was there.
_LOCK = """
CREATE FUNCTION thea_lock(
    _user text, _plugin text, _at double precision
) RETURNS double precision LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO thea_lanes AS l (user_id, plugin, due) VALUES (_user, _plugin, thea_now(_at))
    ON CONFLICT (user_id, plugin) DO UPDATE SET due = l.due;
    RETURN thea_now(_at);
END
$$
"""

_IS_CLAIMED = """
CREATE FUNCTION thea_is_claimed(
    _user text, _plugin text, _moment double precision
) RETURNS boolean LANGUAGE sql AS $$
    SELECT claimed AND due > _moment FROM thea_lanes WHERE user_id = _user AND plugin = _plugin
$$
"""

_FIRST = """
CREATE FUNCTION thea_first(_user text, _plugin text) RETURNS bigint LANGUAGE sql AS $$
    SELECT min(number) FROM thea_events WHERE user_id = _user AND plugin = _plugin AND NOT parked
$$
"""

# Sees to a lane after a change of its events: nobody holds it any more, and where its first event is not _first, that
# one is due at once. Without events the lane ends.
_FREE = """
CREATE FUNCTION thea_free(
    _user text, _plugin text, _first bigint, _moment double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
BEGIN
    first := thea_first(_user, _plugin);
    IF first IS NULL THEN
        DELETE FROM thea_lanes WHERE user_id = _user AND plugin = _plugin;
    ELSIF first IS DISTINCT FROM _first THEN
        UPDATE thea_lanes SET due = _moment, attempts = 0, claim = 0, claimed = false
        WHERE user_id = _user AND plugin = _plugin;
    ELSE
        UPDATE thea_lanes SET claim = 0, claimed = false WHERE user_id = _user AND plugin = _plugin;
    END IF;
END
$$
"""

OUTBOX_FUNCTIONS = (
    _STORE_EVENTS,
    _APPEND,
    _FORGET_EVENTS,
    _CLAIM,
    _SETTLE,
    _LANES_OF,
    _LOCK,
    _IS_CLAIMED,
    _FIRST,
    _FREE,
    _RETRY,
    _DROP,
)
"""All of them, in an order in which they can be made."""
