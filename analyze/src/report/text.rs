//! Numbers as people read them.

/// `850 ns`, `12.3 µs`, `4.56 ms`, `7.89 s`, `12.5 min`, `3.20 h`: three digits.
pub(crate) fn duration(ns: u64) -> String {
    let ns = ns as f64;
    let (value, unit) = match ns {
        _ if ns < 999.5 => return format!("{ns} ns"),
        _ if ns < 999.5e3 => (ns / 1e3, "µs"),
        _ if ns < 999.5e6 => (ns / 1e6, "ms"),
        _ if ns < 120e9 => (ns / 1e9, "s"),
        _ if ns < 7_200e9 => (ns / 60e9, "min"),
        _ => (ns / 3_600e9, "h"),
    };
    format!("{} {unit}", three_digits(value))
}

/// For axes: `50 ms` where the digits after it are zeros.
pub(crate) fn brief(ns: u64) -> String {
    let long = duration(ns);
    match long.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => long,
    }
}

/// With its sign, also where it is more.
pub(crate) fn signed_duration(ns: i64) -> String {
    let sign = match ns {
        0 => "",
        _ if ns < 0 => "−",
        _ => "+",
    };
    format!("{sign}{}", duration(ns.unsigned_abs()))
}

pub(crate) fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// `12,345,678`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `2 requests`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", thousands(number))
}

/// A control, or a mark that turns the direction of what follows: a terminal and a browser obey it.
pub fn is_unruly(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line of at most `width` characters, spaces taken together, control characters shown.
pub(crate) fn line(text: &str, width: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let clean: String = words
        .join(" ")
        .chars()
        .map(|c| if is_unruly(c) { '\u{fffd}' } else { c })
        .collect();
    if clean.chars().count() <= width {
        return clean;
    }
    let mut short: String = clean.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Two values in `width` characters, each of at most half of it where both are long: then from shortly before
/// the first character that differs.
pub(crate) fn beside(old: &str, new: &str, width: usize) -> [String; 2] {
    const BEFORE: usize = 12;
    let texts = [old, new].map(|text| line(text, usize::MAX));
    let [a, b] = texts.each_ref().map(|text| text.chars().count());
    let half = width / 2;
    let widths = if a <= half {
        [a, width - a]
    } else if b <= half {
        [width - b, b]
    } else {
        [half, half]
    };
    if a <= widths[0] && b <= widths[1] {
        return texts;
    }
    let [old, new] = &texts;
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b);
    let same = same.count();
    // Both begin at the same character, so that they can be held against each other.
    let from = match same + BEFORE < half {
        true => 0,
        false => same - BEFORE.min(same),
    };
    let part = |text: &str, count: usize, width: usize| {
        if count <= width {
            return text.to_owned();
        }
        let rest: String = text.chars().skip(from).collect();
        let cut = if from > 0 { "…" } else { "" };
        line(&format!("{cut}{rest}"), width)
    };
    [part(old, a, widths[0]), part(new, b, widths[1])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let shown: Vec<String> = [
            0,
            850,
            999,
            1_000,
            12_345,
            999_499,
            999_500,
            4_560_000,
            999_600_000,
            7_890_000_000,
            119_900_000_000,
            750_000_000_000,
            11_520_000_000_000,
        ]
        .map(duration)
        .to_vec();
        assert_eq!(
            shown.join(" | "),
            "0 ns | 850 ns | 999 ns | 1.00 µs | 12.3 µs | 999 µs | 1.00 ms | 4.56 ms | 1.00 s | \
             7.89 s | 120 s | 12.5 min | 3.20 h"
        );
        assert_eq!(
            [50_000_000, 14_750_000_000, 100].map(brief),
            ["50 ms", "14.8 s", "100 ns"]
        );
        assert_eq!(signed_duration(-1_500), "−1.50 µs");
        assert_eq!(signed_duration(1_500), "+1.50 µs");
    }

    #[test]
    fn numbers_and_lines() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(123), "123");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(plural(1, "request"), "1 request");
        assert_eq!(
            line(" select\n  1\t+\u{1b}[2J ", 99),
            "select 1 +\u{fffd}[2J"
        );
        assert_eq!(line("a\u{202e}b\u{2069}", 99), "a\u{fffd}b\u{fffd}");
        assert_eq!(line("abcdef", 4), "abc…");
    }

    #[test]
    fn both_values_show_where_they_differ() {
        let same = "0123456789".repeat(10);
        let [old, new] = ["old", "new"].map(|end| format!("{same}{end}{same}"));
        let told = beside(&old, &new, 42).join(" / ");
        assert_eq!(told, "…890123456789old0123… / …890123456789new0123…");
        let told = beside(&same, &format!("{same}!"), 42).join(" / ");
        assert_eq!(told, "…890123456789 / …890123456789!");
        let told = beside("absent", &same, 26).join(" / ");
        assert_eq!(told, "absent / 0123456789012345678…");
        let told = beside("a\nb", &"c".repeat(16), 20).join(" / ");
        assert_eq!(told, "a b / cccccccccccccccc");
    }
}
