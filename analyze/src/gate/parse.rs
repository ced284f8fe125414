use protocol::DifferenceKind;

use super::{Condition, Limit, Metric, Scope, Stat};

/// An expression that cannot be read; prints the place under the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  {text}\n  {}^", " ".repeat(*.column))]
pub struct GateError {
    pub what: String,
    /// In characters, from 0.
    pub column: usize,
    text: String,
}

const COUNTS: [(&str, DifferenceKind); 13] = [
    ("new-errors", DifferenceKind::NewError),
    ("vanished-errors", DifferenceKind::VanishedError),
    ("different-errors", DifferenceKind::DifferentError),
    ("statuses", DifferenceKind::Status),
    ("headers", DifferenceKind::Headers),
    ("row-counts", DifferenceKind::RowCount),
    ("affected-rows", DifferenceKind::AffectedRows),
    ("column-names", DifferenceKind::ColumnNames),
    ("column-types", DifferenceKind::ColumnTypes),
    ("values", DifferenceKind::Values),
    ("order", DifferenceKind::OrderOnly),
    ("warnings", DifferenceKind::Warnings),
    ("missing", DifferenceKind::Missing),
];

pub(super) fn conditions(text: &str) -> Result<Vec<Condition>, GateError> {
    let mut parser = Parser { text, at: 0 };
    let mut conditions = vec![parser.condition()?];
    loop {
        parser.skip_spaces();
        if parser.rest().is_empty() {
            return Ok(conditions);
        }
        if parser.word() == "or" {
            parser.at += "or".len();
        } else if !parser.eat(",") {
            return Err(parser.error("expected `or`, a comma or the end"));
        }
        conditions.push(parser.condition()?);
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// What stands next and could be a name; not eaten.
    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || ".-_".contains(c)));
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    }

    fn error(&self, what: impl Into<String>) -> GateError {
        let before = self.text.get(..self.at).unwrap_or_default();
        GateError {
            what: what.into(),
            column: before.chars().count(),
            text: self.text.replace(char::is_control, " "),
        }
    }

    fn condition(&mut self) -> Result<Condition, GateError> {
        self.skip_spaces();
        let start = self.at;
        let metric = self.metric()?;
        let mut condition = Condition {
            text: String::new(),
            metric,
            or_equal: false,
            limit: Limit::Count(0.0),
        };
        if metric != Metric::Inconclusive {
            self.skip_spaces();
            if self.rest().starts_with('<') {
                return Err(self.error("the gate fails when a condition holds: use `>`"));
            }
            condition.or_equal = self.eat(">=");
            if !condition.or_equal && !self.eat(">") {
                return Err(self.error("expected `>` or `>=`"));
            }
            condition.limit = self.limit(metric)?;
        }
        condition.text = self
            .text
            .get(start..self.at)
            .unwrap_or_default()
            .trim()
            .to_owned();
        Ok(condition)
    }

    fn metric(&mut self) -> Result<Metric, GateError> {
        let word = self.word();
        let metric = match word {
            "" => return Err(self.error("expected a metric, such as `differences` or `p99`")),
            "inconclusive" => Some(Metric::Inconclusive),
            "differences" => Some(Metric::Differences),
            "errors" => Some(Metric::Errors),
            _ => COUNTS
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, kind)| Metric::Kind(*kind))
                .or_else(|| time_metric(word)),
        };
        let Some(metric) = metric else {
            return Err(self.error(format!(
                "`{word}` is no metric; see --help for those there are"
            )));
        };
        if metric == Metric::Time(Scope::Fingerprint, Stat::Max) {
            return Err(self.error("a maximum alone is no evidence: use `fingerprint.p99`"));
        }
        self.at += word.len();
        Ok(metric)
    }

    fn limit(&mut self, metric: Metric) -> Result<Limit, GateError> {
        self.skip_spaces();
        let start = self.at;
        let number = self.number()?;
        let unit = self.unit()?;
        let times = matches!(metric, Metric::Time(..));
        let limit = match unit {
            Unit::None if !times => Limit::Count(number),
            Unit::Percent if !times => Limit::Share(number / 100.0),
            Unit::Factor if times || metric == Metric::Errors => Limit::Relative {
                factor: number,
                plus_ns: self.plus(times)?,
            },
            Unit::Percent => Limit::Relative {
                factor: 1.0 + number / 100.0,
                plus_ns: self.plus(times)?,
            },
            Unit::Nanos(nanos) if times => Limit::Time { ns: number * nanos },
            _ => {
                self.at = start;
                return Err(self.error(if times {
                    "a time is compared with a time (`500ms`), a factor (`1.3x`) or a rise (`20%`)"
                } else if metric == Metric::Errors {
                    "errors are compared with a number, a share (`0.1%`) or a factor (`1.5x`)"
                } else {
                    "a count is compared with a number or a share (`0.1%`)"
                }));
            }
        };
        Ok(limit)
    }

    /// The time after a `+`, 0 where there is none.
    fn plus(&mut self, times: bool) -> Result<f64, GateError> {
        if !times || !self.eat("+") {
            return Ok(0.0);
        }
        self.skip_spaces();
        let start = self.at;
        let number = self.number()?;
        match self.unit()? {
            Unit::Nanos(nanos) => Ok(number * nanos),
            _ => {
                self.at = start;
                Err(self.error("expected a time after `+`, such as `5ms`"))
            }
        }
    }

    fn number(&mut self) -> Result<f64, GateError> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        match rest.get(..end).unwrap_or_default().parse::<f64>() {
            Ok(number) if number.is_finite() => {
                self.at += end;
                Ok(number)
            }
            _ => Err(self.error("expected a number")),
        }
    }

    fn unit(&mut self) -> Result<Unit, GateError> {
        self.skip_spaces();
        if self.eat("%") {
            return Ok(Unit::Percent);
        }
        let word = self.word();
        let unit = match word {
            "" | "or" => return Ok(Unit::None),
            "x" | "×" => Unit::Factor,
            "ns" => Unit::Nanos(1.0),
            "us" | "µs" | "μs" => Unit::Nanos(1e3),
            "ms" => Unit::Nanos(1e6),
            "s" => Unit::Nanos(1e9),
            _ => {
                let what = format!("`{word}` is no unit: use x, %, ns, us, ms or s");
                return Err(self.error(what));
            }
        };
        self.at += word.len();
        Ok(unit)
    }
}

