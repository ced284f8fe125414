//! How a recording is replayed: the same words on the command line and in a plan.

use std::env;

use ::replay::{Options, Pace, Target};
use anyhow::{Result, bail};
use serde::Deserialize;

#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manner {
    /// Speed as a multiple of the recorded one [default: 1].
    #[arg(long, value_name = "X")]
    pub speed: Option<f64>,

    /// Send each request as soon as the one before in its session is answered.
    #[arg(long, conflicts_with = "speed")]
    pub asap: bool,

    /// Take whoever answers for the target: TLS without a look at certificates.
    #[arg(long)]
    pub insecure: bool,

    #[command(flatten)]
    #[serde(flatten)]
    pub http: Http,
}
