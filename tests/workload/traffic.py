"""The shop's day: real clients talk to the server at URL for a while. Answers are the server's business."""

import argparse
import contextlib
import pathlib
import random
import subprocess
import tempfile
import threading
import time
import tomllib

import psycopg

import scenarios

HERE = pathlib.Path(__file__).parent
PSQL = sorted((HERE / "psql").glob("*.sql"))

# pgbench's protocol, clients, transactions a second, and what they do.
PGBENCH = [
    ("simple", 4, 15, ["-b", "tpcb-like"]),
    ("extended", 4, 80, ["-b", "select-only"]),
    ("prepared", 4, 15, ["-b", "tpcb-like"]),
    ("prepared", 4, 25, ["-f", HERE / "pgbench/shop.sql"]),
]


def truth():
    """The statements of changed.toml: those whose answers changed, and those that never repeat."""
    with open(HERE / "changed.toml", "rb") as file:
        return tomllib.load(file)


def psql(url, script):
    return subprocess.run(
        ["psql", "-Xaq", "-v", "VERBOSITY=default", "-f", script, url],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ).stdout  # fmt: skip


def send(conn, entry):
    """One statement of changed.toml over the extended protocol, with binary results."""
    cur = psycopg.RawCursor(conn)
    if "copy" in entry:
        with cur.copy(entry["sql"]) as sink:
            sink.write(entry["copy"])
    else:
        cur.execute(entry["sql"], entry.get("params"), binary=True)
    return cur


def surprises_by_psycopg(url, _rng):
    known = truth()
    with psycopg.connect(url, autocommit=True) as conn:
        for entry in known["changed"] + known["noise"]:
            with contextlib.suppress(psycopg.Error):
                send(conn, entry)


def surprises_by_psql(url, _rng):
    known = truth()
    lines = [f"{e['sql']};\n" for e in known["changed"] + known["noise"] if "params" not in e and "copy" not in e]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.writelines(lines)
        script.flush()
        psql(url, script.name)


def pgbench(url, seed, seconds):
    for number, (mode, clients, rate, what) in enumerate(PGBENCH):
        yield subprocess.Popen(
            ["pgbench", "-n", "-M", mode, "-c", str(clients), "-j", "1", "-R", str(rate), "-T", str(seconds),
             f"--random-seed={seed + number}", *what, url],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where: postgresql://shop:rehearsal@127.0.0.1:54130/shop")
    parser.add_argument("--duration", type=int, default=40, help="seconds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="for all that is drawn (default: %(default)s)")
    args = parser.parse_args()

    benches = list(pgbench(args.url, args.seed, args.duration))
    sessions = [lambda url, _rng, script=script: psql(url, script) for script in PSQL]
    sessions += scenarios.SCENARIOS + [surprises_by_psycopg, surprises_by_psql]
    failures = []

    def client(number, session):
        """One session after another, every ten seconds or so, each at a second of its own."""
        begin = time.monotonic()
        for turn in range(max(1, args.duration // 10)):
            time.sleep(max(0.0, begin + turn * 10 + number * 0.5 - time.monotonic()))
            try:
                session(args.url, random.Random(args.seed * 1000 + number * 100 + turn))
            except Exception as error:
                failures.append(f"{getattr(session, '__name__', session)}: {error!r}")

    threads = [threading.Thread(target=client, args=pair) for pair in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for bench in benches:
        _, complaints = bench.communicate()
        if bench.returncode != 0:
            failures.append(f"pgbench: {complaints.strip()}")
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
