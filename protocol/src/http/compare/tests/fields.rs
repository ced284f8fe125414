use super::*;

#[test]
fn interim_responses_are_compared_but_for_those_that_time_tells() {
    let after = |interims: &[&str]| {
        let interims = interims.iter().map(|it| format!("HTTP/1.1 {it}\r\n\r\n"));
        interims.collect::<String>() + &message("200 OK", "", "a")
    };
    let [go_on, wait, hints] = ["100 Continue", "102 Processing", "103 Early Hints"];
    let plain = after(&[]);
    assert_eq!(between(&plain, &after(&[go_on, wait, wait])), [""; 0]);
    assert_eq!(
        between(&after(&[hints, go_on, hints]), &after(&[hints])),
        [""; 0]
    );
    assert_eq!(
        between(&plain, &after(&[go_on, hints])),
        ["headers, interim responses, added: absent / 103"]
    );
    assert_eq!(
        between(&after(&[hints]), &plain),
        ["headers, interim responses, removed: 103 / absent"]
    );
    assert_eq!(
        between(&after(&[hints]), &after(&["199 Odd", hints])),
        ["headers, interim responses: 103 / 199, 103"]
    );
}

#[test]
fn trailers_are_compared_as_headers_are() {
    let with = |trailers: &str| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}1\r\na\r\n0\r\n{trailers}\r\n")
    };
    let old = with("X-Sum: 1\r\nServer-Timing: a\r\n");
    assert_eq!(between(&old, &with("x-sum:  1\r\n")), [""; 0]);
    let told = between(&old, &with("X-Sum: 2\r\n"));
    assert_eq!(told, ["headers, trailer x-sum: 1 / 2"]);
    let gone = between(&old, &message("200 OK", "", "a"));
    assert_eq!(gone, ["headers, trailer x-sum, removed: 1 / absent"]);
    let options = vec![("ignore-header".into(), "X-Sum".into())];
    let terms = Terms {
        options,
        ..Terms::default()
    };
    assert_eq!(between_on(&terms, &old, &with("X-Sum: 2\r\n")), [""; 0]);
}

#[test]
fn fields_that_matter_are_compared() {
    let old = message(
        "200 OK",
        "Date: a\r\nX-A: 1\r\nVary: a\r\nVary: b\r\nSet-Cookie: s=1\r\nLocation: /a\r\n",
        "",
    );
    let same = message(
        "200 Fine",
        "ETag: b\r\nx-a: 1\r\nvary: a, b\r\nSet-Cookie: s=2\r\nLocation: http://new:1/a\r\n",
        "",
    );
    let terms = Terms {
        observed_target: Some("http://new:1".into()),
        ..Terms::default()
    };
    assert_eq!(between_on(&terms, &old, &same), [""; 0]);
    assert_eq!(
        between(&old, &same),
        ["headers, header location: /a / http://new:1/a"]
    );
    let new = message(
        "200 OK",
        "X-A: 2\r\nVary: a, b\r\nSet-Cookie: t=1\r\nLocation: /b\r\n",
        "",
    );
    assert_eq!(
        between(&old, &new),
        [
            "headers, header location: /a / /b",
            "headers, header set-cookie: s / t",
            "headers, header x-a: 1 / 2"
        ]
    );
}

#[test]
fn which_fields_matter_is_the_users_choice() {
    let message = |fields| message("200 OK", fields, "");
    let old = message("ETag: a\r\nX-A: 1\r\nSet-Cookie: s=1\r\n");
    let new = message("ETag: b\r\nX-A: 2\r\n");
    let on = |options: &[(&str, &str)]| {
        let options = options.iter();
        let options = options.map(|(name, value)| (Arc::from(*name), Arc::from(*value)));
        let terms = Terms {
            options: options.collect(),
            ..Terms::default()
        };
        between_on(&terms, &old, &new)
    };
    let etag = "headers, header etag: a / b";
    let cookie = "headers, header set-cookie, removed: s / absent";
    let field = "headers, header x-a: 1 / 2";
    assert_eq!(on(&[]), [cookie, field]);
    assert_eq!(on(&[("compare-header", "ETag")]), [etag, cookie, field]);
    assert_eq!(on(&[("ignore-header", "X-a")]), [cookie]);
    let ignored = [("ignore-header", "set-cookie"), ("ignore-header", "x-a")];
    assert_eq!(on(&ignored), [""; 0]);
}

#[test]
fn lists_without_an_order_are_the_same_in_any() {
    for (name, old, new, same) in [
        ("Allow", "OPTIONS,GET,POST", "POST, OPTIONS, GET", true),
        ("Allow", "GET,POST", "GET", false),
        ("Vary", "Origin\r\nVary: Accept", "Accept, Origin", true),
        (
            "Cache-Control",
            "private, max-age=0",
            "max-age=0,private",
            true,
        ),
        ("Cache-Control", "max-age=0", "max-age=1", false),
        ("Link", "</a>, </b>", "</b>, </a>", false),
    ] {
        let with = |value: &str| message("200 OK", &format!("{name}: {value}\r\n"), "");
        let found = between(&with(old), &with(new));
        assert_eq!(found.is_empty(), same, "{name}: {old} / {new}");
    }
}
