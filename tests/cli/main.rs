//! The binary as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod harness;
mod printed;
mod privileges;
mod servers;
mod traces_postgres;
mod upgrade;
