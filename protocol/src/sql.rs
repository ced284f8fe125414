//! Statements without their literals, and what their text alone tells.
