-- A lending library. Whatever clients make has a number that the client chose, so that no answer depends on who came first.

DROP TABLE IF EXISTS reviews, loans, sessions, members, books;

CREATE TABLE books (
    id int PRIMARY KEY,
    title text NOT NULL,
    author text NOT NULL,
    price numeric(6, 2) NOT NULL,
    pages int NOT NULL
);
CREATE TABLE members (name text PRIMARY KEY, password bytea NOT NULL);
CREATE TABLE sessions (token text PRIMARY KEY, member text NOT NULL REFERENCES members);
CREATE TABLE loans (
    number text PRIMARY KEY,
    member text NOT NULL REFERENCES members,
    book int NOT NULL REFERENCES books,
    days int NOT NULL
);
CREATE TABLE reviews (
    number text PRIMARY KEY,
    member text NOT NULL REFERENCES members,
    book int NOT NULL REFERENCES books,
    stars int NOT NULL,
    body text NOT NULL
);

INSERT INTO books
SELECT id,
    (ARRAY['Tides', 'Granite', 'Letters', 'Orchards', 'Winters', 'Lanterns', 'Maps'])[1 + id % 7]
        || ' of ' || (ARRAY['the North', 'Glass', 'a Small Town', 'Salt', 'Nobody'])[1 + id % 5],
    (ARRAY['M. Ferro', 'Ida Kranz', 'Ø. Lund', 'P. Achebo', 'Jo Tanaka'])[1 + id % 5],
    5 + id % 40 + 0.25 * (id % 4),
    90 + id * 7 % 500
FROM generate_series(1, 400) AS id;
INSERT INTO members
SELECT name, sha256(convert_to(name || '-password', 'UTF8'))
FROM unnest(ARRAY['ada', 'ben', 'cleo', 'dirk', 'eve', 'finn']) AS name;
