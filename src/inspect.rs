//! `rehearsal inspect`: what a recording or a run holds.

use std::path::PathBuf;

use analyze::report;
use anyhow::Result;
use recording::Recording;

use crate::{Exit, print, print_json, width};

/// Tell what a recording or a run holds: sessions, requests, errors, the busiest statements, and what
/// became of everything that was seen.
///
/// It works on a recording that is still being written, and on one whose capture was killed. Exits with 1
/// where a part of what was written can't be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A recording or a run.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Print JSON, with each session by itself.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let recording = Recording::open(&args.directory)?;
    let inspection = analyze::inspect(&recording)?;
    if args.json {
        print_json(&serde_json::to_string_pretty(&inspection)?)?;
    } else {
        print(&report::inspection(&inspection, width::columns()))?;
    }
    // While it is written, a batch may be on its way to the file.
    Ok(
        if inspection.left_out.is_empty() || inspection.being_written {
            Exit::Done
        } else {
            Exit::Failed
        },
    )
}
