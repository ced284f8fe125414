mod fields;

use std::sync::Arc;

use recording::Timestamp;

use super::super::body::Asked;
use super::super::reply::Reply;
use super::lines::MAX_ALIGNED;
use super::*;

/// The 9th of September 2001.
const NOW: Timestamp = Timestamp(1_000_000_000_000_000_000);

fn answered(text: &[u8], cap: usize) -> Exchange {
    let mut reply = Reply::new(Asked::Other, cap, None);
    let mut rest = text;
    while !rest.is_empty() {
        let (used, _) = reply.feed(rest, NOW).unwrap();
        rest = rest.get(used..).unwrap();
    }
    let (status, response, _) = reply.finish();
    Exchange {
        seq: 1,
        status,
        response: Some(response),
        ..Exchange::new(recording::Kind::Request, Timestamp(0))
    }
}

fn nameless<T>(compare: impl FnOnce(&Names<'_>) -> T) -> T {
    let nobody = Exchange::new(recording::Kind::Request, NOW);
    compare(&Names::new(&nobody, &nobody, &Terms::default()))
}

fn json_differences(old: &str, new: &str) -> Option<Vec<Difference>> {
    nameless(|names| json::differences(old, new, names))
}

fn lines_compare(old: &str, new: &str, differences: &mut Vec<Difference>) {
    nameless(|names| lines::compare(old, new, names, differences));
}

fn message(status: &str, fields: &str, content: &str) -> String {
    let len = content.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{fields}\r\n{content}")
}

fn between(old: &str, new: &str) -> Vec<String> {
    between_on(&Terms::default(), old, new)
}

fn between_on(terms: &Terms, old: &str, new: &str) -> Vec<String> {
    between_bytes(terms, old.as_bytes(), new.as_bytes())
}

fn between_bytes(terms: &Terms, old: &[u8], new: &[u8]) -> Vec<String> {
    compare(&answered(old, 1000), &answered(new, 1000), terms)
        .into_iter()
        .map(|difference| {
            let Difference {
                kind,
                place,
                expected,
                observed,
            } = difference;
            format!("{}, {place}: {expected} / {observed}", kind.name())
        })
        .collect()
}

#[test]
fn what_is_no_utf_8_differs_too() {
    let with = |byte: u8| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Name: caf";
        [&head[..], &[byte], b"\r\n\r\n"].concat()
    };
    let place = r"headers, header x-name: caf\xe9 / caf\xe8";
    let told = |old, new| between_bytes(&Terms::default(), &with(old), &with(new));
    assert_eq!(told(0xe9, 0xe8), [place]);
    assert_eq!(told(0xe9, 0xe9), [""; 0]);
}

#[test]
fn statuses_differ_by_what_they_are() {
    for (old, new, name) in [
        ("200 OK", "500 No", "new error, status: 200 / 500"),
        ("404 No", "200 OK", "vanished error, status: 404 / 200"),
        ("404 No", "403 No", "different error, status: 404 / 403"),
        ("200 OK", "302 Found", "status, status: 200 / 302"),
    ] {
        let (old, new) = (message(old, "A: b\r\n", "x"), message(new, "", "y"));
        assert_eq!(between(&old, &new), [name]);
    }
}

#[test]
fn a_content_type_is_the_same_however_it_is_written() {
    let message = |value: &str| message("200 OK", &format!("Content-Type: {value}\r\n"), "");
    let old = message("application/json;charset=utf-8");
    let differing = |new: &str| between(&old, &message(new)).len();
    assert_eq!(differing("Application/JSON; Charset=\"UTF-8\""), 0);
    assert_eq!(differing("application/json; charset=latin1"), 1);
    assert_eq!(differing("application/json"), 1);
    let old = message("text/plain; boundary=a");
    assert_eq!(between(&old, &message("text/plain; boundary=A")).len(), 1);
}

