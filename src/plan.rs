//! What a rehearsal consists of, as a file that can be kept and reviewed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::Usage;
use crate::compare::Terms;
use crate::manner::Manner;

/// `plan.toml`. Paths in it are relative to the folder that it stands in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    pub recording: PathBuf,
    /// Where the runs and the report go. Made by `rehearsal run`; may not exist.
    pub output: PathBuf,
    pub old: Side,
    pub new: Side,
    #[serde(default)]
    pub replay: Manner,
    #[serde(default)]
    pub compare: Terms,
    #[serde(default)]
    pub gate: Gate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Side {
    pub target: String,
    /// Shell command that puts the snapshot back, run before each replay.
    pub restore: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gate {
    pub fail_on: Option<String>,
}

impl Plan {
    /// The plan, and the folder that it stands in.
    pub fn read(file: &Path) -> Result<(Plan, PathBuf)> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read the plan {}", file.display()))?;
        let mut plan: Plan = toml::from_str(&text)
            .with_context(|| format!("failed to understand the plan {}", file.display()))
            .map_err(Usage::of)?;
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        plan.recording = folder.join(&plan.recording);
        plan.output = folder.join(&plan.output);
        Ok((plan, folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_plan() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.toml");
        let text = r#"
            recording = "monday.rec"
            output = "/elsewhere/monday"
            [old]
            target = "postgresql://old/shop"
            [new]
            target = "postgresql://new/shop"
            restore = "./restore.sh"
            [replay]
            speed = 2.0
            [compare]
            compare-header = ["ETag"]
            [gate]
            fail-on = "differences > 0"
        "#;
        fs::write(&file, text).unwrap();
        let (plan, folder) = Plan::read(&file).unwrap();
        assert_eq!(folder, dir.path());
        assert_eq!(plan.recording, dir.path().join("monday.rec"));
        assert_eq!(plan.output, Path::new("/elsewhere/monday"));
        let options = plan.replay.options(&plan.old.target).unwrap();
        assert_eq!(options.pace, ::replay::Pace::Speed(2.0));
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.toml");
        fs::write(&file, "recording = \"a\"\noutputs = \"b\"\n").unwrap();
        let error = format!("{:#}", Plan::read(&file).unwrap_err());
        assert!(error.contains("outputs"), "{error}");
    }
}
