use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use super::damage::Damage;
use super::manifest::FORMAT;

/// Why a recording could not be written or opened. What is merely damaged is not an error: see
/// [`Recording::left_out`](crate::Recording::left_out).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is not empty: give a new directory, or remove what is in it", .0.display())]
    NotEmpty(PathBuf),
    #[error("cannot create {}: make the folder that it is to be in first", .0.display())]
    NoParent(PathBuf),
    #[error("{} is not a directory of its own: links are not followed", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} is no recording: that is a folder with a manifest or segments", .0.display())]
    NotARecording(PathBuf),
    #[error(
        "{} is of format {format}, and this build reads up to {FORMAT}: use a newer rehearsal",
        path.display()
    )]
    TooNew { path: PathBuf, format: u32 },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        path: PathBuf,
        /// Where in the file, if not all of it.
        offset: Option<u64>,
        reason: String,
    },
    #[error("{} is in use: wait until what writes, repairs or verifies it has ended", .0.display())]
    InUse(PathBuf),
    #[error("cannot encode {}: {source}", path.display())]
    Encode {
        path: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("a row of {bytes} bytes is over the limit of {limit}: session {session}, seq {seq}")]
    RowTooLarge {
        session: u64,
        seq: u32,
        bytes: usize,
        limit: usize,
    },
    #[error("{} may have no more than {limit} bytes", path.display())]
    OverLimit { path: PathBuf, limit: u64 },
    #[error("writing to {} ended with an earlier error", .0.display())]
    Failed(PathBuf),
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io {
            action,
            path,
            source,
        }
    }

    pub(super) fn damaged(path: &Path) -> impl FnOnce(String) -> StoreError {
        let path = path.to_owned();
        move |reason| StoreError::Damaged {
            path,
            offset: None,
            reason,
        }
    }

    /// What a reader that goes on tells of it.
    pub(super) fn into_damage(self, path: &Path) -> Damage {
        let (offset, problem) = match self {
            StoreError::Damaged { offset, reason, .. } => (offset, reason),
            StoreError::Io { action, source, .. } => {
                (None, format!("cannot {action} it: {source}"))
            }
            error => (None, error.to_string()),
        };
        let name = path.file_name().unwrap_or(path.as_os_str());
        Damage::new(&name.display().to_string(), offset, problem)
    }

    pub(super) fn encode<E>(path: &Path) -> impl FnOnce(E) -> StoreError
    where
        E: Error + Send + Sync + 'static,
    {
        let path = path.to_owned();
        move |source| StoreError::Encode {
            path,
            source: Box::new(source),
        }
    }
}
