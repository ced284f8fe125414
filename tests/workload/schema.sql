-- A small shop, the same in every run: made-up people, no random() and no clock in what is read back.
CREATE TABLE customers (
    id int PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    joined date NOT NULL,
    balance numeric(12, 2) NOT NULL CHECK (balance >= 0)
);
INSERT INTO customers
SELECT i, 'Customer ' || i, 'customer' || i || '@shop.example',
       date '2020-01-01' + (i * 37) % 1500, (i * 7919) % 100000 / 100.0
FROM generate_series(1, 2000) i;

CREATE TABLE products (
    id int PRIMARY KEY,
    name text NOT NULL,
    price numeric(10, 2) NOT NULL,
    stock int NOT NULL,
    tags text[] NOT NULL,
    spec jsonb NOT NULL
);
INSERT INTO products
SELECT i, 'Product ' || i, (i * 104729) % 20000 / 100.0, (i * 31) % 500,
       ARRAY['tag' || i % 7, 'tag' || i % 11], jsonb_build_object('weight', i % 90, 'colour', (ARRAY['red', 'green', 'blue'])[1 + i % 3])
FROM generate_series(1, 1000) i;

CREATE TABLE orders (
    id int PRIMARY KEY,
    customer int NOT NULL REFERENCES customers,
    product int NOT NULL REFERENCES products,
    quantity int NOT NULL CHECK (quantity > 0),
    placed timestamptz NOT NULL
);
INSERT INTO orders
SELECT i, 1 + (i * 613) % 2000, 1 + (i * 389) % 1000, 1 + i % 5,
       timestamptz '2024-01-01 00:00:00+00' + i * interval '97 seconds'
FROM generate_series(1, 20000) i;
CREATE INDEX ON orders (customer);

-- Written by one client each, so that no race between sessions changes an answer.
CREATE TABLE carts (client int PRIMARY KEY, items int NOT NULL DEFAULT 0);
INSERT INTO carts (client) SELECT generate_series(0, 63);
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client int NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON events (client);
CREATE TABLE invoices (id serial PRIMARY KEY, number text NOT NULL UNIQUE, total numeric(12, 2) NOT NULL);
CREATE TABLE readings (sensor int, value numeric(8, 3), note text);
CREATE TABLE payments (id int PRIMARY KEY, amount numeric(12, 2) NOT NULL CHECK (amount > 0), method text);
CREATE TABLE typed (
    id int PRIMARY KEY, flag bool, small int2, big int8, exact numeric, approximate float8, day date, moment timestamptz,
    span interval, code uuid, bytes bytea, doc jsonb, numbers int[], words text[], period int4range
);
CREATE TABLE uploads (line text);

-- Read by the statements of changed.toml.
CREATE TABLE spans (id int PRIMARY KEY, span interval NOT NULL, label text NOT NULL, seen bool NOT NULL DEFAULT false);
INSERT INTO spans VALUES (1, '10 s', 'slow'), (2, '10.5 s', 'slower'), (3, '2 s', 'quick');
