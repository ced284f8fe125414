//! A comparison for people and for machines.

pub(crate) mod text;
