//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! A request's statement is its method and a template of its target; its response's columns are the
//! status and the content type, and its rows' digests are of the content: decoded in their order
//! where all of it was kept, as it was carried in any order.

mod body;
mod compare;
mod content;
mod cookies;
mod decoder;
mod driver;
mod ending;
mod head;
mod learn;
mod location;
mod message;
mod reply;
mod rewrite;
mod secrets;
mod seek;
mod set_cookie;
mod show;
pub mod template;
#[cfg(test)]
mod testing;
mod wishes;

use std::sync::Arc;

use recording::Exchange;

use crate::{
    Answer, Decoder, Difference, Driver, Learner, Limits, Login, Opening, Probe, Protocol,
    Recorded, Shown, Terms,
};

#[derive(Debug)]
pub struct Http;

impl Protocol for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn default_port(&self) -> u16 {
        80
    }

    fn url_schemes(&self) -> &'static [&'static str] {
        &["http", "https"]
    }

    fn probe(&self, client: &[u8]) -> Probe {
        seek::probe(client)
    }

    fn decoder(&self, opening: Opening, limits: Limits) -> Box<dyn Decoder> {
        Box::new(decoder::HttpDecoder::new(opening, limits))
    }

    fn driver(&self, login: Login, limits: Limits) -> Box<dyn Driver> {
        Box::new(driver::HttpDriver::new(login, limits))
    }

    fn url_tls(&self, scheme: &str) -> Option<bool> {
        Some(scheme == "https")
    }

    fn alpn(&self) -> &'static [&'static [u8]] {
        &[b"http/1.1"]
    }

    fn logs_in(&self) -> bool {
        false
    }

    fn shares_connections(&self) -> bool {
        true
    }

    fn check_option(&self, name: &str, value: &str) -> Result<(), &'static str> {
        wishes::check(name, value)
    }

    fn withheld(
        &self,
        request: &Exchange,
        options: &[(Arc<str>, Arc<str>)],
    ) -> Option<&'static str> {
        wishes::withheld(request, options)
    }

    fn needed(&self) -> Option<fn(&[u8]) -> usize> {
        Some(|response| {
            // An interim response is kept too: the body may have waited for it.
            let tells = cookies::may_be_set_by(response);
            let heads = tells.then(|| message::heads_len(response)).flatten();
            heads.unwrap_or_default()
        })
    }

    fn made_up(&self, recorded: &Exchange) -> Vec<Recorded> {
        let response = recorded.response.as_ref();
        response.map_or_else(Vec::new, cookies::made_up)
    }

    fn sent_back(&self, request: &Exchange, options: &[(Arc<str>, Arc<str>)]) -> Vec<Recorded> {
        if wishes::drops_header(options, b"cookie")
            || wishes::set_header(options, b"cookie").is_some()
        {
            return Vec::new();
        }
        let wanted = |name: &[u8]| !wishes::drops_cookie(options, name);
        cookies::sent_back(&request.request.bytes, wanted)
    }

    fn password_from_file(
        &self,
        _text: &str,
        _host: &str,
        _port: u16,
        _login: &Login,
    ) -> Option<String> {
        None
    }

    fn password_sources(&self) -> Option<(&'static str, &'static str, &'static str)> {
        None
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(learn::Paths::default()))
    }

    fn check_term(&self, name: &str, value: &str) -> Result<(), &'static str> {
        wishes::check_term(name, value)
    }

    fn compare(&self, expected: &Exchange, observed: &Exchange, terms: &Terms) -> Vec<Difference> {
        compare::compare(expected, observed, terms)
    }

    fn show_request(&self, exchange: &Exchange) -> Shown {
        show::request(exchange)
    }

    fn show_response(&self, exchange: &Exchange, max_rows: usize) -> Answer {
        show::response(exchange, max_rows)
    }
}
