"""What the PostgreSQL store does on the server: one function for each call, so that each call is one round trip.

Every function is a transaction of its own. Where it locks more than one row it does so in one order, the same for all:
the user's row in ``thea_leases``, then places, the conversation, message ids, then rows of ``thea_lanes`` by user and
plugin, then events; whoever may pass a locked row by (``SKIP LOCKED``) waits for nobody. What a decision depends on is
read in a statement after the one that took the lock, since each statement of a function sees what was committed before
it began. The time, too, is read after the lock: ``_at``, or the server's where that is NULL.

Leases, places and claims need not survive a power cut, since their holders do not: they do not wait for the disk. A
commit and an append do, also where the server's setting says otherwise.
"""

# ruff: noqa: S608 -- the statements are put together from constants only

from __future__ import annotations

__all__ = ["FUNCTIONS", "HANDLED", "LOST", "OUTDATED"]

LOST = "TH001"
"""The SQLSTATE of a commit whose lease was lost."""

OUTDATED = "TH002"
"""The SQLSTATE of a commit to another version."""

HANDLED = "TH003"
"""The SQLSTATE of a commit for a message id that has a reply."""

_NOW = """
CREATE FUNCTION thea_now(_at double precision) RETURNS double precision LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(_at, extract(epoch FROM clock_timestamp())::double precision)
$$
"""

_RELAX = """
CREATE FUNCTION thea_relax() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
END
$$
"""

_SYNCHRONIZE = """
CREATE FUNCTION thea_synchronize() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END
$$
"""

_BEGIN = """
CREATE FUNCTION thea_begin(
    _user text, _owner text, _duration double precision, _message text, _queued boolean, _at double precision
) RETURNS TABLE (
    context text, version bigint, session_id text, expired boolean, fence bigint, attempt integer, reply text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    held thea_leases;
    place bigint;
    moment double precision;
    waits boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    LOOP
        SELECT * INTO held FROM thea_leases WHERE user_id = _user FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO thea_leases VALUES (_user, NULL, 0, '-infinity', NULL, 1) ON CONFLICT DO NOTHING;
    END LOOP;
    moment := thea_now(_at);
    IF _queued THEN
        place := thea_place(_user, _owner, _duration, moment);
    END IF;
    SELECT
        c.context, coalesce(c.version, 0), c.session_id, coalesce(c.deadline <= moment, false), m.reply,
        EXISTS (
            SELECT FROM thea_places AS p
            WHERE p.user_id = _user AND p.expires > moment
            AND (place IS NULL OR (p.number < place AND p.owner <> _owner))
        )
    INTO context, version, session_id, expired, reply, waits
    FROM (SELECT) AS always
    LEFT JOIN thea_conversations AS c ON c.user_id = _user
    LEFT JOIN thea_messages AS m ON m.user_id = _user AND m.message_id = _message;
    attempt := 1;
    IF reply IS NULL THEN
        IF waits OR (held.owner IS NOT NULL AND held.expires > moment) THEN
            RETURN;
        END IF;
        IF _message IS NOT NULL THEN
            attempt := CASE WHEN held.message_id = _message THEN held.attempt + 1 ELSE 1 END;
            held.message_id := _message;
            held.attempt := attempt;
        END IF;
        fence := nextval('thea_fences');
        UPDATE thea_leases AS l
        SET owner = _owner, fence = thea_begin.fence, expires = moment + _duration, message_id = held.message_id,
            attempt = held.attempt
        WHERE l.user_id = _user;
    END IF;
    IF place IS NOT NULL THEN
        DELETE FROM thea_places WHERE number = place;
    END IF;
    RETURN NEXT;
END
$$
"""

# The owner's oldest place that is alive; a new one, at the end, where there is none.
_PLACE = """
CREATE FUNCTION thea_place(
    _user text, _owner text, _duration double precision, _moment double precision
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    oldest bigint;
BEGIN
    SELECT min(number) INTO oldest FROM thea_places WHERE user_id = _user AND owner = _owner AND expires > _moment;
    IF oldest IS NULL THEN
        DELETE FROM thea_places WHERE user_id = _user AND owner = _owner;
        INSERT INTO thea_places (user_id, owner, expires) VALUES (_user, _owner, _moment + _duration)
        RETURNING number INTO oldest;
    END IF;
    RETURN oldest;
END
$$
"""

_ENQUEUE = """
CREATE FUNCTION thea_enqueue(
    _user text, _owner text, _duration double precision, _at double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment double precision := thea_now(_at);
BEGIN
    PERFORM thea_relax();
    DELETE FROM thea_places WHERE number IN (
        SELECT number FROM thea_places WHERE user_id = _user AND expires <= moment FOR UPDATE SKIP LOCKED
    );
    INSERT INTO thea_places (user_id, owner, expires) VALUES (_user, _owner, moment + _duration);
END
$$
"""

_DEQUEUE = """
CREATE FUNCTION thea_dequeue(_user text, _owner text, _at double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM thea_relax();
    DELETE FROM thea_places WHERE user_id = _user AND number = (
        SELECT max(number) FROM thea_places WHERE user_id = _user AND owner = _owner AND expires > thea_now(_at)
    );
END
$$
"""

