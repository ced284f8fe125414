"""Sessions that connect and prepare, say "ready", and go on when a line comes on standard input."""

import argparse
import sys
import threading
import time

import psycopg

READS = ["SELECT 'it''s', %s::int + 1", "SELECT count(*) FROM pg_class WHERE relname = %s::text"]
WRITE = "INSERT INTO midstream (number, body) VALUES (%s, 'a literal')"


def reader(conn, seconds):
    """Each statement for a while. What is executed in between was prepared in sight, or never."""
    for sql in READS:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            conn.execute(sql, ["7"], prepare=True)
            time.sleep(0.05)
        conn.execute("SELECT 'seen'", prepare=False)


def writer(conn, seconds):
    """Transactions that take nearly all of the time."""
    end = time.monotonic() + 2 * seconds
    while time.monotonic() < end:
        with conn.transaction():
            conn.execute(WRITE, ["1"], prepare=True)
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=3, help="for each statement (default: %(default)s)")
    args = parser.parse_args()

    sessions = []
    for run in (reader, reader, writer):
        conn = psycopg.connect(args.url, autocommit=True, application_name=run.__name__)
        for sql in READS + [WRITE]:
            conn.execute(sql, ["1"], prepare=True)
        sessions.append((run, conn))
    print("ready", flush=True)
    sys.stdin.readline()
    threads = [threading.Thread(target=run, args=(conn, args.seconds)) for run, conn in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, conn in sessions:
        conn.close()


if __name__ == "__main__":
    main()
