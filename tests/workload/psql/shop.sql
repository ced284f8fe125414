-- Reports, a transaction that makes an invoice, several statements in one message, a cursor by FETCH_COUNT.
SELECT date_trunc('month', placed) AS month, count(*), sum(quantity) FROM orders GROUP BY 1 ORDER BY 1;
SELECT c.name, sum(o.quantity * p.price) AS spent FROM customers c JOIN orders o ON o.customer = c.id JOIN products p ON p.id = o.product GROUP BY c.id ORDER BY spent DESC, c.id LIMIT 10;
SELECT id, name FROM products WHERE 'tag3' = ANY (tags) AND spec ->> 'colour' = 'red';
SELECT spec ->> 'colour' AS colour, avg(price)::numeric(10, 4), percentile_disc(0.5) WITHIN GROUP (ORDER BY price) FROM products GROUP BY 1;
WITH RECURSIVE weeks (at) AS (SELECT date '2024-01-01' UNION ALL SELECT at + 7 FROM weeks WHERE at < '2024-02-01') SELECT at, (SELECT count(*) FROM orders WHERE placed >= at AND placed < at + 7) FROM weeks ORDER BY at;
BEGIN;
DELETE FROM invoices;
INSERT INTO invoices (number, total) SELECT 'INV-' || c, sum(total) FROM (SELECT customer AS c, quantity * 9.99 AS total FROM orders WHERE customer <= 5) o GROUP BY c ORDER BY c RETURNING number, total;
UPDATE invoices SET total = total * 1.19 WHERE number <> 'INV-3';
SELECT number, total, rank() OVER (ORDER BY total DESC) FROM invoices ORDER BY number;
COMMIT;
SELECT 1 AS one \; SELECT 2 AS two, NULL AS nothing \; UPDATE invoices SET total = 1 WHERE number = 'INV-1' \; SELECT 'ünïcode ☕' AS text;
SELECT 1 WHERE false;
\set FETCH_COUNT 100
SELECT id, email FROM customers WHERE id <= 450 ORDER BY id;
