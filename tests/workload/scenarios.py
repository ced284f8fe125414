"""What the shop's Python clients do: one function a session, each on tables of its own.

Every function returns what it read, so that two servers can be held against each other.
"""

import datetime
import decimal
import logging
import threading
import uuid

import psycopg
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

# psycopg warns of every pipeline that the server refused; here some are meant to be.
logging.getLogger("psycopg").setLevel(logging.ERROR)

UTC = datetime.timezone.utc


def connect(url, **settings):
    return psycopg.connect(url, row_factory=tuple_row, **settings)


def attempt(read, conn, sql, params=None):
    """Runs what the server refuses, and keeps how."""
    try:
        conn.execute(sql, params)
    except psycopg.Error as error:
        read.append((error.sqlstate, error.diag.message_primary))


def binary(url, rng):
    """Typed binary parameters and binary results of every common type, NULLs among them."""
    read = []
    with connect(url, autocommit=True) as conn:
        conn.execute("TRUNCATE typed")
        cur = conn.cursor(binary=True)
        marks = ", ".join(["%b"] * 15)
        for i in range(1, 21):
            row = (
                i, i % 2 == 0, rng.randrange(-30000, 30000), rng.randrange(2**40), decimal.Decimal(rng.randrange(10**9)) / 1000,
                i / 8, datetime.date(2024, 1, i), datetime.datetime(2024, 2, i, 3, 4, 5, 678901, UTC), datetime.timedelta(days=i, seconds=5),
                uuid.UUID(int=rng.getrandbits(128)), rng.randbytes(i * 7), Jsonb({"n": i, "text": "ünïcode \u2615"}),
                [i, None, -i], ["a,b", 'qu"ote', ""], Range(i, i + 10),
            )  # fmt: skip
            if i % 5 == 0:
                row = (i,) + (None,) * 14
            cur.execute(f"INSERT INTO typed VALUES ({marks})", row)
        cur.execute("SELECT * FROM typed WHERE big >= %b OR flag IS NULL ORDER BY id", (2**20,))
        read += cur.fetchall()
        cur.execute("SELECT id, exact, approximate, moment FROM typed WHERE id = ANY(%b)", ([3, 4, 10],))
        read += sorted(cur.fetchall())
        cur.execute("SELECT %b::text || %t, %b::int + %t::int", ("binary ", "text", 1, 2))
        read += cur.fetchall()
    return read


def prepared(url, rng):
    """Named statements: prepared at once, prepared after a few uses, changed under way, many at a time."""
    read = []
    with connect(url, autocommit=True) as conn:
        for _ in range(12):
            key = rng.randrange(1, 2000)
            read += conn.execute("SELECT name, email, balance FROM customers WHERE id = %s", (key,), prepare=True).fetchall()
            read += conn.execute("SELECT count(*), sum(quantity) FROM orders WHERE customer = %s", (key,)).fetchall()
        with conn.cursor() as cur:
            cur.executemany(
                "UPDATE carts SET items = %s WHERE client = %s", [(i, 50 + i) for i in range(1, 6)]
            )
            read.append(cur.rowcount)
        attempt(read, conn, "SELECT 100 / %s", (0,))
    return read


def pipeline(url, rng):
    """Many requests on their way at once, one of them refused in the middle."""
    read = []
    with connect(url, autocommit=True) as conn:
        with conn.pipeline():
            cursors = [conn.execute("SELECT id, name FROM products WHERE id = %s", (rng.randrange(1, 1000),)) for _ in range(20)]
            read += [cur.fetchall() for cur in cursors]
        try:
            with conn.pipeline() as pipe:
                conn.execute("SELECT 'before', %s::int", (1,))
                pipe.sync()
                conn.execute("SELECT 1 / %s", (0,))
                conn.execute("SELECT 'given up', %s::int", (2,))
                pipe.sync()
                conn.execute("SELECT 'after', %s::int", (3,))
        except psycopg.Error as error:
            read.append(error.sqlstate)
        read += conn.execute("SELECT 'still here'").fetchall()
    return read


