use recording::Transaction;

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

#[test]
fn what_can_not_be_compared_makes_the_end_of_its_transaction_no_difference() {
    let day = |opened: Exchange, after, ended: &str| {
        let request = |seq, text: &str| testing::request(1, seq, text).replayed_us(5);
        let left = |mut row: Exchange, transaction| {
            row.response.as_mut().unwrap().transaction = transaction;
            row
        };
        vec![
            testing::open(1),
            left(opened, after),
            left(request(2, "commit").answered(ended), Transaction::Idle),
            left(request(3, "commit").answered(ended), Transaction::Idle),
            testing::close(1, 4),
        ]
    };
    let opens = |text| testing::request(1, 1, text).replayed_us(5);
    for (text, compared, differences) in [("open by oid", 1, 1), ("open", 3, 3)] {
        let old = day(opens(text), Transaction::Open, "1");
        let new = day(opens(text).failed("42704"), Transaction::Failed, "2");
        let comparison = compare(&old, &new, None, ANSWERS);
        assert_eq!(comparison.requests.compared, compared);
        assert_eq!(comparison.differences.values().sum::<u64>(), differences);
        let of_number = comparison.requests.not_comparable.values().sum::<u64>();
        assert_eq!(of_number, 3 - compared);
    }
}
