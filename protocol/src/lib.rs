//! What the wire means: bytes in, events out, no sockets.