def cursors(url, rng):
    """Server-side cursors: fetched in portions, scrolled, binary, held beyond the transaction."""
    read = []
    with connect(url) as conn:
        with conn.cursor(name="portions", binary=True) as cur:
            cur.itersize = 100
            cur.execute("SELECT id, placed, quantity FROM orders WHERE id <= %s ORDER BY id", (rng.randrange(250, 450),))
            read += list(cur)
        with conn.cursor(name="scrolled", scrollable=True) as cur:
            cur.execute("SELECT id FROM products ORDER BY id")
            read += cur.fetchmany(5)
            cur.scroll(500, mode="absolute")
            read += cur.fetchmany(3)
            cur.scroll(-2)
            read.append(cur.fetchone())
        held = conn.cursor(name="held", withhold=True)
        held.execute("SELECT id, name FROM customers WHERE id <= 30 ORDER BY id")
        conn.commit()
        read += held.fetchmany(10)
        conn.commit()
        read += held.fetchall()
        held.close()
    return read


def copy(url, rng):
    """COPY in and out, text and binary, by rows and by blocks; one refused by the server, one given up by the client."""
    read = []
    rows = [(i, decimal.Decimal(rng.randrange(10**6)) / 100, f"note\t{i}\\" if i % 3 else None) for i in range(1, 301)]
    with connect(url) as conn, conn.cursor() as cur:
        cur.execute("TRUNCATE payments")
        with cur.copy("COPY payments (id, amount, method) FROM STDIN") as sink:
            for row in rows:
                sink.write_row(row)
        read.append(cur.rowcount)
        with cur.copy("COPY payments (id, amount, method) FROM STDIN (FORMAT binary)") as sink:
            sink.set_types(["int4", "numeric", "text"])
            for i, amount, method in rows[:50]:
                sink.write_row((i + 1000, amount, method))
        read.append(cur.rowcount)
        for form in ("text", "csv", "binary"):
            with cur.copy(f"COPY (SELECT * FROM payments ORDER BY id) TO STDOUT (FORMAT {form})") as source:
                read.append(b"".join(source))
        conn.commit()
        try:
            with cur.copy("COPY payments FROM STDIN") as sink:
                sink.write("5000\t-1\trefused\n")
        except psycopg.Error as error:
            read.append(error.sqlstate)
        conn.rollback()
        try:
            with cur.copy("COPY payments FROM STDIN") as sink:
                sink.write_row((6000, 1, "given up"))
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            conn.rollback()
        cur.execute("SELECT count(*), sum(amount) FROM payments")
        read += cur.fetchall()
        conn.commit()
    return read


def transactions(url, rng):
    """Errors inside transactions: given up as a whole, saved by a savepoint, refused at the commit."""
    read = []
    with connect(url) as conn:
        conn.execute("INSERT INTO readings VALUES (100, 1, 'lost')")
        attempt(read, conn, "INSERT INTO customers VALUES (%s, 'Taken', 'taken', '2024-01-01', 0)", (rng.randrange(1, 2000),))
        attempt(read, conn, "SELECT 'never said'")
        conn.rollback()
        with conn.transaction():
            conn.execute("CREATE TEMPORARY TABLE steps (n int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
            for n in (1, 2, 2 / 0.5, 5):
                try:
                    with conn.transaction():
                        conn.execute("INSERT INTO steps VALUES (%s)", (int(n),))
                        conn.execute("SELECT 10 / (%s - 4)", (int(n),))
                except psycopg.errors.DivisionByZero as error:
                    read.append(error.sqlstate)
            read += conn.execute("SELECT n FROM steps ORDER BY n").fetchall()
        try:
            with conn.transaction():
                conn.execute("INSERT INTO steps VALUES (1)")
        except psycopg.errors.UniqueViolation as error:
            read.append(error.sqlstate)
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        attempt(read, conn, "DELETE FROM customers WHERE id = 1")
        conn.rollback()
    return read


def cancel(url, rng):
    """A long statement that the client has cancelled, over a connection of its own; the session goes on."""
    read = []
    with connect(url, autocommit=True) as conn:
        timer = threading.Timer(0.5, conn.cancel)
        timer.start()
        attempt(read, conn, "SELECT pg_sleep(60)")
        timer.join()
        read += conn.execute("SELECT 'awake'").fetchall()
    return read


SCENARIOS = [binary, prepared, pipeline, cursors, copy, transactions, cancel]
