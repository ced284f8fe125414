//! Sizes and durations as people type them.

use std::time::Duration;

/// `90s`, `5m`, `24h`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).ok();
    parsed
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{text:?} is no time: write it as 90s, 5m or 24h"))
}

/// `4096`, `64KiB`, `1GB`: in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is no size: write it as 4096, 64KiB or 1GB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_powers_of_two_and_of_ten() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        assert!(size("many").unwrap_err().contains("64KiB"));
    }

    #[test]
    fn durations_know_their_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["5", "0s", "soon", ""] {
            assert!(duration(wrong).unwrap_err().contains("90s"), "{wrong}");
        }
    }
}
