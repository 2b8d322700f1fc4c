//! The clock of these tests is a variable.

use proptest::prelude::*;

use super::*;
use crate::tunnel::outcome::Cause;

const SECOND: Duration = Duration::from_secs(1);

fn order(cause: Cause) -> Order {
    Order { cause, code: 1012 }
}

fn drain() -> Order {
    order(Cause::Drain)
}

fn dice() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

/// A schedule with orders for tunnels `0..count`.
fn spread(start: Instant, count: u64, window: Duration, seed: u64) -> Schedule {
    let mut schedule = Schedule::new(start);
    let orders = (0..count).map(|id| (id, drain(), window));
    schedule.spread(start, orders, &mut fastrand::Rng::with_seed(seed));
    schedule
}

/// All that is left, with its time since `start`, as a task would give it that sleeps in between.
fn run(schedule: &mut Schedule, start: Instant) -> Vec<(Duration, u64, Order)> {
    let mut given = Vec::new();
    while let Some(wake) = schedule.wake() {
        while let Some((id, order)) = schedule.next_due(wake) {
            given.push((wake - start, id, order));
        }
    }
    given
}

/// The most orders of any second, wherever it begins. They are in their order.
fn most_in_a_second(given: &[(Duration, u64, Order)]) -> u64 {
    let starts = given.iter().enumerate();
    let within = starts.map(|(first, (start, ..))| {
        given[first..].partition_point(|(time, ..)| *time < *start + SECOND)
    });
    within.max().unwrap_or(0) as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_second_holds_more_than_its_share(
        count in 1_u64..3_000,
        window in 1_u64..180,
        seed: u64,
    ) {
        let start = Instant::now();
        let length = Duration::from_secs(window);
        let given = run(&mut spread(start, count, length, seed), start);
        prop_assert_eq!(given.len() as u64, count, "every tunnel is told once");
        let latest = length + Duration::from_nanos(1);
        prop_assert!(given.iter().all(|(time, ..)| *time <= latest));
        let most = most_in_a_second(&given);
        // Any second, wherever it begins: its slots and two parts of one.
        prop_assert!(most <= count.div_ceil(window) + 1, "{most} of {count} in {window}");
        let many = count >= 6 * window;
        prop_assert!(!many || 2 * most * window <= 3 * count, "{most} of {count} in {window}");
    }

    #[test]
    fn tunnels_that_end_by_themselves_cause_no_burst(
        count in 600_u64..3_000,
        ends in prop::collection::vec((0_u64..3_000, 0_u64..60_000), 0..2_000),
        seed: u64,
    ) {
        let start = Instant::now();
        let window = Duration::from_mins(1);
        let mut schedule = spread(start, count, window, seed);
        let mut ends = ends;
        ends.sort_by_key(|(_, at)| *at);
        let mut given = Vec::new();
        for (id, at) in ends {
            let now = start + Duration::from_millis(at);
            while schedule.wake().is_some_and(|wake| wake <= now) {
                let wake = schedule.wake().unwrap();
                while let Some((id, order)) = schedule.next_due(wake) {
                    given.push((wake - start, id, order));
                }
            }
            schedule.forget(id);
        }
        given.extend(run(&mut schedule, start));
        let most = most_in_a_second(&given);
        prop_assert!(2 * most * 60 <= 3 * count, "{most} of {count}");
    }

    #[test]
    fn a_hurry_divides_what_is_left(divisor in 1_u32..50, after in 0_u64..60, seed: u64) {
        let start = Instant::now();
        let mut plain = spread(start, 300, Duration::from_mins(1), seed);
        let mut hurried = spread(start, 300, Duration::from_mins(1), seed);
        let after = start + Duration::from_secs(after);
        while let Some(due) = plain.next_due(after) {
            prop_assert_eq!(hurried.next_due(after), Some(due));
        }
        hurried.hurry(after, divisor);
        let (plain, hurried) = (run(&mut plain, after), run(&mut hurried, after));
        prop_assert_eq!(plain.len(), hurried.len());
        for ((late, id, _), (soon, same, _)) in plain.into_iter().zip(hurried) {
            prop_assert_eq!(id, same, "the order stays");
            let expected = late / divisor;
            prop_assert!(soon.abs_diff(expected) <= Duration::from_nanos(2), "{soon:?} {expected:?}");
        }
    }
}

#[test]
fn an_earlier_order_replaces_a_later_one() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    let hour = Duration::from_hours(1);
    schedule.spread(start, [(1, drain(), hour)], &mut dice());
    let soon = order(Cause::BackendTerminating);
    schedule.spread(start, [(1, soon, Duration::ZERO)], &mut dice());
    schedule.spread(start, [(1, order(Cause::Admin), hour)], &mut dice());
    assert_eq!(schedule.len(), 1, "one for each tunnel");
    assert_eq!(schedule.next_due(start), Some((1, soon)));
    assert_eq!(schedule.wake(), None);
}

#[test]
fn routes_with_different_windows_end_at_different_times() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    let (short, long) = (Duration::from_secs(5), Duration::from_secs(50));
    let orders = (0..100).map(|id| (id, drain(), if id < 50 { short } else { long }));
    schedule.spread(start, orders, &mut dice());
    let given = run(&mut schedule, start);
    let last = |ids: std::ops::Range<u64>| {
        let of = given.iter().filter(|(_, id, _)| ids.contains(id));
        of.map(|(time, ..)| *time).max().unwrap()
    };
    assert!(last(0..50) <= short && last(0..50) > short * 9 / 10);
    assert!(last(50..100) <= long && last(50..100) > long * 9 / 10);
}

#[test]
fn who_comes_during_the_end_of_the_process_gets_what_is_left() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    schedule.join(start, 1, drain(), minute, &mut dice());
    assert_eq!(schedule.len(), 0, "the process does not end");
    schedule.begin(start, minute);
    let later = start + Duration::from_secs(30);
    for id in 0..1000 {
        schedule.join(later, id, drain(), hour, &mut dice());
    }
    // After a second signal the rest of the window is a tenth of what it was.
    schedule.hurry(later, 10);
    for id in 1000..2000 {
        schedule.join(later, id, drain(), hour, &mut dice());
    }
    // Its own window is over.
    schedule.join(later, 2000, drain(), Duration::from_secs(10), &mut dice());
    assert_eq!(schedule.next_due(later).map(|(id, _)| id), Some(2000));
    let given = run(&mut schedule, later);
    assert_eq!(given.len(), 2000);
    let last = given.last().unwrap().0;
    assert!(last <= Duration::from_millis(3001), "{last:?}");
    let mut dice = dice();
    let spread: std::collections::BTreeSet<_> = (0..20)
        .map(|id| {
            schedule.join(later, id, drain(), hour, &mut dice);
            schedule.wake()
        })
        .collect();
    assert!(spread.len() > 2, "places are random");
}

#[test]
fn the_longest_window_is_no_overflow() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.hurry(start, u32::MAX);
    schedule.hurry(start, u32::MAX);
    schedule.begin(start, Duration::MAX);
    let orders = (0..3).map(|id| (id, drain(), Duration::MAX));
    schedule.spread(start, orders, &mut dice());
    schedule.join(start, 3, drain(), Duration::MAX, &mut dice());
    assert_eq!(schedule.len(), 4);
    schedule.wake();
}
