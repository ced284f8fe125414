"""Holds changed.toml against two real servers, and everything else in the traffic against its promise to be the same.

Both URLs name freshly loaded shops: check.py OLD NEW.
"""

import random
import re
import sys

import psycopg

import scenarios
import traffic


def answer(url, entry):
    """What a client sees of one statement, in the words of changed.toml."""
    warnings = []
    with psycopg.connect(url, autocommit=True) as conn:
        conn.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
        cur = psycopg.RawCursor(conn)
        try:
            if "copy" in entry:
                cur = traffic.send(conn, entry)
            else:
                cur.execute(entry["sql"], entry.get("params"))
        except psycopg.Error as error:
            return {"error": error.sqlstate}
        if warnings:
            return {"warnings": warnings}
        result = cur.pgresult
        if not cur.description:
            return {"tag": cur.statusmessage}
        types = psycopg.postgres.types
        names = [(types.get(c.type_code) or types[c.type_code]) for c in cur.description]
        oid_name = ["_" + n.name if n.array_oid == c.type_code else n.name for n, c in zip(names, cur.description)]
        rows = [[v and v.decode() for v in (result.get_value(r, c) for c in range(result.nfields))] for r in range(result.ntuples)]
        return {"columns": [f"{c.name} {t}" for c, t in zip(cur.description, oid_name)], "rows": rows}


def kinds(old, new):
    """The kinds of divergence between two answers."""
    if "error" in old or "error" in new:
        if "error" not in old:
            return ["new-error"]
        if "error" not in new:
            return ["vanished-error"]
        return ["different-error"] if old != new else []
    if "columns" not in old:
        return [kind for key, kind in (("tag", "affected-rows"), ("warnings", "warnings")) if old.get(key) != new.get(key)]
    split = [[c.rsplit(" ", 1) for c in side["columns"]] for side in (old, new)]
    found = []
    if [n for n, _ in split[0]] != [n for n, _ in split[1]]:
        found.append("column-names")
    if [t for _, t in split[0]] != [t for _, t in split[1]]:
        found.append("column-types")
    if len(old["rows"]) != len(new["rows"]):
        found.append("row-count")
    elif old["rows"] != new["rows"]:
        found.append("order" if sorted(old["rows"]) == sorted(new["rows"]) else "values")
    return found


def main():
    old, new = sys.argv[1:]
    wrong = []

    def expect(what, expected, observed):
        if expected != observed:
            wrong.append(f"{what}:\n  expected {expected}\n  observed {observed}")

    known = traffic.truth()
    for entry in known["changed"]:
        answers = {"old": answer(old, entry), "new": answer(new, entry)}
        for side, observed in answers.items():
            expect(f"{entry['name']} on {side}", entry[side], observed)
        expect(f"kinds of {entry['name']}", kinds(**answers), entry["kinds"])
    for entry in known["noise"]:
        if answer(old, entry) == answer(old, entry):
            wrong.append(f"{entry['name']} is no noise")
    for number, scenario in enumerate(scenarios.SCENARIOS):
        for i, (a, b) in enumerate(zip(*(scenario(url, random.Random(number)) for url in (old, new)), strict=True)):
            expect(f"{scenario.__name__}, read {i}", a, b)
    for script in traffic.PSQL:
        sides = [re.sub(r"PID \d+", "PID", traffic.psql(url, script)).splitlines() for url in (old, new)]
        for a, b in zip(*sides):
            expect(script.name, a, b)
        expect(f"lines of {script.name}", len(sides[0]), len(sides[1]))

    print(f"{len(known['changed'])} changed, {len(known['noise'])} noise, {len(wrong)} wrong")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
