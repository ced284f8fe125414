//! The command line: arguments in, exit code out.
#![warn(clippy::print_stderr)]

mod capture;
mod compare;
mod inspect;
mod interrupt;
mod manner;
mod plan;
mod replay;
mod run;
mod stderr;
mod units;
mod verify;
mod width;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use analyze::report::is_unruly;
use anyhow::{Context as _, Result, anyhow};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A dress rehearsal for the next version of your database.
///
/// Record what production clients say to a server, say it again to a restored copy on the old
/// version and on the new, and compare the answers and their latency.
#[derive(Debug, Parser)]
#[command(
    name = "rehearsal",
    version,
    max_term_width = width::MOST,
    after_help = "Exit codes: 0 the gate passed, or the command did its work; 1 an operation failed; \
                  2 wrong usage;\n3 the gate failed; 4 inconclusive.\n\
                  REHEARSAL_LOG=debug in the environment tells more on standard error.\n\n\
                  A first rehearsal:\n  \
                  rehearsal capture -i eth0 -p 5432 -o monday.rec      on the database's host\n  \
                  rehearsal inspect monday.rec\n  \
                  rehearsal replay monday.rec --target postgresql://old-copy -o old.run\n  \
                  rehearsal replay monday.rec --target postgresql://new-copy -o new.run\n  \
                  rehearsal compare old.run new.run --html report.html"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Capture(capture::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Replay(replay::Args),
    Compare(compare::Args),
    Run(run::Args),
}

/// How a command ended. README.md lists the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// It did what it could, but something was lost that the user did not ask to lose.
    Failed,
    GateFailed,
    Inconclusive,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::GateFailed => 3,
            Exit::Inconclusive => 4,
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("REHEARSAL_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(|| stderr::Stderr)
        .with_ansi(io::stderr().is_terminal() && !plain(env::var_os("NO_COLOR")))
        .without_time()
        .with_target(false)
        .init();
    let result = match cli.command {
        Command::Capture(args) => capture::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Run(args) => run::run(args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            stderr::tell(&format!("rehearsal: {}\n", told(&error)));
            ExitCode::from(if error.is::<Usage>() { WRONG_USAGE } else { 1 })
        }
    }
}

/// NO_COLOR asks for no colours where it is not empty.
fn plain(no_color: Option<OsString>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

/// What clap exits with too.
const WRONG_USAGE: u8 = 2;

/// What was asked for makes no sense, or does not go together.
#[derive(Debug)]
struct Usage(anyhow::Error);

impl Usage {
    fn because(why: impl fmt::Display) -> anyhow::Error {
        Usage::of(anyhow!("{why}"))
    }

    fn of(error: impl Into<anyhow::Error>) -> anyhow::Error {
        Usage(error.into()).into()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Usage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// An error and its causes, without those that it quotes already.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints for people. What it quotes is not the program's own.
fn say(text: &str) -> Result<()> {
    print(&stderr::harmless(text))
}

fn print_json(json: &str) -> Result<()> {
    print(&(escaped(json) + "\n"))
}

/// JSON with escapes in place of what a terminal might obey.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_unruly(letter) && letter != '\n' {
            text += &format!("\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    text
}

/// Prints a result; a reader that went away (`| head`) is not an error.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_can_be_refused() {
        assert!(plain(Some("1".into())));
        assert!(!plain(Some("".into())));
        assert!(!plain(None));
    }

    #[test]
    fn a_terminal_obeys_no_json_and_a_reader_gets_it_whole() {
        let told = "\u{9b}31m\u{7f}\u{202e}é\n";
        let json = serde_json::to_string_pretty(&[told]).unwrap();
        let printed = escaped(&json);
        assert_eq!(printed, "[\n  \"\\u009b31m\\u007f\\u202eé\\n\"\n]");
        let read: Vec<String> = serde_json::from_str(&printed).unwrap();
        assert_eq!(read, [told]);
    }
}
