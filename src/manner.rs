//! How a recording is replayed: the same words on the command line and in a plan.

use std::env;
use std::num::NonZeroUsize;

use ::replay::{Options, Pace, Target};
use anyhow::{Result, bail};
use serde::Deserialize;

use crate::Usage;

#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manner {
    /// Speed as a multiple of the recorded one: 2 takes half the time, 0.5 twice [default: 1].
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = speed)]
    speed: Option<f64>,

    /// Send each request as soon as the one before in its session is answered, over no more sessions at
    /// once than were open when recorded.
    #[arg(long, conflicts_with = "speed")]
    asap: bool,

    /// Over TLS, take whoever answers for the target: no certificate is verified.
    #[arg(long)]
    insecure: bool,

    /// Send the requests of all sessions over so many connections: each waits for one that is free
    /// [default: each session has a connection of its own].
    #[arg(long, value_name = "N", value_parser = connections, help_heading = HTTP)]
    connections: Option<NonZeroUsize>,

    /// Send requests that may change something too: all but GET, HEAD, OPTIONS and TRACE.
    #[arg(long, help_heading = HTTP)]
    allow_writes: bool,

    /// Only requests of this method. May be given several times.
    #[arg(long, value_name = "METHOD", help_heading = HTTP)]
    method: Vec<String>,

    /// Only requests of this path, or below it. May be given several times.
    #[arg(long, value_name = "PATH", help_heading = HTTP)]
    path: Vec<String>,

    /// Only requests with this header, or with this value of it. May be given several times.
    #[arg(long, value_name = "NAME[: VALUE]", help_heading = HTTP)]
    header: Vec<String>,

    /// Send this header in place of the recorded ones of its name, or in addition; a Cookie in place of
    /// what the target set, a Host in place of the target's. May be given several times; of several of
    /// one name the last counts.
    #[arg(long, value_name = "NAME: VALUE", help_heading = HTTP)]
    set_header: Vec<String>,

    /// Leave this header out of what is sent. May be given several times.
    #[arg(long, value_name = "NAME", help_heading = HTTP)]
    drop_header: Vec<String>,

    /// Leave this cookie out of what is sent. May be given several times.
    #[arg(long, value_name = "NAME", help_heading = HTTP)]
    drop_cookie: Vec<String>,

    /// Send requests of the path FROM, or below it, to TO. May be given several times; the first
    /// that fits counts.
    #[arg(long, value_name = "FROM=TO", help_heading = HTTP)]
    rewrite_url: Vec<String>,

    /// Leave the recorded Host as it is, and Origin, Referer and absolute URLs [default: they name the
    /// target as its URL does].
    #[arg(long, help_heading = HTTP)]
    keep_host: bool,
}

fn speed(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "say a number, such as 2 or 0.5")
}

fn connections(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "say how many, 1 or more")
}

pub const HTTP: &str = "HTTP options";

impl Manner {
    /// An error is of what was asked for.
    pub fn options(&self, target: &str) -> Result<Options> {
        self.build(target).map_err(Usage::of)
    }

    fn build(&self, target: &str) -> Result<Options> {
        let mut target = Target::parse(target, protocol::registry())?;
        for warning in target.find_password(&|name| env::var(name).ok()) {
            tracing::warn!("{warning}");
        }
        if self.insecure {
            target.trust_anyone();
        }
        for (name, told) in [
            ("allow-writes", self.allow_writes),
            ("keep-host", self.keep_host),
        ] {
            if told {
                target.set_option(name, "")?;
            }
        }
        for (name, values) in [
            ("method", &self.method),
            ("path", &self.path),
            ("header", &self.header),
            ("set-header", &self.set_header),
            ("drop-header", &self.drop_header),
            ("drop-cookie", &self.drop_cookie),
            ("rewrite-url", &self.rewrite_url),
        ] {
            for value in values {
                target.set_option(name, value)?;
            }
        }
        let mut options = Options::new(target);
        options.pace = match (self.speed, self.asap) {
            (Some(_), true) => bail!("the plan says both speed and asap: leave one out"),
            (None, true) => Pace::Asap,
            (speed, false) => Pace::Speed(speed.unwrap_or(1.0)),
        };
        options.pace.check()?;
        if let Some(connections) = self.connections {
            options.share_connections(connections)?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_the_words_of_the_command_line() {
        let text = r#"
            asap = true
            allow-writes = true
            path = ["/api", "/shop"]
            set-header = ["Authorization: Bearer made-up"]
        "#;
        let manner: Manner = toml::from_str(text).unwrap();
        let options = manner.options("http://h").unwrap();
        assert_eq!(options.pace, Pace::Asap);
        let told = options.target.login.options.iter();
        let told: Vec<(&str, &str)> = told.map(|(name, value)| (&**name, &**value)).collect();
        let expected = [
            ("allow-writes", ""),
            ("path", "/api"),
            ("path", "/shop"),
            ("set-header", "Authorization: Bearer made-up"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_the_target_does_not_know_is_an_error() {
        let manner = Manner {
            allow_writes: true,
            ..Manner::default()
        };
        let error = manner.options("postgresql://h").unwrap_err().to_string();
        assert!(error.contains("--allow-writes"), "{error}");
        let manner: Manner = toml::from_str("connections = 4").unwrap();
        assert!(manner.options("http://h").is_ok());
        let error = manner.options("postgresql://h").unwrap_err().to_string();
        let told = "postgres targets can't have this --connections: each session needs a \
                    connection of its own";
        assert_eq!(error, told);
    }
}
