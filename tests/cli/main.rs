//! The binary as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod copy;
mod crash;
mod full;
mod harness;
mod http;
mod kills;
mod midstream;
mod packets;
mod printed;
mod privileges;
mod refused;
mod rehearsed;
mod servers;
mod signals;
mod sources;
mod stopped;
mod traces_http;
mod traces_postgres;
mod unasked;
mod upgrade;
mod verify;
