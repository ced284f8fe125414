//! `rehearsal verify`: is a recording what was written?

use std::path::{Path, PathBuf};

use anyhow::Result;
use recording::{Recording, Verification};
use serde::Serialize;

use crate::{Exit, print_json, say};

/// Check a recording or a run: checksums, order, counts, the ledger, permissions.
///
/// It reads all of it and changes nothing, also while it is being written. Exit code 0: it is sound; 1:
/// something is wrong, and is told by file and offset.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A recording or a run.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// First tidy up what a crash left: seal what was not sealed, up to the last whole batch, and
    /// remove what is left over. Refused while the recording is being written.
    #[arg(long)]
    repair: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    sound: bool,
    #[serde(flatten)]
    verification: &'a Verification,
    repaired: &'a [String],
}

pub fn run(args: Args) -> Result<Exit> {
    let repaired = if args.repair {
        Recording::repair(&args.directory)?
    } else {
        Vec::new()
    };
    let verification = Recording::verify(&args.directory)?;
    if args.json {
        let report = Report {
            sound: verification.is_sound(),
            verification: &verification,
            repaired: &repaired,
        };
        print_json(&serde_json::to_string_pretty(&report)?)?;
    } else {
        say(&text(&args.directory, &verification, &repaired))?;
    }
    Ok(if verification.is_sound() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn text(dir: &Path, found: &Verification, repaired: &[String]) -> String {
    let state = match (found.being_written, found.complete) {
        (true, _) => "being written",
        (false, true) => "complete",
        (false, false) => "cut off before its end",
    };
    let mut text = format!(
        "{}: {state}\n  rows {}, segments {}, bytes {}\n",
        dir.display(),
        found.rows,
        found.segments,
        found.bytes
    );
    for line in repaired {
        text += &format!("  repaired: {line}\n");
    }
    for name in &found.left_over {
        text += &format!("  left over: {name}, which readers pass over; --repair removes it\n");
    }
    for damage in &found.damage {
        text += &format!("  wrong: {damage}\n");
    }
    text += if found.is_sound() {
        "sound\n"
    } else {
        "damaged\n"
    };
    text
}
