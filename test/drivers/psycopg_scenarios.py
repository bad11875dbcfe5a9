"""
What a program does with psycopg, scenario by scenario. Each prints one value as JSON, which has to be the same whatever
stands between it and the server.

    python psycopg_scenarios.py NAME < settings.json
"""

import asyncio
import datetime as dt
import decimal
import hashlib
import ipaddress
import json
import select
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.json import Json, Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range
from psycopg_pool import AsyncConnectionPool, ConnectionPool

settings = json.load(sys.stdin)


def connect(**more):
    return psycopg.connect(**settings, **{"autocommit": True, **more})


def failure(call, *args, **kwargs):
    """How a call fails, in the words of the driver and of the server."""
    try:
        call(*args, **kwargs)
    except psycopg.Error as error:
        return [type(error).__name__, error.sqlstate, error.diag.message_primary]
    raise AssertionError("it did not fail")


def wait_until_running(observer, pid):
    query = "SELECT state = 'active' AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
    while not observer.execute(query, [pid]).fetchone()[0]:
        time.sleep(0.01)


def values():
    zone = dt.timezone(dt.timedelta(hours=2))
    day = dt.date(2026, 2, 28)
    given = [
        ("int4", 2**31 - 1),
        ("int8", -(2**63)),
        ("numeric", decimal.Decimal("-12345678901234567890.000123")),
        ("float8", 0.1),
        ("text", "Ünïcode \U0001f418 'quoted' \\ $1"),
        ("bytea", bytes(range(256))),
        ("bool", True),
        ("uuid", uuid.UUID(int=5)),
        ("date", day),
        ("timestamp", dt.datetime(2026, 2, 28, 23, 59, 59, 999999)),
        ("timestamptz", dt.datetime(1999, 12, 31, 1, 2, 3, tzinfo=zone)),
        ("time", dt.time(1, 2, 3, 4)),
        ("interval", dt.timedelta(days=-3, seconds=5, microseconds=7)),
        ("inet", ipaddress.ip_interface("10.1.2.3/24")),
        ("int4[]", [[1, None], [3, 4]]),
        ("text[]", ["a", 'quote"', "comma,", "", None, "{brace}"]),
        ("timestamptz[]", [dt.datetime(2000, 1, 1, tzinfo=zone)]),
        ("json", Json({"a": [1, None, "ü"]})),
        ("jsonb", Jsonb({"b": {"c": [True, 1.5]}})),
        ("int4range", Range(1, 10)),
        ("numrange", Range(None, decimal.Decimal("5.5"), "(]")),
        ("daterange", Range(day, day + dt.timedelta(days=3))),
        ("tstzrange", Range(empty=True)),
        ("int4multirange", Multirange([Range(1, 3), Range(5, 9)])),
        ("text", None),
    ]
    answers = []
    with connect() as conn:
        conn.execute("SET timezone TO 'UTC'")
        for binary in (False, True):
            for name, value in given:
                placeholder = "%b" if binary else "%t"
                query = f"SELECT {placeholder}::{name} AS value, pg_typeof({placeholder}::{name})::text"
                try:
                    row = conn.execute(query, [value, value], binary=binary).fetchone()
                except psycopg.ProgrammingError as error:
                    row = [str(error)]  # a type that this format does not exist for
                answers.append([name, binary, *map(repr, row)])
    return answers


def own_types():
    with connect() as conn:
        register_enum(EnumInfo.fetch(conn, "mood"), conn)
        register_composite(CompositeInfo.fetch(conn, "point3"), conn)
        answers = []
        for binary in (False, True):
            rows = conn.execute(
                "SELECT m, p, ARRAY[p, NULL] FROM (SELECT 'glad'::mood AS m, ROW(1, 2, 'x,y')::point3 AS p) AS t",
                binary=binary,
            )
            answers += [list(map(str, row)) for row in rows]
        return answers


def prepared():
    with connect(prepare_threshold=1) as conn:
        answers = [conn.execute("SELECT %s::int + 1", [n]).fetchone()[0] for n in range(6)]
        names = "SELECT name, statement FROM pg_prepared_statements ORDER BY name"
        answers.append(conn.execute(names, prepare=False).fetchall())
        conn.execute("CREATE TABLE shape (a int)")
        conn.execute("INSERT INTO shape VALUES (1)")
        for _ in range(3):
            conn.execute("SELECT * FROM shape", prepare=True)
        with connect() as other:  # its own ALTER makes psycopg prepare anew
            other.execute("ALTER TABLE shape ADD b text DEFAULT 'new'")
        answers.append(failure(conn.execute, "SELECT * FROM shape", prepare=True))
        conn.execute("ALTER TABLE shape ADD c text")
        answers.append(conn.execute("SELECT * FROM shape", prepare=True).fetchall())
        conn.execute("DEALLOCATE ALL")
        answers.append([conn.execute("SELECT %s::text", [n], prepare=True).fetchone() for n in "abc"])
        conn.prepared_max = 2
        for n in range(5):
            answers.append(conn.execute(f"SELECT {n} + %s", [n], prepare=True).fetchone()[0])
        answers.append(conn.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone()[0])
        return answers


