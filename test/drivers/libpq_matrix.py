"""
Connects in every way that settings.json lists, and tells what came of each, as JSON:

    python libpq_matrix.py < settings.json
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

given = json.load(sys.stdin)


def connect(way):
    return psycopg.connect(**given["login"], **way, autocommit=True)


def wait_until_sleeping(observer, pid):
    query = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
    while not observer.execute(query, [pid]).fetchone()[0]:
        time.sleep(0.01)


def cancelled(conn, observer, cancel):
    """Whether a cancel meets the statement that runs, and nothing behind it."""
    pid = conn.execute("SELECT pg_backend_pid()").fetchone()[0]
    with ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(conn.execute, "SELECT pg_sleep(300)")
        wait_until_sleeping(observer, pid)
        cancel()
        code = type(sleeping.exception(60)).sqlstate
    return [code, conn.execute("SELECT 'goes on'").fetchone()[0]]


def attempt(way, observer):
    try:
        conn = connect(way)
    except psycopg.OperationalError as error:
        return {"refused": str(error).split("failed: ")[-1].strip()}
    with conn:
        pgconn = conn.pgconn
        with conn.cursor() as cursor:
            cursor.executemany("SELECT %s::int", [[n] for n in range(10)], returning=True)
            with cursor.copy("COPY (SELECT generate_series(1, 1000)) TO STDOUT") as copy:
                copied = sum(int(row) for row, in copy.rows())
        return {
            "protocol": pgconn.full_protocol_version,
            "tls": bool(pgconn.ssl_in_use),
            "copied": copied,
            "safely": cancelled(conn, observer, lambda: conn.cancel_safe(timeout=30)),
            "plainly": cancelled(conn, observer, conn.cancel),
        }


with connect(given["observer"]) as observer:
    json.dump([attempt(way, observer) for way in given["ways"]], sys.stdout)
