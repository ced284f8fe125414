\set product random(1, 1000)
\set customer random(1, 2000)
SELECT name, price, stock, tags FROM products WHERE id = :product;
SELECT o.id, p.name, o.quantity * p.price AS total FROM orders o JOIN products p ON p.id = o.product WHERE o.customer = :customer ORDER BY o.id;
BEGIN;
INSERT INTO events (client, kind) VALUES (:client_id, 'view');
UPDATE carts SET items = items + 1 WHERE client = :client_id RETURNING items;
COMMIT;
SELECT count(*) FROM events WHERE client = :client_id;
