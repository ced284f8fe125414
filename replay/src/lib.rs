//! Recordings to outcomes.
