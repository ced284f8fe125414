//! PostgreSQL, protocol 3: <https://www.postgresql.org/docs/current/protocol.html>

mod decoder;
mod messages;
mod response;
mod secrets;
#[cfg(test)]
mod testing;
