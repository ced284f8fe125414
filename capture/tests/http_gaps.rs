//! HTTP conversations of which packets are lost, as a busy kernel loses them: what is paired is paired
//! rightly, nothing comes twice, and after a loss the conversation is read on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod conversation;

use std::collections::BTreeSet;

use conversation::{Asks, Conversation, Loss, Talk, asks, listen, losses};
use proptest::prelude::*;
use recording::{Exchange, Kind, Status};

/// What a row says of whose it is.
fn id<'a>(bytes: &'a [u8], before: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(200))?).ok()?;
    let (_, after) = text.split_once(before)?;
    after.split_once('/').map(|(id, _)| id)
}

fn asked(row: &Exchange) -> Option<&str> {
    id(&row.request.bytes, " /id/")
}

fn answered(row: &Exchange) -> Option<&str> {
    id(&row.response.as_ref()?.body, "X-Id: ")
}

#[derive(Default)]
struct Found {
    requests: BTreeSet<usize>,
    responses: BTreeSet<usize>,
    /// Both, in one row and whole.
    pairs: BTreeSet<usize>,
}

/// Reads the rows, and holds them to what is promised of any client.
fn found(rows: &[Exchange]) -> Result<Found, TestCaseError> {
    let mut found = Found::default();
    for row in rows.iter().filter(|row| row.kind == Kind::Request) {
        let (asked, answered) = (asked(row), answered(row));
        if let (Some(asked), Some(answered)) = (asked, answered) {
            prop_assert_eq!(asked, answered, "a wrong pair");
        }
        if let Some(id) = asked.and_then(|id| id.parse().ok()) {
            prop_assert!(found.requests.insert(id), "request {} came twice", id);
        }
        if let Some(id) = answered.and_then(|id| id.parse().ok()) {
            prop_assert!(found.responses.insert(id), "response {} came twice", id);
            if row.status != Status::Unanswered && asked.is_some() {
                found.pairs.insert(id);
            }
        }
        if row.status == Status::Unanswered {
            prop_assert!(row.reason.is_some());
        }
    }
    Ok(found)
}

/// The end of a body that looks like a message may take the beginning of the next one.
fn after_trap(talk: &Talk, id: usize) -> bool {
    id > 0 && talk.exchanges[id - 1].trap
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_client_that_waits_is_read_on_after_two_exchanges(
        talk in conversation::talk(Just(Asks::Waits)),
        losses in losses(10..150),
        mid_stream in prop_oneof![3 => Just(None), 1 => (0..60_usize).prop_map(Some)],
    ) {
        let conversation = Conversation::of(&talk);
        let (rows, loss, opaque) = listen(&conversation, &losses, mid_stream);
        prop_assert_eq!(opaque, None);
        let found = found(&rows)?;
        let whole = |id: &usize| loss.spared(&conversation, *id);
        for id in (0..talk.exchanges.len()).filter(whole) {
            if !after_trap(&talk, id) {
                prop_assert!(found.requests.contains(&id), "request {} did not come", id);
                prop_assert!(found.responses.contains(&id), "response {} did not come", id);
            }
            if id >= 2 && whole(&(id - 1)) && whole(&(id - 2)) {
                prop_assert!(found.pairs.contains(&id), "exchange {} is not read", id);
            }
        }
    }

    #[test]
    fn a_client_that_pipelines_is_read_on_after_a_pause(
        talk in conversation::talk(asks()),
        losses in losses(10..150),
    ) {
        let conversation = Conversation::of(&talk);
        let (rows, loss, opaque) = listen(&conversation, &losses, None);
        prop_assert_eq!(opaque, None);
        let found = found(&rows)?;
        // Until something is lost, and again from the first pause on that comes when it is known.
        let mut read = true;
        for id in 0..talk.exchanges.len() {
            read |= conversation.paused(id)
                && !after_trap(&talk, id)
                && loss.known_in_the_pause(&conversation, id);
            read &= loss.spared(&conversation, id);
            if read {
                prop_assert!(found.pairs.contains(&id), "exchange {} is not read", id);
            }
        }
    }
}

#[test]
fn a_twentieth_of_the_packets_lost_loses_little_more() {
    let (mut spared, mut read) = (0, 0);
    for seed in 0..20 {
        let talk = Talk::made_up(300, seed);
        let conversation = Conversation::of(&talk);
        let (rows, loss, opaque) = listen(&conversation, &Loss::twentieth(seed), None);
        assert_eq!(opaque, None);
        let found = found(&rows).unwrap();
        for id in 1..talk.exchanges.len() - 1 {
            if (id - 1..=id + 1).all(|id| loss.spared(&conversation, id)) {
                spared += 1;
                read += usize::from(found.pairs.contains(&id));
            }
        }
    }
    assert!(spared > 1000);
    assert!(read * 100 > spared * 95, "{read} of {spared}");
}
