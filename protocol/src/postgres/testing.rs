//! Messages of both sides, for tests.

use super::messages::{CANCEL, Encode, GSS_ENCRYPTION, SSL};

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    out.message(tag, |out| parts.iter().for_each(|part| out.extend(*part)));
    out
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.packet(code, |out| out.extend(body));
    out
}

fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.string(text.as_bytes());
    out
}

fn counted<T>(items: &[T], each: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    let mut out = (items.len() as u16).to_be_bytes().to_vec();
    items.iter().for_each(|item| out.extend(each(item)));
    out
}

fn value(value: &Option<&[u8]>) -> Vec<u8> {
    match value {
        None => (-1i32).to_be_bytes().to_vec(),
        Some(bytes) => [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat(),
    }
}

pub(super) mod client {
    use super::*;

    pub(crate) fn ssl_request() -> Vec<u8> {
        packet(SSL, b"")
    }

    pub(crate) fn gss_request() -> Vec<u8> {
        packet(GSS_ENCRYPTION, b"")
    }

    pub(crate) fn cancel(process: u32, secret: &[u8]) -> Vec<u8> {
        packet(CANCEL, &[&process.to_be_bytes(), secret].concat())
    }

    pub(crate) fn startup(minor: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in parameters {
            body.extend(string(name));
            body.extend(string(value));
        }
        body.push(0);
        packet(3 << 16 | minor, &body)
    }

    pub(crate) fn password(bytes: &[u8]) -> Vec<u8> {
        message(b'p', &[bytes])
    }

    pub(crate) fn query(text: &str) -> Vec<u8> {
        message(b'Q', &[&string(text)])
    }

    pub(crate) fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
        let types = counted(types, |oid| oid.to_be_bytes().to_vec());
        message(b'P', &[&string(name), &string(text), &types])
    }

    pub(crate) fn bind(
        portal: &str,
        statement: &str,
        formats: &[u16],
        parameters: &[Option<&[u8]>],
        result_formats: &[u16],
    ) -> Vec<u8> {
        let names = [string(portal), string(statement)].concat();
        let format = |format: &u16| format.to_be_bytes().to_vec();
        let values = counted(parameters, value);
        let formats = counted(formats, format);
        message(
            b'B',
            &[&names, &formats, &values, &counted(result_formats, format)],
        )
    }

    pub(crate) fn describe(target: u8, name: &str) -> Vec<u8> {
        message(b'D', &[&[target], &string(name)])
    }

    pub(crate) fn close(target: u8, name: &str) -> Vec<u8> {
        message(b'C', &[&[target], &string(name)])
    }

    pub(crate) fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
        message(b'E', &[&string(portal), &max_rows.to_be_bytes()])
    }

    pub(crate) fn function_call(oid: u32) -> Vec<u8> {
        message(b'F', &[&oid.to_be_bytes(), &[0; 6]])
    }

    pub(crate) fn sync() -> Vec<u8> {
        message(b'S', &[])
    }

    pub(crate) fn flush() -> Vec<u8> {
        message(b'H', &[])
    }

    pub(crate) fn copy_data(bytes: &[u8]) -> Vec<u8> {
        message(b'd', &[bytes])
    }

    pub(crate) fn copy_done() -> Vec<u8> {
        message(b'c', &[])
    }

    pub(crate) fn copy_fail(reason: &str) -> Vec<u8> {
        message(b'f', &[&string(reason)])
    }

    pub(crate) fn terminate() -> Vec<u8> {
        message(b'X', &[])
    }
}

pub(super) mod server {
    use super::*;

    pub(crate) fn authentication(method: u32, payload: &[u8]) -> Vec<u8> {
        message(b'R', &[&method.to_be_bytes(), payload])
    }

    pub(crate) fn key(process: u32, secret: &[u8]) -> Vec<u8> {
        message(b'K', &[&process.to_be_bytes(), secret])
    }

    pub(crate) fn parameter(name: &str, value: &str) -> Vec<u8> {
        message(b'S', &[&string(name), &string(value)])
    }

    pub(crate) fn negotiate(newest: u32) -> Vec<u8> {
        message(b'v', &[&newest.to_be_bytes(), &[0; 4]])
    }

    pub(crate) fn ready(status: u8) -> Vec<u8> {
        message(b'Z', &[&[status]])
    }

    pub(crate) fn columns(columns: &[(&str, u32, u16)]) -> Vec<u8> {
        let columns = counted(columns, |(name, oid, format)| {
            let mut out = string(name);
            out.extend([0; 6]);
            out.extend(oid.to_be_bytes());
            out.extend([0; 6]);
            out.extend(format.to_be_bytes());
            out
        });
        message(b'T', &[&columns])
    }

    pub(crate) fn types(types: &[u32]) -> Vec<u8> {
        message(b't', &[&counted(types, |oid| oid.to_be_bytes().to_vec())])
    }

    pub(crate) fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        message(b'D', &[&counted(values, value)])
    }

    pub(crate) fn complete(tag: &str) -> Vec<u8> {
        message(b'C', &[&string(tag)])
    }

    fn fields(tag: u8, severity: &str, code: &str, text: &str) -> Vec<u8> {
        let fields = format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0");
        message(tag, &[fields.as_bytes()])
    }

    pub(crate) fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
        fields(b'E', severity, code, text)
    }

    pub(crate) fn notice(text: &str) -> Vec<u8> {
        fields(b'N', "NOTICE", "00000", text)
    }

    pub(crate) fn notification(channel: &str) -> Vec<u8> {
        message(b'A', &[&7u32.to_be_bytes(), &string(channel), &[0]])
    }

    /// ParseComplete `1`, BindComplete `2`, CloseComplete `3`, NoData `n`, EmptyQueryResponse `I`,
    /// PortalSuspended `s`, CopyDone `c`.
    pub(crate) fn plain(tag: u8) -> Vec<u8> {
        message(tag, &[])
    }

    /// CopyInResponse `G`, CopyOutResponse `H`, CopyBothResponse `W`: text, one column.
    pub(crate) fn copy(tag: u8) -> Vec<u8> {
        message(tag, &[&[0, 0, 1, 0, 0]])
    }

    pub(crate) fn copy_data(bytes: &[u8]) -> Vec<u8> {
        message(b'd', &[bytes])
    }

    pub(crate) fn function_result(bytes: &[u8]) -> Vec<u8> {
        message(b'V', &[&value(&Some(bytes))])
    }
}
