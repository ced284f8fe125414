//! PostgreSQL, protocol 3: <https://www.postgresql.org/docs/current/protocol.html>

mod activity;
mod auth;
mod compare;
mod decoder;
mod driver;
mod mend;
mod messages;
mod passfile;
mod probe;
mod response;
mod results;
mod secrets;
mod show;
mod signals;
#[cfg(test)]
mod testing;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use recording::{Exchange, Statement};

use self::activity::Activity;
use self::driver::{PASSWORD_FILE, PASSWORD_VARIABLE, PostgresDriver};
use crate::{
    Answer, Decoder, Difference, Driver, Inquiry, Limits, Login, Opening, Probe, Protocol, Shown,
    Terms,
};

/// The word for a request that makes the session a replica's.
const REPLICATION: &str = "replication";

/// The code of an error that a cancel, or a time-out, brings about.
const QUERY_CANCELED: &str = "57014";

#[derive(Debug)]
pub(crate) struct Postgres;

impl Protocol for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn default_port(&self) -> u16 {
        5432
    }

    fn url_schemes(&self) -> &'static [&'static str] {
        &["postgresql", "postgres"]
    }

    fn probe(&self, client: &[u8]) -> Probe {
        probe::probe(client)
    }

    fn decoder(&self, opening: Opening, limits: Limits) -> Box<dyn Decoder> {
        Box::new(decoder::Decoder::new(opening, limits))
    }

    fn driver(&self, login: Login, limits: Limits) -> Box<dyn Driver> {
        Box::new(PostgresDriver::new(login, limits))
    }

    fn inquiry(&self, login: Login) -> Option<Box<dyn Inquiry>> {
        Some(Box::new(Activity::new(login)))
    }

    fn mend(&self, row: &mut Exchange, learnt: &mut HashMap<Box<[u8]>, Statement>) {
        mend::mend(row, learnt);
    }

    fn withheld(&self, row: &Exchange, _: &[(Arc<str>, Arc<str>)]) -> Option<&'static str> {
        signals::signals_by_number(&row.request)
            .then_some("signals a session by its recorded number")
    }

    fn password_from_file(
        &self,
        text: &str,
        host: &str,
        port: u16,
        login: &Login,
    ) -> Option<String> {
        passfile::find(text, host, port, login)
    }

    fn password_sources(&self) -> Option<(&'static str, &'static str, &'static str)> {
        Some((PASSWORD_VARIABLE, "PGPASSFILE", PASSWORD_FILE))
    }

    fn compare(&self, expected: &Exchange, observed: &Exchange, _: &Terms) -> Vec<Difference> {
        compare::compare(expected, observed)
    }

    fn own_numbers(&self, row: &Exchange, differences: &[Difference]) -> Option<&'static str> {
        compare::own_numbers(&row.request, differences)
    }

    fn is_called_off(&self, error_code: &str) -> bool {
        error_code == QUERY_CANCELED
    }

    fn show_request(&self, exchange: &Exchange) -> Shown {
        show::show_request(exchange)
    }

    fn show_response(&self, exchange: &Exchange, max_rows: usize) -> Answer {
        exchange
            .response
            .as_ref()
            .map_or_else(Answer::default, |response| {
                show::show_response(response, max_rows)
            })
    }
}
