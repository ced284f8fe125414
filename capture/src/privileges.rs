//! What the process may do: less than it was started with.

use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::Path;

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{User, initgroups, setgid, setuid};

#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("there is no user {0:?}")]
    NoUser(String),
    #[error("failed to {what}: {source}")]
    System { what: String, source: io::Error },
}

fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> PrivilegeError {
    let what = what.into();
    |source| PrivilegeError::System {
        what,
        source: source.into(),
    }
}

/// Keeps what is read off the wire out of core dumps and, on Linux, the process from gaining rights
/// that it does not have yet. To be called before there are other threads.
pub fn harden() -> Result<(), PrivilegeError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("forbid core dumps"))?;
    #[cfg(target_os = "linux")]
    {
        use nix::sys::prctl;
        prctl::set_dumpable(false).map_err(failed("forbid core dumps"))?;
        prctl::set_no_new_privs().map_err(failed("give up new privileges"))?;
    }
    Ok(())
}

/// Whom root becomes when the handles are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unprivileged(User);

impl Unprivileged {
    pub fn find(name: &str) -> Result<Unprivileged, PrivilegeError> {
        User::from_name(name)
            .map_err(failed(format!("look up user {name}")))?
            .map(Unprivileged)
            .ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))
    }

    /// Makes a directory of the user's own. One that exists already is left as it is.
    pub(crate) fn make_directory(&self, dir: &Path) -> Result<(), PrivilegeError> {
        let what = || format!("make {} for user {}", dir.display(), self.0.name);
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            outcome => outcome.map_err(failed(what()))?,
        }
        let (user, group) = (self.0.uid.as_raw(), self.0.gid.as_raw());
        lchown(dir, Some(user), Some(group)).map_err(failed(what()))
    }

    /// There is no way back.
    pub(crate) fn become_it(&self) -> Result<(), PrivilegeError> {
        let User { name, uid, gid, .. } = &self.0;
        let what = || format!("become user {name}");
        let c_name = CString::new(name.as_str()).map_err(failed(what()))?;
        initgroups(&c_name, *gid)
            .and_then(|()| setgid(*gid))
            .and_then(|()| setuid(*uid))
            .map_err(failed(what()))?;
        // The kernel allows core dumps anew.
        harden()
    }
}
