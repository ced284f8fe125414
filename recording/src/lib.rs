//! The vocabulary of Rehearsal and its format on disk.