def pipeline():
    with connect() as conn:
        answers = []
        with conn.pipeline() as pipe:
            cursors = [conn.execute("SELECT %s::int", [n]) for n in range(300)]
            pipe.sync()
            answers.append(sum(cursor.fetchone()[0] for cursor in cursors))
            conn.execute("CREATE TABLE kept (id int PRIMARY KEY)")
            conn.execute("INSERT INTO kept VALUES (1)")
            pipe.sync()
            conn.execute("INSERT INTO kept VALUES (2)")
            failing = conn.cursor()
            answers.append(failure(lambda: (failing.execute("INSERT INTO kept VALUES (1)"), pipe.sync())))
            answers.append(conn.execute("SELECT array_agg(id) FROM kept").fetchone()[0])
        with conn.pipeline():
            # It fails once what follows is on its way: psycopg raises what it has read when it sends.
            first = conn.execute("SELECT 1/length(pg_sleep(0.5)::text)")
            second = conn.execute("SELECT 2")
            answers.append(failure(first.fetchone))
            answers.append(failure(second.fetchone)[0])
        with conn.cursor() as cursor:
            many = [(n, f"name {n}") for n in range(500)]
            conn.execute("CREATE TABLE many (id int, name text)")
            cursor.executemany("INSERT INTO many VALUES (%s, %s) RETURNING id * 2", many, returning=True)
            answers.append(sum(result.fetchone()[0] for result in cursor.results()))
        with conn.transaction(), conn.pipeline():
            conn.execute("INSERT INTO many VALUES (-1, 'in a transaction')")
            with conn.transaction():
                conn.execute("INSERT INTO many VALUES (-2, 'in a savepoint')")
        answers.append(conn.execute("SELECT count(*) FROM many WHERE id < 0").fetchone()[0])
        return answers


def copy():
    with connect() as conn:
        answers = []
        cursor = conn.cursor()
        conn.execute("CREATE TABLE taken (id int, name text, at timestamptz, data bytea)")
        at = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.timezone.utc)
        rows = [(n, f"näme\t{n}\n\\", at, bytes([n % 256]) * 10) for n in range(2000)]
        with cursor.copy("COPY taken FROM STDIN") as out:
            for row in rows:
                out.write_row(row)
        answers.append(cursor.rowcount)
        with cursor.copy("COPY taken FROM STDIN (FORMAT binary)") as out:
            out.set_types(["int4", "text", "timestamptz", "bytea"])
            for row in rows:
                out.write_row(row)
        answers.append(cursor.rowcount)
        with cursor.copy("COPY taken FROM STDIN (FORMAT csv, HEADER)") as out:
            out.write("id,name,at,data\n")
            for n in range(100):
                out.write(f'{n},"a ""quoted"" , name",2026-01-01,\\\\x00ff\n')
        answers.append(cursor.rowcount)
        conn.execute("SET timezone TO 'UTC'")
        for options in ("(FORMAT text)", "(FORMAT csv, HEADER)", "(FORMAT binary)"):
            query = f"COPY (SELECT * FROM taken ORDER BY id, name) TO STDOUT {options}"
            digest, size = hashlib.sha256(), 0
            with cursor.copy(query) as data:
                for block in data:
                    digest.update(block)
                    size += len(block)
            answers.append([digest.hexdigest(), size, cursor.rowcount])
        with cursor.copy("COPY (SELECT 1::int4, 'x'::text, NULL::date) TO STDOUT (FORMAT binary)") as data:
            data.set_types(["int4", "text", "date"])
            answers.append([list(row) for row in data.rows()])

        def bad():
            with cursor.copy("COPY taken FROM STDIN") as out:
                out.write("1\tfine\t2026-01-01\t\\\\x00\nnot a number\tx\t2026-01-01\t\\\\x00\n")

        answers.append(failure(bad))

        class Stop(Exception):
            pass

        try:
            with cursor.copy("COPY taken FROM STDIN") as out:
                out.write("5\tnever\t2026-01-01\t\\\\x00\n")
                raise Stop
        except Stop:
            answers.append("stopped")
        try:
            with cursor.copy("COPY (SELECT generate_series(1, 5000000)) TO STDOUT") as data:
                answers.append(bytes(data.read()).decode())
                raise Stop  # psycopg cancels what it has not read
        except Stop:
            answers.append("stopped")
        answers.append(conn.execute("SELECT count(*) FROM taken").fetchone()[0])
        with conn.transaction(force_rollback=True):
            with cursor.copy("COPY taken FROM STDIN") as out:
                out.write_row(rows[0])
            answers.append(conn.execute("SELECT count(*) FROM taken").fetchone()[0])
        return answers


