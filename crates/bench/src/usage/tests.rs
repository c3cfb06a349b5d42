use super::*;

#[test]
fn stat_is_read_whatever_the_name() {
    let text = "4242 (a) b (c) S 17 4242 4242 0 -1 4194560 1 2 3 4 250 125 7 5 20 0 3 0 99 1 1";
    let stat = ProcessStat::parse(text).unwrap();
    let expected = ProcessStat {
        state: 'S',
        parent: 17,
        user_ticks: 250,
        system_ticks: 125,
        child_ticks: 12,
    };
    assert_eq!(stat, expected);
    assert_eq!(ProcessStat::parse("4242 (short) S 17"), None);
    assert_eq!(ProcessStat::parse(""), None);
}

fn time(user_ticks: u64, system_ticks: u64, threads: &[(u32, u64)]) -> ProcessTime {
    ProcessTime {
        user_ticks,
        system_ticks,
        threads: threads.iter().copied().collect(),
    }
}

#[test]
fn nanoseconds_of_threads_are_divided_as_the_ticks_are() {
    let before = time(100, 100, &[(1, 1_000_000_000), (2, 500)]);
    let after = time(125, 175, &[(1, 1_900_000_000), (2, 500), (3, 100_000_000)]);
    let usage = after.since(&before);
    assert_eq!(usage.total(), Duration::from_secs(1));
    assert_eq!(usage.user, Duration::from_millis(250));
    assert_eq!(usage.system, Duration::from_millis(750));
}

#[test]
fn ticks_count_where_a_thread_has_ended_or_there_are_no_nanoseconds() {
    let per_second = rustix::param::clock_ticks_per_second();
    for (before, after) in [(vec![(1, 5), (2, 5)], vec![(1, 9)]), (vec![], vec![])] {
        let usage = time(per_second, per_second, &after).since(&time(0, 0, &before));
        assert_eq!(usage.total(), Duration::from_secs(2));
        assert_eq!(usage.user, Duration::from_secs(1));
    }
}

#[test]
fn a_process_that_came_later_counts_and_one_that_went_does_not() {
    let before = ProcessTimes([(1, time(1, 0, &[(1, 100)])), (2, time(9, 9, &[]))].into());
    let after = ProcessTimes([(1, time(2, 0, &[(1, 150)])), (3, time(1, 0, &[(3, 70)]))].into());
    assert_eq!(after.since(&before).total(), Duration::from_nanos(120));
}

#[test]
fn only_processors_that_may_be_used_count() {
    let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 1 1 100 10 1 1 3 0 0\n\
        cpu1 1 1 1 200 20 1 1 4 0 0\ncpu2 1 1 1 400 40 1 1 5 0 0\nintr 5 5\n";
    assert_eq!(parse_machine(text, |number| number != 1), (2, 550));
    assert_eq!(parse_machine("", |_| true), (0, 0));
}

#[test]
fn memory_is_resident_and_private() {
    let text = "00400000-7fff rollup\nRss:   2256 kB\nPss:  700 kB\nPrivate_Clean:  40 kB\nPrivate_Dirty:  360 kB\n";
    assert_eq!(parse_memory(text), Some((2256, 400)));
    assert_eq!(parse_memory("Rss: 1 kB\n"), None);
}

#[test]
fn own_figures_are_there_and_grow() {
    let before = ProcessTimes::of([std::process::id()]);
    let machine = MachineTimes::now();
    let mut sum = 0_u64;
    while ProcessTimes::of([std::process::id()])
        .since(&before)
        .total()
        < Duration::from_millis(5)
    {
        sum = std::hint::black_box(sum.wrapping_add(1));
    }
    let usage = MachineTimes::now().since(&machine);
    assert!(usage.available >= usage.busy && !usage.available.is_zero());
    assert!(memory_kib(std::process::id()).is_some_and(|(all, private)| all >= private));
}
