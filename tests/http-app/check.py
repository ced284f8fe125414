#!/usr/bin/env python3
"""Holds changed.toml against both versions, and everything else that is asked against its promise to be the same.

Both URLs name libraries with a freshly loaded database: check.py OLD NEW.
"""

import http.client
import json
import re
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROUNDS = 5
# A version is slower at what its fastest answer takes so much longer for.
SLOWER = 0.03
# Of the server and of the moment, or how it was carried.
PASSING = {"connection", "content-length", "date", "etag", "expires", "last-modified", "server", "transfer-encoding", "x-request-id"}


class Client:
    """One connection, with the cookie and the tag that it was given last."""

    def __init__(self, url):
        self.url = url
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self.cookie = self.tag = ""

    def ask(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if headers.get("If-None-Match") == "":
            headers["If-None-Match"] = self.tag
        began = time.monotonic()
        self.connection.request(method, path, body, headers | {"Cookie": self.cookie})
        answer = self.connection.getresponse()
        content = answer.read()
        took = time.monotonic() - began
        fields = {name.lower(): value.removeprefix(self.url) for name, value in answer.getheaders()}
        self.tag = fields.get("etag", self.tag)
        if "set-cookie" in fields:
            self.cookie = fields["set-cookie"].split(";")[0]
            fields["set-cookie"] = self.cookie.split("=")[0]
        media = fields.get("content-type", "").split(";")[0]
        content = json.loads(content) if media == "application/json" and content else content.decode().splitlines()
        return {"status": answer.status, "fields": {n: v for n, v in fields.items() if n not in PASSING}, "content": content}, took


def requests(number):
    """Everything that the traffic asks for, as (method, path, body, headers); `number` is for what it makes."""
    as_json = {"Content_Type": "application/json"}
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    loan = lambda name, days: json.dumps({"number": f"{number}-{name}", "book": 7, "days": days})  # noqa: E731
    review = json.dumps({"number": number, "book": 7, "stars": 4, "body": "kurz"})
    return [
        ("GET", "/api/me", None, {}),
        ("POST", "/login", "member=ada&password=guess", form),
        ("POST", "/login", "member=ada&password=ada-password", form),
        ("GET", "/api/me", None, {}),
        ("POST", "/api/loans", loan("short", 14), as_json),
        ("POST", "/api/loans", loan("long", 60), as_json),
        ("GET", "/account", None, {}),
        ("POST", "/api/reviews", review, as_json),
        ("POST", "/api/uploads", b"0123456789abcdef" * 4096, {"Content_Type": "application/octet-stream"}),
        ("POST", "/logout", None, {}),
        ("GET", "/account", None, {}),
        ("GET", "/", None, {}),
        ("GET", "/api/books?page=3", None, {}),
        ("HEAD", "/api/books?page=2", None, {}),
        ("GET", "/api/books/12", None, {}),
        ("GET", "/api/books/9999", None, {}),
        ("GET", "/api/search?q=tides", None, {}),
        ("GET", "/api/shelves", None, {}),
        ("GET", "/api/shelves", None, {"If_None_Match": ""}),
        ("GET", "/api/clock", None, {}),
        ("GET", "/catalogue", None, {}),
        ("GET", "/export.csv", None, {}),
        ("GET", "/no/such/page", None, {}),
        ("GET", "/favicon.ico", None, {}),
        ("GET", "/static/style.css", None, {}),
        ("GET", "/static/app.js", None, {"If_Modified_Since": "Thu, 01 Jan 2037 12:00:00 GMT"}),
    ]


ABSENT = object()


def places(old, new, path="$"):
    """Where two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            place for key in old | new for place in places(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}")
        }
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return {place for i, pair in enumerate(zip(old, new)) for place in places(*pair, f"{path}[{i}]")}
    if ABSENT in (old, new):
        return {path + one_sided(old, new)}
    if kind(old) != kind(new):
        return {f"{path}, type"}
    return set() if old == new and type(old) is type(new) else {path}


def kind(value):
    """JSON has one kind of numbers."""
    return float if type(value) is int else type(value)


def one_sided(old, new):
    return ", added" if old is ABSENT else ", removed" if new is ABSENT else ""


def differences(old, new):
    """As (kind, place)."""
    if old["status"] != new["status"]:
        kinds = {(False, True): "new error", (True, False): "vanished error", (True, True): "different error"}
        return {(kinds.get((old["status"] >= 400, new["status"] >= 400), "status"), "status")}
    pairs = {name: [side["fields"].get(name, ABSENT) for side in (old, new)] for name in old["fields"] | new["fields"]}
    fields = {name + one_sided(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    content = places(old["content"], new["content"])
    if not isinstance(old["content"], dict) and "json" not in old["fields"].get("content-type", ""):
        content = {"line"} if content else set()
    return {("headers", f"header {name}") for name in fields} | {("values", place) for place in content}


def named(method, path):
    """What changed.toml calls a request."""
    path, _, query = path.partition("?")
    keys = "&".join(sorted(pair.split("=")[0] for pair in query.split("&")))
    return f"{method} {re.sub(r'(?<=/)[0-9]+', '{n}', path)}" + (f"?{keys}" if query else "")


def main():
    old, new = map(Client, sys.argv[1:])
    changed, noise, fastest = set(), set(), {}
    for turn in range(ROUNDS):
        for method, path, body, headers in requests(f"check-{turn}"):
            name = named(method, path)
            (expected, before), (observed, after) = (client.ask(method, path, body, **headers) for client in (old, new))
            found = {(name, *difference) for difference in differences(expected, observed)}
            if method == "GET":
                again, _ = old.ask(method, path, body, **headers)
                noisy = {(name, *difference) for difference in differences(expected, again)}
                noise |= noisy
                found -= noisy
            changed |= found
            fast = fastest.setdefault(name, [before, after])
            fastest[name] = [min(fast[0], before), min(fast[1], after)]

    truth = tomllib.loads((HERE / "changed.toml").read_text())
    wrong = []

    def expect(what, expected, observed):
        wrong.extend(f"{what}: {one} is in changed.toml and was not seen" for one in sorted(expected - observed))
        wrong.extend(f"{what}: {one} was seen and is not in changed.toml" for one in sorted(observed - expected))

    def known(part):
        return {(one["request"], one["kind"], place) for one in truth[part] for place in one["places"]}

    expect("changed", known("changed"), changed)
    expect("noise", known("noise"), noise)
    expect("slower", {one["request"] for one in truth["slower"]}, {name for name, (a, b) in fastest.items() if b - a > SLOWER})
    for method, pattern in re.findall(r'^    \("([A-Z]+)", r"(.+?)"', (HERE / "app.py").read_text(), re.MULTILINE):
        asked = (path.partition("?")[0] for known, path, *_ in requests("") if known == method)
        if not any(re.fullmatch(pattern, path) for path in asked):
            wrong.append(f"{method} {pattern} is never asked for")

    print(f"{len(changed)} changed, {len(noise)} noise, {len(truth['slower'])} slower, {len(wrong)} wrong")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