def cursors():
    with connect(autocommit=False) as conn:
        answers = []
        for binary in (False, True):
            with conn.cursor("first", binary=binary) as cursor:
                cursor.itersize = 70
                cursor.execute("SELECT n, n || '!' FROM generate_series(1, %s) AS n", [1000])
                answers.append(sum(n for n, _ in cursor))
        with conn.cursor("scrolling", scrollable=True) as cursor:
            cursor.execute("SELECT generate_series(1, 100)")
            cursor.scroll(50)
            answers.append(cursor.fetchmany(3))
            cursor.scroll(0, mode="absolute")
            answers.append(cursor.fetchone())
        held = conn.cursor("held", withhold=True)
        held.execute("SELECT generate_series(1, 20)")
        conn.commit()
        answers.append(held.fetchmany(5))
        held.close()
        with psycopg.RawCursor(conn) as raw:
            answers.append(raw.execute("SELECT $1::int + $2", [1, 2]).fetchone())
        with psycopg.ClientCursor(conn) as client:
            answers.append(client.execute("SELECT %s, %s; SELECT %s", [1, "it's", [1, 2]]).fetchone())
        answers.append(sum(row[0] for row in conn.cursor().stream("SELECT generate_series(1, 5000)")))
        answers.append(sum(row[0] for row in conn.cursor().stream("SELECT generate_series(1, 5000)", size=100)))
        return answers


def notify():
    with connect() as listener, connect() as notifier:
        answers = []
        listener.execute("LISTEN news")
        for n in range(3):
            notifier.execute("SELECT pg_notify('news', %s)", [f"number {n}"])
        answers += [[n.channel, n.payload] for n in listener.notifies(timeout=30, stop_after=3)]
        listener.execute("UNLISTEN news")
        notifier.execute("NOTIFY news, 'unheard'")
        answers.append(len(list(listener.notifies(timeout=0))))
        notices = []
        listener.add_notice_handler(lambda diag: notices.append([diag.severity, diag.message_primary]))
        listener.execute("DO $$ BEGIN RAISE NOTICE 'noted'; RAISE WARNING 'warned %', 1; END $$")
        return answers + notices


def large():
    data = hashlib.sha256(b"seed").digest() * 655_360  # 20 MiB
    with connect() as conn:
        conn.execute("CREATE TABLE blobs (data bytea)")
        answers = []
        for binary in (False, True):
            placeholder = "%b" if binary else "%t"
            conn.execute(f"INSERT INTO blobs VALUES ({placeholder})", [data])
            row = conn.execute("SELECT data, length(data), md5(data) FROM blobs", binary=binary).fetchone()
            answers.append([row[0] == data, row[1], row[2]])
            conn.execute("TRUNCATE blobs")
        text = "long text, " * 1_000_000
        answers.append(psycopg.ClientCursor(conn).execute("SELECT length(%s)", [text]).fetchone())
        answers.append(conn.execute("SELECT cardinality(%s::int[])", [list(range(200_000))]).fetchone())
        many = sql.SQL("SELECT {}").format(sql.SQL(", ").join([sql.Placeholder()] * 1500))
        answers.append(sum(conn.execute(many, list(range(1500))).fetchone()))
        answers.append(len(conn.execute("SELECT n, repeat('x', 100) FROM generate_series(1, 50000) AS n").fetchall()))
        return answers


def cancel():
    answers = []
    with connect() as observer, connect() as conn:
        pid = conn.execute("SELECT pg_backend_pid()").fetchone()[0]
        for way in (lambda: conn.cancel_safe(timeout=30), conn.cancel):
            with ThreadPoolExecutor(1) as pool:
                sleeping = pool.submit(failure, conn.execute, "SELECT pg_sleep(300)")
                wait_until_running(observer, pid)
                way()
                answers.append(sleeping.result(60))
            answers.append(conn.execute("SELECT 'goes on'").fetchone()[0])

        async def cancelled():
            async with await psycopg.AsyncConnection.connect(**settings, autocommit=True) as other:
                pid = (await (await other.execute("SELECT pg_backend_pid()")).fetchone())[0]
                task = asyncio.create_task(other.execute("SELECT pg_sleep(300)"))
                await asyncio.to_thread(wait_until_running, observer, pid)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    answers.append("cancelled")
                answers.append((await (await other.execute("SELECT 'goes on'")).fetchone())[0])

        asyncio.run(cancelled())
        return answers


