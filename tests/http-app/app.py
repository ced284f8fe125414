"""A lending library as a web application, in two versions; changed.toml tells how they differ.

app.py VERSION DATABASE-URL SOCKET
"""

import hashlib
import html
import json
import os
import pathlib
import re
import secrets
import sys
import threading
import time
import urllib.parse
from datetime import datetime, timezone
from http import HTTPStatus
from http.cookies import SimpleCookie

import psycopg
import waitress
from psycopg.rows import dict_row

VERSION = int(sys.argv[1])
PAGE = 20
local = threading.local()


def query(sql, *params):
    """One connection a thread, made again when the server has closed it."""
    for last in (False, True):
        try:
            if not hasattr(local, "database"):
                local.database = psycopg.connect(sys.argv[2], autocommit=True, row_factory=dict_row, prepare_threshold=None)
            cursor = local.database.execute(sql, params)
            return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            del local.database
            if last:
                raise


class Answer(Exception):
    """Raised, it ends the request."""

    def __init__(self, status, body=b"", media="text/plain; charset=utf-8", **headers):
        self.status = HTTPStatus(status)
        self.chunks = [body.encode()] if isinstance(body, str) else body if not isinstance(body, bytes) else [body]
        self.headers = [("Content-Type", media)] if status != 304 else []
        self.headers += [(name.replace("_", "-"), value) for name, value in headers.items()]
        if isinstance(body, (str, bytes)) and status not in (204, 304):
            self.headers.append(("Content-Length", str(len(self.chunks[0]))))


def as_json(status, value, **headers):
    return Answer(status, json.dumps(value, default=float) + "\n", "application/json", **headers)


def page(title, items):
    listed = "".join(f"<li>{html.escape(item)}</li>\n" for item in items)
    return Answer(
        200,
        f"<!doctype html>\n<html lang=en>\n<title>{title}</title>\n<link rel=stylesheet href=/static/style.css>\n"
        f"<h1>{title}</h1>\n<ul id=items>\n{listed}</ul>\n<script src=/static/app.js></script>\n</html>\n",
        "text/html; charset=utf-8",
    )


class Request:
    def __init__(self, environ):
        self.environ = environ
        self.query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))

    def body(self):
        return self.environ["wsgi.input"].read()

    def token(self):
        cookie = SimpleCookie(self.environ.get("HTTP_COOKIE", "")).get("session")
        return cookie.value if cookie else ""

    def member(self):
        found = query("SELECT member FROM sessions WHERE token = %s", self.token())
        if not found:
            raise as_json(401, {"error": "log in first"})
        return found[0]["member"]


def home(request):
    return page("The library", [f"{b['title']}, {b['author']}" for b in query("SELECT * FROM books WHERE id <= 12 ORDER BY id")])


def login(request):
    form = dict(urllib.parse.parse_qsl(request.body().decode()))
    password = hashlib.sha256(form["password"].encode()).digest()
    if not query("SELECT name FROM members WHERE name = %s AND password = %s", form["member"], password):
        return Answer(403, "no such member, or another password\n")
    token = secrets.token_urlsafe(24)
    query("INSERT INTO sessions VALUES (%s, %s)", token, form["member"])
    return Answer(303, Location="/account", Set_Cookie=f"session={token}; Path=/; HttpOnly; SameSite=Lax")


def logout(request):
    query("DELETE FROM sessions WHERE token = %s", request.token())
    return Answer(204, Set_Cookie="session=; Path=/; Max-Age=0")


def account(request):
    member = request.member()
    loans = query("SELECT title, days FROM loans JOIN books ON id = book WHERE member = %s ORDER BY number", member)
    return page(f"{member}'s account", [f"{loan['title']} for {loan['days']} days" for loan in loans])


def me(request):
    return as_json(200, {"member": request.member(), "may": ["borrow", "review"]})


def books(request):
    number = int(request.query.get("page", 1))
    found = query("SELECT id, title, author FROM books ORDER BY id LIMIT %s OFFSET %s", PAGE, PAGE * (number - 1))
    return as_json(200, {"page": number, "books": found})


