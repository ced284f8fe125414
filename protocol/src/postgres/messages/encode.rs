//! Messages that a client builds by itself.

/// Appends messages to a buffer.
pub(crate) trait Encode {
    /// A message with its head; `body` appends what follows it.
    fn message(&mut self, tag: u8, body: impl FnOnce(&mut Vec<u8>));
    /// A start-up packet, which has no tag.
    fn packet(&mut self, code: u32, body: impl FnOnce(&mut Vec<u8>));
    /// With the zero byte that ends it.
    fn string(&mut self, text: &[u8]);
}

impl Encode for Vec<u8> {
    fn message(&mut self, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
        self.push(tag);
        counted(self, body);
    }

    fn packet(&mut self, code: u32, body: impl FnOnce(&mut Vec<u8>)) {
        counted(self, |out| {
            out.extend(code.to_be_bytes());
            body(out);
        });
    }

    fn string(&mut self, text: &[u8]) {
        self.extend_from_slice(text);
        self.push(0);
    }
}

/// Four bytes of length, which counts itself, and `body`.
fn counted(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}
