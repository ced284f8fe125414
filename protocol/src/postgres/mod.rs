//! PostgreSQL, protocol 3: <https://www.postgresql.org/docs/current/protocol.html>

mod auth;
mod decoder;
mod driver;
mod messages;
mod response;
mod secrets;
mod values;
