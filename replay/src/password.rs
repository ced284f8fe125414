//! Where a password comes from when the target's URL has none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::target::Target;

/// What the process's environment says; an argument, so that tests have their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Target {
    /// Takes the password from the protocol's variable, or remembers its password file, unless the
    /// URL had one. Gives what the user should be told.
    pub fn find_password(&mut self, environment: Environment<'_>) -> Vec<String> {
        let Some((variable, file_variable, file_name)) = self.protocol.password_sources() else {
            return Vec::new();
        };
        if self.login.password.is_some() {
            return Vec::new();
        }
        if let Some(password) = environment(variable).filter(|text| !text.is_empty()) {
            self.login.password = Some(Arc::from(password));
            return Vec::new();
        }
        let path = match environment(file_variable) {
            Some(path) => PathBuf::from(path),
            None => match environment("HOME") {
                Some(home) => Path::new(&home).join(file_name),
                None => return Vec::new(),
            },
        };
        match read_private(&path) {
            Ok(text) => {
                self.password_file = text.map(Arc::from);
                Vec::new()
            }
            Err(warning) => vec![warning],
        }
    }
}

/// `None` where there is no such file.
fn read_private(path: &Path) -> Result<Option<String>, String> {
    use std::os::unix::fs::PermissionsExt as _;

    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(None);
    };
    let path_shown = path.display();
    if !metadata.is_file() {
        return Err(format!(
            "password file {path_shown} is passed over: it is not a plain file"
        ));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!(
            "password file {path_shown} is passed over: others may read it; chmod 0600 it"
        ));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(format!(
            "password file {path_shown} is passed over: {error}"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::tests::LINES;

    fn find(url: &str, environment: Environment<'_>) -> (Target, Vec<String>) {
        let mut target = Target::parse(url, &[&LINES]).unwrap();
        let warnings = target.find_password(environment);
        (target, warnings)
    }

    #[test]
    fn the_url_goes_before_the_variable() {
        let variable = |name: &str| (name == "LINESPASSWORD").then(|| "v".to_owned());
        let (target, _) = find("lines://u:p@h", &variable);
        assert_eq!(target.login.password.as_deref(), Some("p"));
        let (target, _) = find("lines://u@h", &variable);
        assert_eq!(target.login.password.as_deref(), Some("v"));
    }

    #[test]
    fn a_file_that_others_may_read_is_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".linespass");
        fs::write(&path, "dana:filed\n").unwrap();
        let home = home.path().display().to_string();
        let environment = |name: &str| (name == "HOME").then(|| home.clone());

        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let (target, warnings) = find("lines://dana@h", &environment);
        assert!(warnings.is_empty());
        assert_eq!(target.login.password, None);
        let login = target.login_for(None, false);
        assert_eq!(login.password.as_deref(), Some("filed"));

        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let (target, warnings) = find("lines://dana@h", &environment);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].ends_with("others may read it; chmod 0600 it"));
        assert_eq!(target.login_for(None, false).password, None);
    }
}
