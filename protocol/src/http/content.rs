//! Contents without their codings (RFC 9110, section 8.4).

use std::io::Read;

/// Of decoded content: what decodes to more stays as it is.
const MAX_CONTENT: u64 = 16 << 20;

/// `None` where a coding is unknown, the content is damaged, or it is larger than the cap.
pub fn decode(content: &[u8], codings: &[String]) -> Option<Vec<u8>> {
    codings
        .iter()
        .rev()
        .try_fold(content.to_vec(), |content, coding| undo(&content, coding))
}

fn undo(content: &[u8], coding: &str) -> Option<Vec<u8>> {
    match coding {
        "identity" => Some(content.to_vec()),
        _ if content.is_empty() => Some(Vec::new()),
        "gzip" | "x-gzip" => bounded(flate2::read::MultiGzDecoder::new(content)),
        // Named deflate, but in zlib's wrapping; some servers leave that away.
        "deflate" => bounded(flate2::read::ZlibDecoder::new(content))
            .or_else(|| bounded(flate2::read::DeflateDecoder::new(content))),
        "br" => bounded(brotli_decompressor::Decompressor::new(content, 4096)),
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(content).ok()?;
            // RFC 9659: no more than 8 MB.
            decoder.window_log_max(23).ok()?;
            bounded(decoder)
        }
        _ => None,
    }
}

fn bounded(decoder: impl Read) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let len = decoder
        .take(MAX_CONTENT + 1)
        .read_to_end(&mut decoded)
        .ok()?;
    (len as u64 <= MAX_CONTENT).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// An uncompressed meta-block, and the empty last one.
    const BROTLI: &[u8] = b"\x0b\x02\x80hello\x03";

    fn decoded(content: &[u8], codings: &[&str]) -> Option<Vec<u8>> {
        let codings: Vec<String> = codings.iter().map(|&coding| coding.to_owned()).collect();
        decode(content, &codings)
    }

    #[test]
    fn codings_are_undone_in_their_order() {
        let hello = Some(b"hello".to_vec());
        assert_eq!(decoded(b"hello", &[]), hello);
        assert_eq!(decoded(b"hello", &["identity"]), hello);
        assert_eq!(decoded(&gzip(b"hello"), &["gzip"]), hello);
        assert_eq!(decoded(&zlib(b"hello"), &["deflate"]), hello);
        assert_eq!(decoded(BROTLI, &["br"]), hello);
        let zstd = zstd::encode_all(&b"hello"[..], 3).unwrap();
        assert_eq!(decoded(&zstd, &["zstd"]), hello);
        assert_eq!(decoded(&gzip(&zlib(b"hello")), &["deflate", "gzip"]), hello);
        assert_eq!(decoded(b"", &["gzip"]), Some(Vec::new()));
    }

    #[test]
    fn what_cannot_be_undone_is_left() {
        assert_eq!(decoded(b"hello", &["gzip"]), None);
        assert_eq!(decoded(b"hello", &["of-tomorrow"]), None);
        let cut = gzip(b"hello");
        assert_eq!(decoded(cut.get(..cut.len() - 4).unwrap(), &["gzip"]), None);
    }

    #[test]
    fn a_bomb_stays_closed() {
        let bomb = gzip(&vec![0; MAX_CONTENT as usize + 1]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decoded(&bomb, &["gzip"]), None);
    }
}
