use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn violations_are_marked_and_end_the_reading() {
    for bad in [0u32, 3, u32::MAX, 1 << 31, 1 << 30] {
        let mut message = vec![b'D'];
        message.extend(bad.to_be_bytes());
        message.extend([0; 20]);
        let steps = [
            C(client::query("select 1")),
            S(message.clone()),
            C(client::query("select 2")),
        ];
        assert_eq!(
            lossy(&steps),
            "query unanswered (protocol violation) x1 `select ?` [violation]\n\
             close ok (protocol violation) [violation]\n"
        );
        let steps = [login(), vec![C(message)]].concat();
        let (rows, decoder) = rows_of(false, &steps);
        assert_eq!(
            show(&rows[1..]),
            "close ok (protocol violation) [violation]\n"
        );
        assert_eq!(decoder.opaque(), Some("protocol violation"));
        assert!(decoder.held() < 8 << 10);
    }
}

#[test]
fn a_session_that_prepares_without_end_is_bounded() {
    let (mut decoder, mut out) = (decoder(false), Vec::new());
    for step in login() {
        take(&mut decoder, &step, Timestamp(5), &mut out);
    }
    let answer = S([server::plain(b'1'), server::ready(b'I')].concat());
    for n in 0..20_000 {
        let text = format!("select {n}, '{}'", "x".repeat(500));
        let prepare = C([client::parse(&n.to_string(), &text, &[]), client::sync()].concat());
        take(&mut decoder, &prepare, Timestamp(6), &mut out);
        take(&mut decoder, &answer, Timestamp(7), &mut out);
    }
    assert_eq!(out.len(), 20_001);
    assert!(decoder.held() < 10 << 20, "{}", decoder.held());
}

/// Pieces of real messages, damaged or not, in any order.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just(client::startup(0, &[("user", "ann")])),
        Just(client::ssl_request()),
        Just(client::cancel(1, b"key!")),
        Just(client::query("select 1")),
        Just(client::parse("a", "select $1", &[23])),
        Just(client::bind("", "a", &[], &[None], &[1])),
        Just(client::describe(b'S', "a")),
        Just(client::execute("", 0)),
        Just(client::close(b'S', "a")),
        Just(client::sync()),
        Just(client::flush()),
        Just(client::copy_data(&[7; 200])),
        Just(client::copy_done()),
        Just(client::terminate()),
        Just(client::password(b"p")),
        Just(server::authentication(0, b"")),
        Just(server::key(1, b"key!")),
        Just(server::ready(b'I')),
        Just(server::ready(b'E')),
        Just(server::columns(&[("a", 23, 0)])),
        Just(server::row(&[Some(b"1"), None])),
        Just(server::complete("DEALLOCATE")),
        Just(server::error("ERROR", "42601", "no")),
        Just(server::error("FATAL", "57P01", "over")),
        Just(server::copy(b'G')),
        Just(server::copy(b'W')),
        Just(server::plain(b'1')),
        Just(b"N".to_vec()),
    ];
    prop_oneof![
        8 => vec(known.clone(), 1..4).prop_map(|parts| parts.concat()),
        2 => (known, any::<prop::sample::Index>()).prop_map(|(bytes, at)| {
            bytes[..at.index(bytes.len())].to_vec()
        }),
        1 => vec(any::<u8>(), 0..40),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => chunk().prop_map(C),
        5 => chunk().prop_map(S),
        1 => (0u64..300).prop_map(ClientGap),
        1 => (0u64..300).prop_map(ServerGap),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_traffic_does_harm(mid_stream: bool, logged_in: bool, steps in vec(step(), 0..40)) {
        let (mut decoder, mut out) = (decoder(mid_stream), Vec::new());
        if logged_in {
            for step in login() {
                take(&mut decoder, &step, Timestamp(0), &mut out);
            }
        }
        for (n, step) in steps.iter().enumerate() {
            let at = 10 + n as i64;
            if n % 2 == 0 {
                decoder.learn(&executed("select 'x', $1", at - 3, at - 1));
            }
            take(&mut decoder, step, Timestamp(at), &mut out);
            prop_assert!(decoder.held() < 256 << 10);
        }
        decoder.close("fin", Timestamp(99), &mut out);
        let places: Vec<_> = out.iter().map(|row| row.seq).collect();
        prop_assert_eq!(places, (0..out.len() as u32).collect::<Vec<_>>());
        let opened = out.iter().filter(|row| row.kind == Kind::Open).count();
        let closed = out.iter().filter(|row| row.kind == Kind::Close).count();
        let expected = usize::from(decoder.rejected().is_none());
        prop_assert_eq!((opened, closed), (expected, expected));
        let prepared = out.iter().filter(|row| row.kind == Kind::Prepare).count() as u64;
        prop_assert_eq!(decoder.strangers().learnt, prepared);
        for row in &out {
            prop_assert!(row.order() >= out[0].order());
            let unsent = row.kind == Kind::Prepare;
            prop_assert!(unsent || row.request.bytes.len() as u64 <= row.request.wire_len);
            prop_assert!(row.request.bytes.len() <= LIMITS.request);
        }
    }

    #[test]
    fn chunks_make_no_difference(
        steps in vec(prop_oneof![chunk().prop_map(C), chunk().prop_map(S)], 0..20),
        len in 1usize..40,
    ) {
        let steps = [login(), steps].concat();
        let (expected, decoder) = rows_of(false, &steps);
        // After a violation nothing is read any more, so that it counts when it is found.
        if decoder.opaque().is_none() && !decoder.guessed {
            prop_assert_eq!(in_chunks(&steps, |_| len), expected);
        }
    }
}
