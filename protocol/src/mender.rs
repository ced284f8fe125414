use std::collections::HashMap;

use recording::{Exchange, Kind, Notes, Statement};

use crate::{Protocol, by_name};

/// Completes rows by what was learnt of their session later than they were written. They come in
/// order of time. Memory: a word for each open session, and what was learnt of it.
#[derive(Debug, Default)]
pub struct Mender {
    open: HashMap<u64, Session>,
}

#[derive(Debug)]
struct Session {
    protocol: &'static dyn Protocol,
    learnt: HashMap<Box<[u8]>, Statement>,
}

impl Mender {
    pub fn mend(&mut self, row: &mut Exchange) {
        match row.kind {
            Kind::Open => {
                let info = row.info.as_deref();
                if let Some(protocol) = info.and_then(|info| by_name(&info.protocol)) {
                    let learnt = HashMap::new();
                    self.open.insert(row.session, Session { protocol, learnt });
                }
            }
            Kind::Close => {
                self.open.remove(&row.session);
            }
            Kind::Prepare | Kind::Request => {
                let concerns =
                    row.kind == Kind::Prepare || row.notes.contains(Notes::UNKNOWN_STATEMENT);
                if concerns && let Some(session) = self.open.get_mut(&row.session) {
                    session.protocol.mend(row, &mut session.learnt);
                }
            }
            Kind::Cancel => {}
        }
    }
}
