use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    DeserializeError, Deserializer, Serializer, V2DeflateSerializeError, V2DeflateSerializer,
};

/// Why a histogram could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    #[error("histogram cannot be encoded: {0}")]
    Encode(#[from] V2DeflateSerializeError),
    #[error("histogram is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("histogram is damaged: {0}")]
    Damaged(#[from] DeserializeError),
}

/// HdrHistogram's V2 encoding, deflated, in base64: what its tools and plotters read.
pub fn encode_histogram(histogram: &Histogram<u64>) -> Result<String, HistogramError> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

/// Reads what [`encode_histogram`] wrote.
pub fn decode_histogram(text: &str) -> Result<Histogram<u64>, HistogramError> {
    let bytes = STANDARD.decode(text)?;
    Ok(Deserializer::new().deserialize(&mut bytes.as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record_n(1_500, 40).unwrap();
        histogram.record(7_000_000_000).unwrap();
        let text = encode_histogram(&histogram).unwrap();
        assert_eq!(decode_histogram(&text).unwrap(), histogram);
    }

    #[test]
    fn damage_is_an_error() {
        assert!(matches!(
            decode_histogram("not base64"),
            Err(HistogramError::Base64(_))
        ));
        assert!(matches!(
            decode_histogram("AAAA"),
            Err(HistogramError::Damaged(_))
        ));
    }
}
