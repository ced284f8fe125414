//! Connections that the sessions of one thread share, where the user said how many there are.

use std::cell::RefCell;

use recording::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::stream::Stream;

/// Who asked first is served first.
#[derive(Debug)]
pub(crate) struct Pool {
    permits: Semaphore,
    /// With the time at which each became free.
    idle: RefCell<Vec<(Stream, Timestamp)>>,
}

/// The right to one of the connections.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(crate) fn new(connections: usize) -> Pool {
        Pool {
            permits: Semaphore::new(connections),
            idle: RefCell::new(Vec::new()),
        }
    }

    pub(crate) async fn lend(&self) -> Loan<'_> {
        loop {
            // It fails only where the semaphore is closed, and this one never is.
            if let Ok(_permit) = self.permits.acquire().await {
                return Loan {
                    pool: self,
                    _permit,
                };
            }
        }
    }
}

impl Loan<'_> {
    /// A connection that stands, and since when it is free. `None`: make one.
    pub(crate) fn idle(&self) -> Option<(Stream, Timestamp)> {
        let mut idle = self.pool.idle.borrow_mut();
        while let Some((mut stream, since)) = idle.pop() {
            if stream.is_quiet() {
                return Some((stream, since));
            }
        }
        None
    }

    pub(crate) fn give_back(self, stream: Stream, free_since: Timestamp) {
        self.pool.idle.borrow_mut().push((stream, free_since));
    }
}