enum Unit {
    None,
    Percent,
    Factor,
    Nanos(f64),
}

fn time_metric(word: &str) -> Option<Metric> {
    let stat = |name: &str| Stat::ALL.into_iter().find(|stat| stat.name() == name);
    if let Some(stat) = stat(word) {
        return Some(Metric::Time(Scope::Service, stat));
    }
    let (scope, name) = word.split_once('.')?;
    let scope = Scope::ALL.into_iter().find(|known| known.name() == scope)?;
    Some(Metric::Time(scope, stat(name)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gate::Gate;

    #[test]
    fn reads_what_help_shows() {
        let limits = |text: &str| -> Vec<(Metric, Limit)> {
            let gate: Gate = text.parse().expect(text);
            gate.conditions
                .into_iter()
                .map(|condition| (condition.metric, condition.limit))
                .collect()
        };
        insta::assert_debug_snapshot!([
            limits(Gate::DEFAULT),
            limits("missing>0,new-errors >= 3 , errors > 0.1%,errors > 1.5x or inconclusive"),
            limits("p99 > 500ms or p99.9 > 2 s or response.p50 > 800us or first-byte.mean > 20%"),
            limits("max > 1.3 x + 5 ms"),
        ]);
    }

    #[test]
    fn keeps_the_words() {
        let gate: Gate = " differences  > 0,  p99 > 1.3x + 5ms "
            .parse()
            .expect("a gate");
        assert_eq!(gate.text(), "differences  > 0,  p99 > 1.3x + 5ms");
        let texts: Vec<_> = gate.conditions.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, ["differences  > 0", "p99 > 1.3x + 5ms"]);
    }

    #[test]
    fn errors_tell_the_place() {
        let all: Vec<String> = [
            "",
            "differences",
            "differences < 1",
            "p98 > 2x",
            "p99 > 3",
            "p99 > 1.3x + 5",
            "p99 > 1.3y",
            "missing > 3ms",
            "errors > 3ms",
            "values > 1x",
            "differences > 0 and missing > 0",
            "differences > 0 or",
            "differences > 0,, missing > 0",
            "fingerprint.max > 2x",
            "p99 > ",
            "p99 > 1.2.3x",
        ]
        .into_iter()
        .map(|text| text.parse::<Gate>().expect_err(text).to_string())
        .collect();
        insta::assert_snapshot!(all.join("\n\n"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = text.parse::<Gate>();
        }

        #[test]
        fn never_panics_near_the_grammar(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "differences", "p99", "fingerprint.", "mean", " ", ">", ">=", "<", "1.3", "x",
                    "+", "5", "ms", "%", "or", ",", "é", "inconclusive", "errors", ".",
                ]),
                0..12,
            )
        ) {
            let text = parts.concat();
            if let Err(error) = text.parse::<Gate>() {
                prop_assert!(error.column <= text.chars().count());
            }
        }
    }
}