#[test]
fn of_a_long_value_that_part_is_told_which_differs() {
    let long = |end: &str| format!("{}12345678901234567890{end}", "é".repeat(150));
    for (media, quote, place) in [
        ("text/plain", "", "line 1"),
        ("application/json", "\"", "$"),
    ] {
        let message = |end: &str| {
            let fields = format!("Content-Type: {media}\r\n");
            message("200 OK", &fields, &format!("{quote}{}{quote}", long(end)))
        };
        assert_eq!(
            between(&message("old"), &message("new")),
            [format!(
                "values, {place}: …12345678901234567890old{quote} / …12345678901234567890new{quote}"
            )]
        );
        let tail = "x".repeat(400);
        let told = between(&message(&tail), &message(""));
        let kept = "x".repeat(180);
        assert_eq!(
            told,
            [format!(
                "values, {place}: …12345678901234567890{kept}… / …12345678901234567890{quote}"
            )]
        );
    }
    let early = |start: &str| message("200 OK", "Content-Type: text/plain\r\n", start);
    let [old, new] = ["a", "b"].map(|start| format!("{start}{}", "x".repeat(300)));
    let kept = "x".repeat(199);
    assert_eq!(
        between(&early(&old), &early(&new)),
        [format!("values, line 1: a{kept}… / b{kept}…")]
    );
}

