//! Packets to recordings.
