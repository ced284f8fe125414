//! The binary as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;
mod servers;
mod traces_http;
mod traces_postgres;
mod upgrade;
