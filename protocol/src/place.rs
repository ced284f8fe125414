//! Places of differences, in general.

use crate::Difference;
use crate::http::template;

impl Difference {
    /// The place without what varies by nature, so that the same in another answer is the same: `column
    /// total` of `row 3, column total`, `$.orders[*].total` of `$.orders[3].total` and `$.carts.{n}.total` of
    /// `$.carts.17.total`.
    pub fn general_place(&self) -> String {
        match self.place.starts_with('$') {
            true => without_ids(&any_element(&self.place)),
            false => without_rows(&self.place),
        }
    }
}

/// Nor the number of what is more.
fn without_rows(place: &str) -> String {
    let parts: Vec<&str> = place
        .split(", ")
        .filter(|part| !part.starts_with("row ") && !part.starts_with("and "))
        .map(|part| {
            part.trim_start_matches(|c: char| c.is_ascii_digit())
                .trim_start()
        })
        .collect();
    parts.join(", ")
}

/// Elements that are objects are alike. Those that are not may each be another thing: `[time, value]`.
fn any_element(path: &str) -> String {
    let mut pieces = path.split('[');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once("].") {
            Some((index, rest)) if index.bytes().all(|byte| byte.is_ascii_digit()) => {
                out.push_str("[*].");
                out.push_str(rest);
            }
            _ => {
                out.push('[');
                out.push_str(piece);
            }
        }
    }
    out
}

/// Entries of a map are alike, whatever they are filed under.
fn without_ids(path: &str) -> String {
    let part = |part: &str| {
        let end = part.find(['[', ' ', ',']).unwrap_or(part.len());
        let (key, rest) = part.split_at(end);
        match template::id(key) {
            Some(id) => format!("{id}{rest}"),
            None => part.to_owned(),
        }
    };
    path.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DifferenceKind;

    #[test]
    fn what_varies_by_nature_is_left_out() {
        for (place, general) in [
            ("row 3, column total", "column total"),
            ("result 2, row 3, column total", "result 2, column total"),
            ("row 5, column n, and 12 more values", "column n"),
            ("row 3", ""),
            ("tag", "tag"),
            ("$", "$"),
            ("$.a[0].b[12].c, d", "$.a[*].b[*].c, d"),
            ("$[3][1]", "$[3][1]"),
            ("$.a[7]", "$.a[7]"),
            ("$.carts.17.total", "$.carts.{n}.total"),
            (
                "$.123e4567-e89b-12d3-a456-426614174000[2].x",
                "$.{uuid}[*].x",
            ),
            ("$.by_hash.3f2a9c1b (2)", "$.by_hash.{hash} (2)"),
            ("$.carts.17, removed", "$.carts.{n}, removed"),
            ("$.a[7].b, type", "$.a[*].b, type"),
            ("$.a[7], added", "$.a[7], added"),
            ("$.address_1", "$.address_1"),
            ("$.decade", "$.decade"),
        ] {
            let difference = Difference {
                kind: DifferenceKind::Values,
                place: place.to_owned(),
                expected: String::new(),
                observed: String::new(),
            };
            assert_eq!(difference.general_place(), general);
        }
    }
}
