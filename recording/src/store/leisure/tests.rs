use super::*;

#[test]
fn busy_is_who_has_not_half_a_processor_left() {
    let mut leisure = Leisure::default();
    let start = Instant::now();
    let seconds = Duration::from_secs;
    let mut at = |second, cpu_ms, processors| {
        let now = start + seconds(second);
        leisure.note(now, Duration::from_millis(cpu_ms), processors);
        leisure.is_busy()
    };
    assert!(at(0, 5_000, 1), "not known");
    assert!(at(1, 5_510, 1));
    assert!(!at(2, 6_010, 1));
    assert!(!at(3, 7_510, 2));
    assert!(at(4, 9_020, 2));
    assert!(!leisure.is_due(start + Duration::from_millis(4_999)));
    assert!(leisure.is_due(start + seconds(5)));
}

#[test]
fn the_process_uses_the_processor() {
    let before = cpu();
    let patience = Instant::now() + Duration::from_secs(30);
    while cpu() == before {
        assert!(Instant::now() < patience, "nothing is used");
    }
    assert!(cpu() > before);
}
