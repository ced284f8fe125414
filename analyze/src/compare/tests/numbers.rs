use super::*;

#[test]
fn other_rows_by_a_number_of_the_server_are_no_difference_and_are_counted() {
    let asks = || testing::request(1, 2, "select name from types by oid").replayed_us(5);
    let day = |asks| {
        vec![
            testing::open(1),
            testing::request(1, 1, "select 1").replayed_us(5),
            asks,
            testing::close(1, 3),
        ]
    };
    let old = day(asks());
    let counts = |new| {
        let comparison = compare(&old, &day(new), None, ANSWERS);
        let reason = "asks by numbers of the recorded server";
        let not_comparable = comparison.requests.not_comparable.get(reason).copied();
        let differences: u64 = comparison.differences.values().sum();
        (not_comparable, comparison.requests.compared, differences)
    };
    assert_eq!(counts(asks()), (None, 2, 0));
    assert_eq!(counts(asks().answered("2\tmood")), (Some(1), 1, 0));
    assert_eq!(counts(asks().failed("42703")), (None, 2, 1));
}
