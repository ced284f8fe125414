//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use crate::Login;

/// The password of the first line that fits.
pub(super) fn find(text: &str, host: &str, port: u16, login: &Login) -> Option<String> {
    let port = port.to_string();
    let wanted = [
        Some(host),
        Some(port.as_str()),
        login.database.as_deref(),
        login.user.as_deref(),
    ];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let [conditions @ .., password] = fields.as_slice() else {
                return None;
            };
            let fits = conditions.len() == wanted.len()
                && conditions
                    .iter()
                    .zip(wanted)
                    .all(|(field, wanted)| field.fits(wanted));
            fits.then(|| password.text.clone())
        })
}

#[derive(Default)]
struct Field {
    text: String,
    wildcard: bool,
}

impl Field {
    fn fits(&self, wanted: Option<&str>) -> bool {
        self.wildcard || wanted == Some(&self.text)
    }
}

/// Five fields with colons between. A backslash takes the next letter as it is; what follows the
/// fifth field is passed over.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut letters = line.chars();
    let mut raw = String::new();
    loop {
        let letter = letters.next();
        let Some(field) = fields.last_mut() else {
            return fields;
        };
        match letter {
            None | Some(':') => {
                field.wildcard = raw == "*";
                raw.clear();
                if letter.is_none() || fields.len() == 5 {
                    return fields;
                }
                fields.push(Field::default());
            }
            Some('\\') => {
                raw.push('\\');
                field.text.extend(letters.next());
            }
            Some(letter) => {
                raw.push(letter);
                field.text.push(letter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment:1:2:3:4\n\
        db.example:5432:shop:alice:first\n\
        broken line\n\
        db.example:*:*:alice:with\\:colon\\\\\n\
        \\*:5432:*:*:star\n\
        *:5433:*:bob:passed:over\n";

    fn password(
        host: &str,
        port: u16,
        database: Option<&str>,
        user: Option<&str>,
    ) -> Option<String> {
        let login = Login {
            user: user.map(Into::into),
            database: database.map(Into::into),
            ..Login::default()
        };
        find(TEXT, host, port, &login)
    }

    #[test]
    fn first_line_that_fits() {
        for (host, port, database, user, expected) in [
            (
                "db.example",
                5432,
                Some("shop"),
                Some("alice"),
                Some("first"),
            ),
            (
                "db.example",
                5432,
                None,
                Some("alice"),
                Some("with:colon\\"),
            ),
            (
                "db.example",
                6000,
                Some("shop"),
                Some("alice"),
                Some("with:colon\\"),
            ),
            ("other", 5432, Some("shop"), Some("alice"), None),
            ("*", 5432, Some("shop"), Some("alice"), Some("star")),
            ("other", 5433, Some("shop"), Some("bob"), Some("passed")),
            ("other", 5433, Some("shop"), None, None),
        ] {
            assert_eq!(
                password(host, port, database, user).as_deref(),
                expected,
                "{host} {port} {database:?} {user:?}"
            );
        }
    }
}
