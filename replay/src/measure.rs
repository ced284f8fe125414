//! What was measured: histograms of a worker's own, merged at the end.

use std::collections::BTreeMap;

use hdrhistogram::{CreationError, Histogram};
use recording::{Exchange, Status};

/// An hour in ns: what is longer counts as that.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Of requests that were sent; all but `lateness` of those that were answered. In ns, three digits.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    pub(crate) lateness: Histogram<u64>,
    pub(crate) service: Histogram<u64>,
    response: Histogram<u64>,
    first_byte: Histogram<u64>,
    /// Waiting for one of the shared connections, also of requests without an answer.
    pub(crate) connection: Histogram<u64>,
}

impl Measures {
    pub(crate) fn new() -> Result<Measures, CreationError> {
        let empty = histogram()?;
        Ok(Measures {
            lateness: empty.clone(),
            service: empty.clone(),
            response: empty.clone(),
            first_byte: empty.clone(),
            connection: empty,
        })
    }

    pub(crate) fn record(&mut self, row: &Exchange) {
        let Some(pacing) = row.pacing else { return };
        self.lateness.saturating_record(pacing.lateness_ns());
        let whole = row.status != Status::Unanswered;
        let Some(response) = row.response.as_ref().filter(|_| whole) else {
            return;
        };
        let last = response.last_byte_at;
        self.service.saturating_record(last.since(pacing.sent_at));
        self.response
            .saturating_record(last.since(pacing.intended_at));
        self.first_byte
            .saturating_record(response.first_byte_at.since(pacing.sent_at));
    }

    pub(crate) fn merge(&mut self, other: &Measures) {
        merge(&mut self.lateness, &other.lateness);
        merge(&mut self.service, &other.service);
        merge(&mut self.response, &other.response);
        merge(&mut self.first_byte, &other.first_byte);
        merge(&mut self.connection, &other.connection);
    }

    /// As the manifest has them, by name.
    pub(crate) fn encode(&self) -> BTreeMap<String, String> {
        let named = [
            ("lateness", &self.lateness),
            ("service", &self.service),
            ("response", &self.response),
            ("first byte", &self.first_byte),
            ("pool wait", &self.connection),
        ];
        named
            .into_iter()
            .filter(|(name, histogram)| *name != "pool wait" || !histogram.is_empty())
            .map(|(name, histogram)| (name.to_owned(), encode(histogram)))
            .collect()
    }
}

pub(crate) fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3)
}

pub(crate) fn encode(histogram: &Histogram<u64>) -> String {
    recording::encode_histogram(histogram).unwrap_or_else(|error| {
        tracing::error!(%error, "a histogram is lost");
        String::new()
    })
}

fn merge(sum: &mut Histogram<u64>, part: &Histogram<u64>) {
    if let Err(error) = sum.add(part) {
        tracing::error!(?error, "histograms of different bounds");
    }
}
