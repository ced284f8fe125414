#!/usr/bin/env python3
"""The library's day: real clients talk to URL for a while. Whoever answers otherwise than expected fails it.

usage: traffic.py URL [--duration SECONDS]
"""

import argparse
import json
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Loopback only: the browser can't even look up another name.
BROWSER = (
    "chromium --headless --dump-dom --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --disable-default-apps"
).split() + ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
# What one curl made is there before the next one asks for it, also in a replay that is late.
PAUSE = 1


def run(*command, timeout=60):
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def expect(what, observed, expected):
    if observed != expected:
        raise SystemExit(f"{what}: expected {expected}, observed {observed}")


def curl(url, dir, *requests):
    """One curl for several requests, each (status, path, options...): over one connection while the server keeps it."""
    command = ["curl", "--silent", "--show-error"]
    for i, (_, path, *options) in enumerate(requests):
        command += ["--next"] * (i > 0)
        command += ["--cookie", dir / "jar", "--cookie-jar", dir / "jar", "--output", dir / "body", "--write-out", "%{http_code} "]
        command += [*options, url + path]
    statuses = run(*command).decode().split()
    expect([path for _, path, *_ in requests], statuses, [str(status) for status, *_ in requests])
    time.sleep(PAUSE)


def as_json(value):
    return ["--header", "Content-Type: application/json", "--data", json.dumps(value)]


def member(url, name, until):
    """Logs in with one curl; borrows, reviews, uploads and logs out with another that has the cookie."""
    with tempfile.TemporaryDirectory() as scratch:
        dir = Path(scratch)
        (dir / "upload").write_bytes(bytes(range(256)) * 1200)
        round = 0
        while round == 0 or time.monotonic() < until:
            round += 1
            number = f"{name}-{round}"
            form = ["--data", f"member={name}", "--data", f"password={name}-password"]
            (dir / "jar").unlink(missing_ok=True)
            curl(
                url,
                dir,
                (401, "/api/me"),
                (403, "/login", "--data", f"member={name}&password=guess"),
                (303, "/login", *form),
                (200, "/account"),
            )
            curl(
                url,
                dir,
                (200, "/api/me", "--compressed"),
                (201, "/api/loans", *as_json({"number": f"{number}-short", "book": 7, "days": 14})),
                (201, "/api/loans", *as_json({"number": f"{number}-long", "book": 8, "days": 60})),
                (200, "/account", "--compressed"),
                (201, "/api/reviews", *as_json({"number": number, "book": 7, "stars": 4, "body": "Zu kurz, aber schön"})),
                (200, "/api/uploads", "--header", "Expect: 100-continue", "--header", "Content-Type: application/octet-stream",
                 "--data-binary", f"@{dir / 'upload'}"),
                (204, "/logout", "--request", "POST"),
                (401, "/account"),
            )  # fmt: skip


def reader(url, until):
    """Everything that needs no session."""
    with tempfile.TemporaryDirectory() as scratch:
        dir = Path(scratch)
        # On one connection, and as many as a test of significance needs, however slow the machine is.
        curl(url, dir, *[(200, f"/api/search?q={word}") for word in ("tides", "salt", "of", "granite") * 12])
        first = True
        while first or time.monotonic() < until:
            tag = ["--etag-save", dir / "tag"] if first else ["--etag-compare", dir / "tag"]
            curl(
                url,
                dir,
                (200, "/"),
                (200, "/api/books?page=2", "--head"),
                (200, "/api/books?page=3", "--compressed"),
                (404, "/api/books/9999"),
                (404, "/no/such/page"),
                (301, "/catalogue"),
                (200, "/export.csv"),
                (200, "/export.csv", "--http1.0", "--compressed"),
                (200, "/static/style.css", "--compressed"),
                (200 if first else 304, "/api/shelves", *tag),
                (200, "/static/app.js"),
            )
            curl(url, dir, (200, "/catalogue", "--location"), (304, "/static/app.js", "--time-cond", "1 Jan 2037 12:00:00 GMT"))
            pipelined(url, ["/api/books/1", "/api/books/2", "/api/clock", "/api/books/3", "/static/app.js", "/api/books?page=1"])
            first = False


def pipelined(url, paths):
    """All requests at once, then all responses."""
    host, port = url.removeprefix("http://").split(":")
    requests = [f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n" for path in paths]
    requests[-1] += "Connection: close\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("".join(request + "\r\n" for request in requests).encode())
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    expect("pipelined", answers.count(b"HTTP/1.1 200 OK\r\n"), len(paths))


def browser(url):
    """A page, its style, its script, and what the script asks for; twice, the second time with a cache."""
    with tempfile.TemporaryDirectory() as profile:
        for _ in range(2):
            page = run(*BROWSER, f"--user-data-dir={profile}", url + "/", timeout=120).decode()
            expect("books on the browser's page", page.count("<li>"), 32)


def load(url, seconds):
    """A bounded load: a few connections that pause after each answer."""
    out = run("wrk", "--threads", 1, "--connections", 4, "--duration", f"{seconds}s", "--script", HERE / "wrk.lua", url, timeout=seconds + 60)
    expect("wrk's errors", b"Non-2xx" in out or b"Socket errors" in out, False)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("url")
    arguments.add_argument("--duration", type=int, default=8, metavar="SECONDS")
    options = arguments.parse_args()
    until = time.monotonic() + options.duration
    failed = []

    def client(function, *parameters):
        def guarded():
            try:
                function(options.url, *parameters)
            except BaseException as error:
                failed.append(f"{function.__name__}: {error}")

        return threading.Thread(target=guarded)

    clients = [client(member, name, until) for name in ("ada", "ben", "cleo")]
    clients += [client(reader, until), client(browser), client(load, options.duration)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