def book(request, number):
    found = query("SELECT * FROM books WHERE id = %s", int(number))
    if not found:
        return as_json(404, {"error": f"no book {number}"})
    if VERSION == 2:
        found[0]["price"] = str(found[0]["price"])
    return as_json(200, found[0])


def search(request):
    if VERSION == 2:
        time.sleep(0.06)
    found = query("SELECT id, title FROM books WHERE title ILIKE %s ORDER BY id LIMIT 10", f"%{request.query['q']}%")
    return as_json(200, {"found": found})


def loan(request):
    member, asked = request.member(), json.loads(request.body())
    if VERSION == 2 and asked["days"] > 28:
        return as_json(422, {"error": "28 days at most"})
    query("INSERT INTO loans VALUES (%s, %s, %s, %s)", asked["number"], member, asked["book"], asked["days"])
    return as_json(201, {"number": asked["number"], "member": member}, Location=f"/api/loans/{asked['number']}")


def review(request):
    member, asked = request.member(), json.loads(request.body())
    query("INSERT INTO reviews VALUES (%s, %s, %s, %s, %s)", asked["number"], member, asked["book"], asked["stars"], asked["body"])
    return as_json(201 if VERSION == 1 else 202, {"number": asked["number"]})


def upload(request):
    request.member()
    body = request.body()
    return as_json(200, {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()})


def shelves(request):
    counted = query("SELECT author, count(*), min(price) AS cheapest FROM books GROUP BY author ORDER BY author COLLATE \"C\"")
    answer = as_json(200, counted, Cache_Control="no-cache" if VERSION == 1 else "max-age=60")
    tag = f'"{hashlib.sha256(answer.chunks[0]).hexdigest()[:16]}"'
    answer.headers.append(("ETag", tag))
    if request.environ.get("HTTP_IF_NONE_MATCH") == tag:
        return Answer(304, ETag=tag)
    return answer


def export(request):
    """Of no length known before, so that it goes out in chunks."""
    rows = query("SELECT * FROM books ORDER BY id")
    return Answer(200, (f"{row['id']},{row['title']},{row['author']}\n".encode() for row in rows), "text/csv; charset=utf-8")


def clock(request):
    return as_json(200, {"at": datetime.now(timezone.utc).isoformat(), "zone": "UTC"})


def catalogue(request):
    """Names itself as it was called."""
    return Answer(301, Location=f"http://{request.environ['HTTP_HOST']}/api/books?page=1")


ROUTES = [
    ("GET", r"/", home),
    ("POST", r"/login", login),
    ("POST", r"/logout", logout),
    ("GET", r"/account", account),
    ("GET", r"/catalogue", catalogue),
    ("GET", r"/export\.csv", export),
    ("GET", r"/api/me", me),
    ("GET", r"/api/books", books),
    ("GET", r"/api/books/(\d+)", book),
    ("GET", r"/api/search", search),
    ("GET", r"/api/shelves", shelves),
    ("GET", r"/api/clock", clock),
    ("POST", r"/api/loans", loan),
    ("POST", r"/api/reviews", review),
    ("POST", r"/api/uploads", upload),
]


def answer(environ):
    method = environ["REQUEST_METHOD"].replace("HEAD", "GET")
    for known, pattern, handler in ROUTES:
        if known == method and (match := re.fullmatch(pattern, environ["PATH_INFO"])):
            return handler(Request(environ), *match.groups())
    return Answer(404, "nothing here\n")


def application(environ, start_response):
    try:
        found = answer(environ)
    except Answer as early:
        found = early
    start_response(f"{found.status.value} {found.status.phrase}", found.headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else found.chunks


def main():
    socket = pathlib.Path(sys.argv[3])
    socket.unlink(missing_ok=True)
    server = waitress.create_server(application, unix_socket=str(socket), unix_socket_perms="600", threads=8)
    pathlib.Path("app.pid").write_text(f"{os.getpid()}\n")
    server.run()


if __name__ == "__main__":
    main()