def timeouts():
    answers = []
    with connect(options="-c statement_timeout=100") as conn:
        answers.append(failure(conn.execute, "SELECT pg_sleep(300)"))
        answers.append(conn.execute("SHOW statement_timeout").fetchone()[0])
        with conn.pipeline():
            slow = conn.execute("SELECT pg_sleep(300)")
            answers.append(failure(slow.fetchone))
    with connect(autocommit=False) as holder, connect(options="-c lock_timeout=100") as waiter:
        holder.execute("LOCK TABLE seats")
        answers.append(failure(waiter.execute, "SELECT * FROM seats"))
        with waiter.transaction():
            waiter.execute("SET LOCAL lock_timeout = 0")
        holder.rollback()
        answers.append(waiter.execute("SELECT count(*) FROM seats").fetchone()[0])
    with connect(options="-c idle_in_transaction_session_timeout=100", autocommit=False) as conn:
        conn.execute("SELECT 1")
        select.select([conn.fileno()], [], [], 60)
        answers.append(failure(conn.execute, "SELECT 2"))
        answers.append([conn.closed, conn.broken])
    return answers


def pools():
    answers = []

    def work(pool, n):
        with pool.connection() as conn:
            return conn.execute("SELECT %s::int * 2", [n]).fetchone()[0]

    with ConnectionPool(kwargs={**settings, "autocommit": True}, min_size=2, max_size=4, check=ConnectionPool.check_connection) as pool:
        pool.wait()
        with ThreadPoolExecutor(8) as threads:
            answers.append(sum(threads.map(lambda n: work(pool, n), range(200))))
        try:
            with pool.connection() as conn, conn.transaction():
                conn.execute("INSERT INTO seats VALUES (99)")
                raise KeyError
        except KeyError:
            with pool.connection() as conn:
                answers.append(conn.execute("SELECT count(*) FROM seats WHERE id = 99").fetchone()[0])

    async def asynchronous():
        async def one(pool, n):
            async with pool.connection() as conn:
                return (await (await conn.execute("SELECT %s::int * 3", [n])).fetchone())[0]

        async with AsyncConnectionPool(kwargs=settings, min_size=2, max_size=4, open=False) as pool:
            return sum(await asyncio.gather(*(one(pool, n) for n in range(200))))

    answers.append(asyncio.run(asynchronous()))
    return answers


def transactions():
    answers = []
    with connect() as conn:
        with conn.transaction():
            conn.execute("INSERT INTO seats VALUES (10)")
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO seats VALUES (11)")
                    raise KeyError
            except KeyError:
                pass
            answers.append(conn.execute("SELECT array_agg(id ORDER BY id) FROM seats WHERE id > 9").fetchone()[0])
    with connect(autocommit=False) as conn:
        answers.append(failure(conn.execute, "SELECT nothing FROM seats"))
        answers.append(failure(conn.execute, "SELECT 1"))
        answers.append(conn.info.transaction_status.name)
        conn.rollback()
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        answers.append(conn.execute("SHOW transaction_isolation").fetchone()[0])
        answers.append(failure(conn.execute, "INSERT INTO seats VALUES (12)"))
        conn.rollback()
    with connect(autocommit=False) as conn:
        xid = conn.xid(1, "global", "branch")
        conn.tpc_begin(xid)
        conn.execute("INSERT INTO seats VALUES (20)")
        conn.tpc_prepare()
        conn.tpc_commit()
        conn.tpc_begin(conn.xid(1, "lost", "branch"))
        conn.execute("INSERT INTO seats VALUES (21)")
        conn.tpc_prepare()
        with connect() as other:
            answers.append([xid.gtrid for xid in other.tpc_recover()])
        conn.tpc_rollback()
    with connect(row_factory=dict_row) as conn:
        answers.append(conn.execute("SELECT id FROM seats WHERE id > 9 ORDER BY id").fetchall())
    with connect() as conn:
        info = conn.info
        answers.append([info.server_version // 10000, info.encoding, info.dbname, info.parameter_status("server_encoding")])
    return answers


scenarios = {
    name: globals()[name]
    for name in (
        "values own_types prepared pipeline copy cursors notify large cancel timeouts pools transactions"
    ).split()
}

if __name__ == "__main__":
    threading.excepthook = lambda args: sys.exit(str(args.exc_value))
    json.dump(scenarios[sys.argv[1]](), sys.stdout, default=str)
