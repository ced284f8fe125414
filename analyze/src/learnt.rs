use protocol::{Learner, Protocol};
use recording::Exchange;

use crate::table::{Named, Subject};

/// Statements without the values that only many requests tell.
#[derive(Debug, Default)]
pub(crate) struct Learnt(Vec<Box<dyn Learner>>);

impl Learnt {
    pub fn new(protocols: impl IntoIterator<Item = &'static dyn Protocol>) -> Learnt {
        let protocols = protocols.into_iter();
        Learnt(protocols.filter_map(|it| it.learner()).collect())
    }

    /// Names a request's statement by what is known so far. Are those before it to be named anew?
    pub fn name(&mut self, row: &mut Exchange) -> bool {
        let mut anew = false;
        for learner in &mut self.0 {
            anew |= learner.learn(row);
            let statement = row.request.statement.as_ref();
            let general = statement.and_then(|it| learner.general(&it.text));
            row.request.statement = general.or(row.request.statement.take());
        }
        anew
    }

    /// What a name that was given before became.
    pub fn renamed(&self, subject: Subject, named: &Named) -> Option<(Subject, Named)> {
        let Subject::Fingerprint(_) = subject else {
            return None;
        };
        let mut learners = self.0.iter();
        let general = learners.find_map(|it| it.general(&named.statement))?;
        Some(Subject::of_statement(&general))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// So many that users' names are learnt as such.
    pub const USERS: u32 = 300;

    #[test]
    fn names_given_before_become_what_they_are_now() {
        let mut learnt = Learnt::new(protocol::by_name("http"));
        let mut lessons = Vec::new();
        let mut first = None;
        for n in 0..USERS {
            let mut row = testing::request(1, n, &testing::user_page(n));
            if learnt.name(&mut row) {
                lessons.push(n);
            }
            let subject = Subject::of(&row);
            first.get_or_insert((subject, subject.named(&row)));
        }
        assert_eq!(lessons, [200]);
        let (subject, named) = first.expect("requests");
        assert_eq!(named.statement, testing::user_page(0));
        let (_, renamed) = learnt.renamed(subject, &named).expect("a new name");
        assert_eq!(renamed.statement, "GET /users/{name}");
        assert!(renamed.fingerprint.is_some());
        let login = Named::default();
        assert!(learnt.renamed(Subject::Login, &login).is_none());
    }
}
