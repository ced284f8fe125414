-- COPY both ways in text and CSV, from a query, and one that fails half-way.
TRUNCATE readings;
\copy readings from stdin
1	20.125	cellar
2	\N	tab\tand\\backslash
3	-4.5	\N
\.
\copy readings from program 'printf "sensor,value,note\n4,7.25,\"one, two\"\n5,,\n"' with (format csv, header)
\copy readings from stdin
6	not a number	wrong
\.
SELECT sensor, value, note FROM readings ORDER BY sensor;
\copy readings to /dev/null with (format csv, header)
\copy (SELECT id, name, price FROM products WHERE id <= 200 ORDER BY id) to /dev/null
\copy nowhere to /dev/null