#[test]
fn a_server_may_write_its_own_name_anywhere() {
    let terms = Terms {
        expected_target: Some("http://h:1".into()),
        observed_target: Some("http://h:2".into()),
        ..Terms::default()
    };
    let texts = |port: u16, what: &str| {
        let link = format!("Link: <http://h:{port}/{what}>; rel=next\r\n");
        let html = format!("<p>\n<a href='http://h:{port}/{what}'>\nh:{port}\n<p>\n");
        let json = format!(r#"{{"next": "http:\/\/h:{port}\/{what}", "n": [1]}}"#);
        [
            message("200 OK", &link, ""),
            message("200 OK", "Content-Type: text/html\r\n", &html),
            message("200 OK", "Content-Type: application/json\r\n", &json),
            message("200 OK", "Content-Type: app/x\r\n", &html),
        ]
    };
    let told = |port: u16, what: &str| -> Vec<String> {
        let pairs = texts(1, "a").into_iter().zip(texts(port, what));
        pairs
            .flat_map(|(old, new)| between_on(&terms, &old, &new))
            .map(|told| told.split(": ").next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(told(2, "a"), [""; 0]);
    let places = [
        "headers, header link",
        "values, line 2",
        "values, $.next",
        "values, body",
    ];
    assert_eq!(told(2, "b"), places);
    assert_eq!(told(1, "a"), [""; 0]);
    let all = [
        "headers, header link",
        "values, line 2",
        "values, line 3",
        "values, $.next",
    ];
    assert_eq!(told(3, "a"), [&all[..], &["values, body"]].concat());
    let [_, old, ..] = texts(1, "a");
    let [_, new, ..] = texts(2, "a");
    let new = new.replace("<p>\n<a", "<b>\n<a");
    assert_eq!(
        between_on(&terms, &old, &new),
        ["values, line 1: <p> / <b>"]
    );
}

#[test]
fn what_is_said_of_a_cookie_is_compared() {
    let differing = |old: &str, new: &str| {
        let [old, new] =
            [old, new].map(|it| message("200 OK", &format!("Set-Cookie: sid={it}\r\n"), ""));
        between(&old, &new)
    };
    let old = "a; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60; Expires=Fri, 1 May 2026";
    let same = "b;max-age=9;expires=Sat, 2 May 2026;httponly; secure; SAMESITE=strict; path=/";
    assert_eq!(differing(old, same), [""; 0]);
    assert_eq!(
        differing("a; Path=/; Secure; HttpOnly; SameSite=Strict", "b; Path=/"),
        ["headers, header set-cookie sid: httponly; path=/; samesite=strict; secure / path=/"]
    );
    let deletions = [
        "; Max-Age=0",
        "x; Max-Age=-1; Expires=Fri, 1 May 2026",
        "; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "; expires=Thu, 01-Jan-70 00:00:01 GMT",
        "x; Expires=Sat, 08 Sep 2001 00:00:00 GMT",
        "a; Path=/\r\nSet-Cookie: sid=; Path=/\r\nSet-Cookie: sid=; Max-Age=0; path=/",
    ];
    for deletion in deletions {
        let path = if deletion.contains("path") {
            "; Path=/"
        } else {
            ""
        };
        let [old, gone] = ["a; Max-Age=60", "; Max-Age=0"].map(|it| it.to_owned() + path);
        assert_eq!(differing(&gone, deletion), [""; 0]);
        let told = differing(&old, deletion).concat().replace("; path=/", "");
        assert_eq!(told, "headers, header set-cookie sid: max-age / deleted");
    }
    assert_eq!(
        differing("a", ""),
        ["headers, header set-cookie sid: no attributes / empty"]
    );
    // The last one counts, and it may be without a name.
    assert_eq!(differing("a; HttpOnly\r\nSet-Cookie: sid=b", "b"), [""; 0]);
    let nameless = differing("a", "a\r\nSet-Cookie: token");
    assert_eq!(
        nameless,
        ["headers, header set-cookie: sid / (no name), sid"]
    );
}

#[test]
fn json_is_compared_by_its_parts() {
    let json = |text| message("200 OK", "Content-Type: application/json\r\n", text);
    let old = json(r#"{"a":1,"b":{"c":[1,2,3]},"d":null}"#);
    assert_eq!(
        between(&old, &json(r#"{ "d":null, "b":{"c":[1,2,3]}, "a":1 }"#)),
        [""; 0]
    );
    assert_eq!(
        between(&old, &json(r#"{"a":"1","b":{"c":[1,5]},"e":0}"#)),
        [
            "values, $.a, type: 1 / \"1\"",
            "values, $.b.c[1]: 2 / 5",
            "values, $.b.c[2], removed: 3 / absent",
            "values, $.d, removed: null / absent",
            "values, $.e, added: absent / 0"
        ]
    );
    assert_eq!(
        between(&old, &json("oops")),
        [r#"values, line 1: {"a":1,"b":{"c":[1,2,3]},"d":null} / oops"#]
    );
    assert_eq!(
        between(
            &json(r#"{"a.b":1,"a":{"b":1}}"#),
            &json(r#"{"a.b":2,"a":{"b":3}}"#)
        ),
        [r"values, $.a.b: 1 / 3", r#"values, $["a.b"]: 1 / 2"#]
    );
}

#[test]
fn numbers_of_json_are_exact_and_told_as_sent() {
    let differing = |old: &str, new: &str| -> Vec<String> {
        let found = json_differences(old, new).unwrap().into_iter();
        found
            .map(|it| format!("{}: {} / {}", it.place, it.expected, it.observed))
            .collect()
    };
    for (old, new) in [
        ("123456789012345678901", "123456789012345678902"),
        ("9007199254740993.0", "9007199254740992.0"),
        ("1", "1.0"),
        ("1.5", "-1.5"),
        ("1e999999999999999999999", "2e999999999999999999999"),
    ] {
        assert_eq!(differing(old, new), [format!("$: {old} / {new}")]);
    }
    for (old, new) in [("1.0", "1e0"), ("10.50", "105E-1"), ("-0.0", "0e7")] {
        assert_eq!(differing(old, new), [""; 0]);
    }
    assert_eq!(differing(r#""\u0061\/""#, r#""a/""#), [""; 0]);
}

#[test]
fn keys_that_come_twice_are_compared_both() {
    let found = json_differences(r#"{"a":1,"a":2}"#, r#"{"a":3,"a":2}"#).unwrap();
    let places: Vec<&str> = found.iter().map(|it| &*it.place).collect();
    assert_eq!(places, ["$.a"]);
    let found = json_differences(r#"{"a":1}"#, r#"{"a":1,"a":1}"#).unwrap();
    let places: Vec<&str> = found.iter().map(|it| &*it.place).collect();
    assert_eq!(places, ["$.a (2), added"]);
    let deep = |value: &str| format!("{}{value}{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(json_differences(&deep("1"), &deep("2")), None);
}

#[test]
fn many_differences_hide_none_behind_them() {
    let list = |first: usize, count: usize| -> String {
        let items: Vec<String> = (first..first + count).map(|it| it.to_string()).collect();
        format!("[{}]", items.join(","))
    };
    let differences = |old: &str, new: &str| json_differences(old, new).unwrap();
    let found = differences(&list(0, 300), &list(1, 301));
    assert_eq!(found.len(), 301);
    let (told, last) = (found.get(MAX_TOLD - 1).unwrap(), found.last().unwrap());
    assert_eq!((&*told.expected, &*told.observed), ("99", "100"));
    assert_eq!((&*last.place, &*last.observed), ("$[300], added", ""));

    let found = differences(&list(0, MAX_PLACES + 5), &list(1, MAX_PLACES + 5));
    assert_eq!(found.len(), MAX_PLACES + 1);
    assert_eq!(found.last().unwrap().place, "more than 10000 differences");

    let lines = |first, count| list(first, count).replace(',', "\n");
    let mut found = Vec::new();
    lines_compare(&lines(0, 300), &lines(500, 300), &mut found);
    assert_eq!(found.len(), 300);
}

#[test]
fn text_is_compared_by_lines() {
    let html = |text| message("200 OK", "Content-Type: text/html; charset=utf-8\r\n", text);
    let old = html("a\nb\nc\nd\n");
    assert_eq!(
        between(&old, &html("a\nB\nc\nD\n")),
        ["values, line 2: b / B", "values, line 4: d / D"]
    );
    assert_eq!(
        between(&old, &html("a\nb\nd\n")),
        ["values, line 3, removed: c / absent"]
    );
    assert_eq!(
        between(&old, &html("a\nb\nc\nd")),
        ["values, newline at the end: present / absent"]
    );
    assert_eq!(
        between(&old, &html("a\r\nb\r\nC\r\nd\r\n")),
        ["values, line endings: LF / CRLF", "values, line 3: c / C"]
    );
    assert_eq!(
        between(&html("a\r\nb\n"), &html("a\nb\r\n")),
        ["values, line endings: CRLF at line 1 / LF at line 1"]
    );
    assert_eq!(
        between(&html(""), &html("a")),
        ["values, line 1, added: absent / a"]
    );
}

#[test]
fn a_line_that_comes_or_goes_has_a_place_of_its_own() {
    let text = |text: &str| message("200 OK", "Content-Type: text/plain\r\n", text);
    let old = text("a\nb\nnoise 1\nc\nd\n");
    let noise = "values, line 3: noise 1 / noise 2";
    for (new, told) in [
        ("a\nb\nnoise 2\nc\nd\n", vec![]),
        (
            "a\nb\nnoise 2\nnew\nnewer\nc\nd\n",
            vec![
                "values, line 4, added: absent / new",
                "values, line 4, added 2: absent / newer",
            ],
        ),
        (
            "a\nb\nnoise 2\nd\n",
            vec!["values, line 4, removed: c / absent"],
        ),
        (
            "a\nb\nnoise 2\nc\nd\ne\n",
            vec!["values, line 6, added: absent / e"],
        ),
    ] {
        let told = [vec![noise], told].concat();
        assert_eq!(between(&old, &text(new)), told);
    }
}

#[test]
fn many_lines_are_not_aligned() {
    let lines = |from: usize, count: usize| -> String {
        let lines = (from..from + count).map(|line| format!("{line}\n"));
        lines.collect()
    };
    let places = |old: &str, new: &str| -> Vec<String> {
        let mut differences = Vec::new();
        lines_compare(old, new, &mut differences);
        differences.into_iter().map(|one| one.place).collect()
    };
    let old = format!("same\n{}", lines(0, MAX_ALIGNED));
    let new = |count| format!("same\n{}", lines(MAX_ALIGNED, count));
    assert_eq!(
        places(&old, &new(MAX_ALIGNED + 1)),
        ["lines 2 to 2001, now 2001 lines"]
    );
    let by_line = places(&old, &new(MAX_ALIGNED));
    assert_eq!(by_line.first().unwrap(), "line 2");
}

#[test]
fn what_is_there_on_one_side_only_is_another_difference() {
    let image = |fields: &str, content: &str| {
        let fields = format!("Content-Type: image/png\r\n{fields}");
        message("200 OK", &fields, content)
    };
    let places = |old: &str, new: &str| -> Vec<String> {
        let told = between(&image("", old), &image("", new)).into_iter();
        let places = told.map(|told| told.split_once(':').unwrap().0.to_owned());
        places.collect()
    };
    assert_eq!(places("one", "two"), ["values, body"]);
    assert_eq!(places("one", ""), ["values, body, removed"]);
    assert_eq!(places("", "two"), ["values, body, added"]);
    let (one, two) = (image("X-Left: 1\r\n", ""), image("X-Left: 2\r\n", ""));
    assert_eq!(between(&one, &two), ["headers, header x-left: 1 / 2"]);
    let none = image("", "");
    assert_eq!(
        between(&one, &none),
        ["headers, header x-left, removed: 1 / absent"]
    );
    assert_eq!(
        between(&none, &two),
        ["headers, header x-left, added: absent / 2"]
    );
}

#[test]
fn what_cannot_be_read_is_compared_by_its_digest() {
    let image = |text| message("200 OK", "Content-Type: image/png\r\n", text);
    let found = between(&image("abc"), &image("abd"));
    assert!(found.first().unwrap().starts_with("values, body: digest "));
    assert_eq!(between(&image("abc"), &image("abc")), [""; 0]);
    for cap in [0, 60] {
        let (old, new) = (
            answered(image("abc").as_bytes(), cap),
            answered(image("abd").as_bytes(), cap),
        );
        let found = compare(&old, &new, &Terms::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found.first().unwrap().kind, DifferenceKind::Values);
    }
}

#[test]
fn how_it_was_carried_is_no_difference() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
    assert_eq!(between(&message("200 OK", "", "abc"), chunked), [""; 0]);
}

#[test]
fn a_boundary_between_parts_is_made_up_and_parts_are_not() {
    let answer = |boundary: &str, told: &str, part: &str| {
        let content = format!(
            "\r\n--{boundary}\r\nContent-Range: bytes 0-1/9\r\n\r\n{part}\r\n--{boundary}--\r\n"
        );
        let fields = format!("Content-Type: multipart/byteranges; boundary={told}\r\n");
        message("206 Partial Content", &fields, &content)
    };
    let old = answer("0007", "0007", "ab");
    assert_eq!(between(&old, &answer("0018", "\"0018\"", "ab")), [""; 0]);
    let changed = between(&old, &answer("0018", "0018", "ac"));
    assert_eq!(changed.len(), 1);
    assert!(
        changed[0].starts_with("values, body: digest "),
        "{changed:?}"
    );
    // Parts of what was compressed, each by itself unreadable.
    let coded = |text: String| text.replacen("\r\n", "\r\nContent-Encoding: gzip\r\n", 1);
    let [old_coded, new_coded, changed] = [("0007", "ab"), ("0018", "ab"), ("0018", "ac")]
        .map(|(boundary, part)| coded(answer(boundary, boundary, part)));
    assert_eq!(between(&old_coded, &new_coded), [""; 0]);
    assert_eq!(between(&old_coded, &changed).len(), 1);
    let other = answer("0007", "0007", "ab").replace("byteranges", "mixed");
    assert_eq!(
        between(&old, &other),
        [
            "headers, header content-type: multipart/byteranges; boundary=0007 / multipart/mixed; boundary=0007"
        ]
    );
}