_RENEW_PLACES = """
CREATE FUNCTION thea_renew_places(
    _owner text, _duration double precision, _at double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment double precision := thea_now(_at);
BEGIN
    PERFORM thea_relax();
    UPDATE thea_places SET expires = moment + _duration WHERE number IN (
        SELECT number FROM thea_places WHERE owner = _owner AND expires > moment ORDER BY number FOR UPDATE
    );
END
$$
"""

_RENEW = """
CREATE FUNCTION thea_renew(
    _user text, _owner text, _fence bigint, _duration double precision, _at double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM thea_relax();
    UPDATE thea_leases SET expires = thea_now(_at) + _duration
    WHERE user_id = _user AND owner = _owner AND fence = _fence;
    RETURN FOUND;
END
$$
"""

# Without an owner a row only says what is known of attempts at a message.
_RELEASE = """
CREATE FUNCTION thea_release(
    _user text, _owner text, _fence bigint, _at double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM thea_relax();
    UPDATE thea_leases SET owner = NULL, expires = thea_now(_at)
    WHERE user_id = _user AND owner = _owner AND fence = _fence;
END
$$
"""

# Every refusal raises, which undoes what was done before it.
_COMMIT = f"""
CREATE FUNCTION thea_commit(
    _user text, _owner text, _fence bigint, _version bigint,
    _context text, _session text, _timeout double precision, _message text, _reply text, _forget boolean,
    _plugins text[], _hooks text[], _event_ids text[], _events text[], _at double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment double precision;
    tried text;
    changed bigint;
BEGIN
    PERFORM thea_synchronize();
    UPDATE thea_leases
    SET owner = NULL, expires = thea_now(_at),
        message_id = CASE WHEN _message IS NULL AND NOT _forget THEN message_id END
    WHERE user_id = _user AND owner = _owner AND fence = _fence
    RETURNING expires, message_id INTO moment, tried;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '{LOST}', MESSAGE = 'the lease of this conversation was lost';
    END IF;

    IF _context IS NOT NULL OR _session IS NOT NULL THEN
        IF _version = 0 THEN
            INSERT INTO thea_conversations
            VALUES (_user, 1, _session, CASE WHEN _session IS NOT NULL THEN moment + _timeout END, moment, _context)
            ON CONFLICT DO NOTHING;
        ELSE
            UPDATE thea_conversations
            SET version = version + 1, session_id = _session, context = _context,
                written = CASE WHEN _message IS NULL AND _timeout IS NULL THEN written ELSE moment END,
                deadline = CASE WHEN _session IS NOT NULL THEN coalesce(moment + _timeout, deadline) END
            WHERE user_id = _user AND version = _version;
        END IF;
        GET DIAGNOSTICS changed = ROW_COUNT;
    ELSE
        changed := thea_remove(_user, _version);
        IF tried IS NULL THEN
            DELETE FROM thea_leases WHERE user_id = _user;
        END IF;
    END IF;
    IF changed = 0 THEN
        RAISE EXCEPTION USING ERRCODE = '{OUTDATED}', MESSAGE = 'this conversation has another version by now';
    END IF;

    IF _message IS NOT NULL THEN
        INSERT INTO thea_messages VALUES (_user, _message, moment, coalesce(_reply, 'null')) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = '{HANDLED}', MESSAGE = 'this message id was handled before';
        END IF;
    END IF;
    IF _forget THEN
        DELETE FROM thea_messages WHERE user_id = _user AND message_id IS DISTINCT FROM _message;
        PERFORM thea_forget_events(_user, _plugins, moment);
    END IF;
    IF _plugins IS NOT NULL THEN
        PERFORM thea_store_events(_user, _plugins, _hooks, _event_ids, _events, moment);
    END IF;
END
$$
"""

# Returns how many rows fitted the version; none that had version 0 does, too.
_REMOVE = """
CREATE FUNCTION thea_remove(_user text, _version bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM thea_conversations WHERE user_id = _user AND version = _version;
    IF FOUND THEN
        RETURN 1;
    END IF;
    PERFORM FROM thea_conversations WHERE user_id = _user;
    RETURN CASE WHEN FOUND OR _version <> 0 THEN 0 ELSE 1 END;
END
$$
"""

# A session may have moved between the look at its deadline and the lock of its lease: it is looked at again.
_CLAIM_EXPIRED = """
CREATE FUNCTION thea_claim_expired(
    _owner text, _duration double precision, _limit bigint, _at double precision
) RETURNS TABLE (user_id text, fence bigint, session_id text, context text, version bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment double precision := thea_now(_at);
    users text[];
BEGIN
    PERFORM thea_relax();
    SELECT array_agg(found.user_id) INTO users FROM (
        SELECT c.user_id
        FROM thea_conversations AS c JOIN thea_leases AS l ON l.user_id = c.user_id
        WHERE c.deadline <= moment AND (l.owner IS NULL OR l.expires <= moment)
        ORDER BY c.deadline, c.user_id
        LIMIT _limit
        FOR UPDATE OF l SKIP LOCKED
    ) AS found;
    RETURN QUERY
    WITH expired AS MATERIALIZED (
        SELECT c.user_id, c.session_id, c.context, c.version, c.deadline
        FROM thea_conversations AS c
        WHERE c.user_id = ANY (users) AND c.deadline <= moment
    ), taken AS (
        UPDATE thea_leases AS l
        SET owner = _owner, fence = nextval('thea_fences'), expires = moment + _duration
        FROM expired WHERE l.user_id = expired.user_id
        RETURNING l.user_id, l.fence
    )
    SELECT taken.user_id, taken.fence, expired.session_id, expired.context, expired.version
    FROM taken JOIN expired ON expired.user_id = taken.user_id
    ORDER BY expired.deadline, expired.user_id;
END
$$
"""

