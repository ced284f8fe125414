const DROPPED: &str = "look for dropped packets here and on the mirror port";

/// What to do about a reason in the ledger, where something can be done.
pub fn remedy(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "kernel drop" => "enlarge --buffer-size, or take a --sample",
        "interface drop" => "enlarge the network card's ring (ethtool -G)",
        "row too large" => "make --body-limit smaller",
        "memory limit" | "too many connections" => "give it more --max-memory",
        "request over the cap" => "give it more --max-memory; 16 MiB a request at most",
        "snap length" => "capture whole packets (tcpdump -s 0)",
        "not captured" | "gap" => DROPPED,
        other if other.ends_with("in a gap") => DROPPED,
        "not written" => "make room on the disk, and capture again",
        "encrypted (TLS)" => "capture where it is plain: behind what ends TLS",
        "prepared before the capture" => "let --probe ask the server",
        "protocol not told" => "say what is spoken there: -p PROTOCOL:PORT",
        other if other.starts_with("unsupported link type") => {
            "capture on an Ethernet interface, or any"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_losses_have_remedies() {
        assert_eq!(
            remedy("kernel drop"),
            Some("enlarge --buffer-size, or take a --sample")
        );
        assert_eq!(remedy("request lost in a gap"), Some(DROPPED));
        assert_eq!(remedy("retransmission"), None);
    }
}
