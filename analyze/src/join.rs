use recording::{Exchange, Timestamp};

use crate::error::{AnalyzeError, Which};

/// What the streams say of the same request. At least one is there.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub old: Option<Exchange>,
    pub new: Option<Exchange>,
    pub noise: Option<Exchange>,
}

pub(crate) type Rows<'a> = Box<dyn Iterator<Item = Result<Exchange, AnalyzeError>> + 'a>;

/// Merges the streams by [`Exchange::order`]; each must be in that order. Holds one row a stream.
pub(crate) struct Join<'a> {
    old: Stream<'a>,
    new: Stream<'a>,
    noise: Option<Stream<'a>>,
}

impl<'a> Join<'a> {
    pub fn new(old: Rows<'a>, new: Rows<'a>, noise: Option<Rows<'a>>) -> Join<'a> {
        Join {
            old: Stream::new(Which::Old, old),
            new: Stream::new(Which::New, new),
            noise: noise.map(|rows| Stream::new(Which::Noise, rows)),
        }
    }

    fn step(&mut self) -> Result<Option<Joined>, AnalyzeError> {
        self.old.fill()?;
        self.new.fill()?;
        if let Some(noise) = &mut self.noise {
            noise.fill()?;
        }
        let places = [
            self.old.place(),
            self.new.place(),
            self.noise.as_ref().and_then(Stream::place),
        ];
        let Some(next) = places.into_iter().flatten().min() else {
            return Ok(None);
        };
        Ok(Some(Joined {
            old: self.old.take_at(next),
            new: self.new.take_at(next),
            noise: self.noise.as_mut().and_then(|noise| noise.take_at(next)),
        }))
    }
}

impl Iterator for Join<'_> {
    type Item = Result<Joined, AnalyzeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

type Place = (Timestamp, u64, u32);

struct Stream<'a> {
    which: Which,
    rows: Rows<'a>,
    head: Option<Exchange>,
    last: Option<Place>,
}

impl<'a> Stream<'a> {
    fn new(which: Which, rows: Rows<'a>) -> Stream<'a> {
        Stream {
            which,
            rows,
            head: None,
            last: None,
        }
    }

    fn fill(&mut self) -> Result<(), AnalyzeError> {
        if self.head.is_some() {
            return Ok(());
        }
        let Some(row) = self.rows.next().transpose()? else {
            return Ok(());
        };
        if self.last.is_some_and(|last| last >= row.order()) {
            return Err(AnalyzeError::OutOfOrder {
                which: self.which,
                session: row.session,
                seq: row.seq,
            });
        }
        self.last = Some(row.order());
        self.head = Some(row);
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        self.head.as_ref().map(Exchange::order)
    }

    fn take_at(&mut self, place: Place) -> Option<Exchange> {
        self.head.take_if(|row| row.order() == place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn rows(seqs: &[u32]) -> Rows<'static> {
        let rows: Vec<_> = seqs
            .iter()
            .map(|&seq| Ok(testing::request(1, seq, "select 1")))
            .collect();
        Box::new(rows.into_iter())
    }

    #[test]
    fn pairs_what_is_there() {
        let join = Join::new(rows(&[1, 2, 4]), rows(&[2, 3, 4]), Some(rows(&[4, 5])));
        let seen: Vec<_> = join
            .map(|joined| {
                let joined = joined.expect("in order");
                [joined.old, joined.new, joined.noise].map(|row| row.map(|row| row.seq))
            })
            .collect();
        assert_eq!(
            seen,
            [
                [Some(1), None, None],
                [Some(2), Some(2), None],
                [None, Some(3), None],
                [Some(4), Some(4), Some(4)],
                [None, None, Some(5)],
            ]
        );
    }

    #[test]
    fn refuses_disorder() {
        let mut join = Join::new(rows(&[1]), rows(&[2, 1]), None);
        let error = join.find_map(Result::err).expect("disorder").to_string();
        assert_eq!(
            error,
            "NEW is not in order of time at session 1, request 1: verify the directory"
        );
    }
}