# The rows are gone through by key, some at a time; what is returned last tells where to go on.
_PURGE_MESSAGES = """
CREATE FUNCTION thea_purge_messages(
    _before double precision, _after_user text, _after_message text, _rows bigint
) RETURNS TABLE (removed bigint, last_user text, last_message text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM thea_relax();
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT m.user_id, m.message_id, m.handled FROM thea_messages AS m
        WHERE (m.user_id, m.message_id) > (_after_user, _after_message)
        ORDER BY m.user_id, m.message_id LIMIT _rows
    ), gone AS (
        DELETE FROM thea_messages AS m USING page
        WHERE m.user_id = page.user_id AND m.message_id = page.message_id
        AND page.handled < _before AND m.handled < _before
        RETURNING 1
    ), final AS (
        SELECT page.user_id, page.message_id FROM page ORDER BY page.user_id DESC, page.message_id DESC
        LIMIT CASE WHEN (SELECT count(*) FROM page) = _rows THEN 1 ELSE 0 END
    )
    SELECT (SELECT count(*) FROM gone), (SELECT user_id FROM final), (SELECT message_id FROM final);
END
$$
"""

_PURGE_LEASES = """
CREATE FUNCTION thea_purge_leases(_older_than double precision, _at double precision)
RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    moment double precision := thea_now(_at);
    before double precision := moment - _older_than;
BEGIN
    PERFORM thea_relax();
    UPDATE thea_leases SET owner = NULL, message_id = NULL, attempt = 1 WHERE user_id IN (
        SELECT user_id FROM thea_leases
        WHERE expires < before AND (owner IS NOT NULL OR message_id IS NOT NULL)
        FOR UPDATE SKIP LOCKED
    );
    DELETE FROM thea_leases AS l WHERE user_id IN (
        SELECT user_id FROM thea_leases WHERE expires < before FOR UPDATE SKIP LOCKED
    ) AND NOT EXISTS (SELECT FROM thea_conversations AS c WHERE c.user_id = l.user_id);
    DELETE FROM thea_places WHERE number IN (
        SELECT number FROM thea_places WHERE expires < moment FOR UPDATE SKIP LOCKED
    );
    RETURN before;
END
$$
"""

_PURGE_CONVERSATIONS = """
CREATE FUNCTION thea_purge_conversations(
    _older_than double precision, _after text, _rows bigint, _at double precision
) RETURNS TABLE (removed bigint, last_user text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment double precision := thea_now(_at);
    before double precision := moment - _older_than;
    seen text[];
    users text[];
BEGIN
    PERFORM thea_relax();
    SELECT array_agg(page.user_id ORDER BY page.user_id) INTO seen FROM (
        SELECT c.user_id FROM thea_conversations AS c WHERE c.user_id > _after ORDER BY c.user_id LIMIT _rows
    ) AS page;
    SELECT array_agg(found.user_id) INTO users FROM (
        SELECT l.user_id
        FROM thea_conversations AS c JOIN thea_leases AS l ON l.user_id = c.user_id
        WHERE c.user_id = ANY (seen) AND c.written < before AND c.session_id IS NULL
        AND (l.owner IS NULL OR l.expires <= moment)
        FOR UPDATE OF l SKIP LOCKED
    ) AS found;
    RETURN QUERY
    WITH old AS (
        DELETE FROM thea_conversations AS c
        WHERE c.user_id = ANY (users) AND c.written < before AND c.session_id IS NULL
        RETURNING c.user_id
    ), messages AS (
        DELETE FROM thea_messages AS m USING old WHERE m.user_id = old.user_id
    ), leases AS (
        DELETE FROM thea_leases AS l USING old WHERE l.user_id = old.user_id
    )
    SELECT count(*), CASE WHEN cardinality(seen) = _rows THEN seen[_rows] END FROM old;
END
$$
"""

FUNCTIONS = (
    _NOW,
    _RELAX,
    _SYNCHRONIZE,
    _PLACE,
    _BEGIN,
    _ENQUEUE,
    _DEQUEUE,
    _RENEW_PLACES,
    _RENEW,
    _RELEASE,
    _REMOVE,
    _COMMIT,
    _CLAIM_EXPIRED,
    _PURGE_LEASES,
    _PURGE_MESSAGES,
    _PURGE_CONVERSATIONS,
)
"""All of them, in an order in which they can be made."""
