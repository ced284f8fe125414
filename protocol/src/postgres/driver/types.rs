use std::borrow::Cow;

use crate::postgres::messages::Messages;
use crate::postgres::messages::frontend::Message;
use crate::postgres::values::FIRST_OF_USERS;

/// Tag and length.
const HEAD_LEN: usize = 5;
const OID_LEN: usize = 4;

/// The request without the types of users that it declares for parameters, and how many these are: their OIDs are
/// the recorded server's, and other types or none on a copy of it. The target infers them.
pub(super) fn inferred(request: &[u8]) -> (Cow<'_, [u8]>, u64) {
    let mut places = Vec::new();
    let mut start = 0;
    for (tag, message) in Messages::new(request) {
        if tag == b'P'
            && let Ok(Message::Parse {
                name,
                text,
                parameter_types,
            }) = Message::parse(message)
        {
            // Both end in a zero; two bytes count the types.
            let first = start + HEAD_LEN + name.len() + text.len() + 4;
            let types = parameter_types.iter().enumerate();
            let of_users = types.filter(|(_, oid)| *oid >= FIRST_OF_USERS);
            places.extend(of_users.map(|(index, _)| first + OID_LEN * index));
        }
        start += message.len();
    }
    let mut bytes = Cow::Borrowed(request);
    for place in &places {
        if let Some(oid) = bytes.to_mut().get_mut(*place..place + OID_LEN) {
            oid.fill(0);
        }
    }
    (bytes, places.len() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::testing::client;

    proptest! {
        #[test]
        fn types_of_users_alone_go(
            said in prop::collection::vec(
                ("[a-z]{0,3}", "[a-z $]{0,9}", prop::collection::vec(16_300u32..16_500, 0..4)),
                0..4,
            ),
        ) {
            let request = |oid: fn(u32) -> u32| -> Vec<u8> {
                let messages = said.iter().flat_map(|(name, text, types)| {
                    let types: Vec<u32> = types.iter().copied().map(oid).collect();
                    [client::parse(name, text, &types), client::bind("", name, &[], &[], &[])]
                });
                messages.chain([client::sync()]).flatten().collect()
            };
            let sent = request(|oid| if oid < 16_384 { oid } else { 0 });
            let types = said.iter().flat_map(|(_, _, types)| types);
            let count = types.filter(|oid| **oid >= 16_384).count() as u64;
            let declared = request(|oid| oid);
            prop_assert_eq!(inferred(&declared), (Cow::Owned(sent), count));
        }
    }

    #[test]
    fn what_is_cut_stays() {
        let parse = client::parse("a", "select $1", &[16_384]);
        for cut in 0..parse.len() {
            let cut = &parse[..cut];
            assert_eq!(inferred(cut), (Cow::Borrowed(cut), 0));
        }
    }
}
