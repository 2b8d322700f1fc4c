//! From the first signal to the exit: how much time is left, and what every further signal takes away.
//!
//! ```text
//!   SIGTERM          --drain-delay           --drain-window              10 s
//!      │ not ready, but serving │ nothing new; Close by Close │ last goodbyes, requests │ cut
//! ```
//! A second SIGTERM leaves a tenth of what is left of delay and window. SIGINT: no delay and two seconds of window.
//! SIGQUIT, a second SIGINT or a third signal of any kind: now. The exit code is 0 in every case, because the
//! process did what it was asked to.

use std::time::Duration;

use tokio::time::Instant;

use super::signals::Signal;

/// The window after Ctrl-C: somebody waits for the end.
const INTERRUPT_WINDOW: Duration = Duration::from_secs(2);

/// From the end of the window to the cut: the goodbye of the last tunnel takes 6 s at most, and requests in
/// flight get the rest.
const GRACE: Duration = Duration::from_secs(10);

/// What a second SIGTERM divides the rest of delay and window by.
const HURRY: u32 = 10;

/// The signal, whatever it is, after which nothing is waited for.
const LAST: u32 = 3;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not ready, but serving as ever, until then; the window follows.
    Leaving { until: Instant, window: Duration },
    /// Nothing new. The last tunnel is told to end at `until`.
    Draining { until: Instant },
    /// Whatever is still open is cut.
    Cut,
}

/// Time that is left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) delay: Duration,
    pub(super) window: Duration,
}

/// The end of the process from its first signal on.
#[derive(Debug)]
pub(super) struct Ending {
    stage: Stage,
    signals: u32,
    interrupted: bool,
}

impl Ending {
    /// Begins with a signal.
    pub(super) fn begin(signal: Signal, now: Instant, delay: Duration, window: Duration) -> Self {
        let mut ending = Self {
            stage: Stage::Leaving {
                until: now + delay,
                window,
            },
            signals: 0,
            interrupted: false,
        };
        ending.receive(signal, now);
        ending
    }

    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// When the stage ends by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Leaving { until, .. } => Some(until),
            Stage::Draining { until } => Some(until + GRACE),
            Stage::Cut => None,
        }
    }

    /// The deadline has come.
    pub(super) fn advance(&mut self, now: Instant) {
        self.stage = match self.stage {
            Stage::Leaving { window, .. } => Stage::Draining {
                until: now + window,
            },
            Stage::Draining { .. } | Stage::Cut => Stage::Cut,
        };
    }

    /// Takes a signal in. The number that what is left of a running window was divided by; 1 = nothing changed.
    pub(super) fn receive(&mut self, signal: Signal, now: Instant) -> u32 {
        self.signals += 1;
        let again = signal == Signal::Interrupt && self.interrupted;
        self.interrupted |= signal == Signal::Interrupt;
        if signal == Signal::Quit || again || self.signals >= LAST {
            self.stage = Stage::Cut;
            return 1;
        }
        let hurry = match signal {
            Signal::Terminate if self.signals == 1 => return 1,
            Signal::Terminate => Some(HURRY),
            Signal::Interrupt | Signal::Quit => None,
        };
        match &mut self.stage {
            Stage::Leaving { until, window } => {
                let left = until.saturating_duration_since(now);
                *until = now + hurry.map_or(Duration::ZERO, |by| left / by);
                *window = hurry.map_or((*window).min(INTERRUPT_WINDOW), |by| *window / by);
                1
            }
            Stage::Draining { until } => {
                let left = until.saturating_duration_since(now);
                let by = hurry.unwrap_or_else(|| divisor(left, INTERRUPT_WINDOW));
                // Never later: in the last goodbyes there is nothing left to divide.
                *until = (*until).min(now + left / by);
                by
            }
            Stage::Cut => 1,
        }
    }

    /// The time that is left of delay and window, to the next millisecond.
    pub(super) fn left(&self, now: Instant) -> Left {
        let until = |at: Instant| {
            let left = at.saturating_duration_since(now).as_nanos();
            Duration::from_millis(u64::try_from(left.div_ceil(1_000_000)).unwrap_or(u64::MAX))
        };
        match self.stage {
            Stage::Leaving { until: at, window } => Left {
                delay: until(at),
                window,
            },
            Stage::Draining { until: at } => Left {
                delay: Duration::ZERO,
                window: until(at),
            },
            Stage::Cut => Left::default(),
        }
    }

    /// What a person can do about it, for the log.
    pub(super) fn next(&self) -> &'static str {
        match self.signals {
            1 if self.interrupted => "SIGINT or SIGQUIT ends at once",
            1 => "SIGTERM again: a tenth of what is left; SIGQUIT: at once",
            _ => "any signal ends at once",
        }
    }
}

/// The number that makes at most `most` of `left`.
fn divisor(left: Duration, most: Duration) -> u32 {
    let by = left.as_millis().div_ceil(most.as_millis().max(1)).max(1);
    u32::try_from(by).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        Signal::{Interrupt as I, Quit as Q, Terminate as T},
        *,
    };

    const DELAY: Duration = Duration::from_secs(10);
    const WINDOW: Duration = Duration::from_mins(1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Signals with the seconds from the first one, and the seconds at which the window begins and ends and the rest
    /// is cut. Nothing else happens.
    #[rstest]
    #[case::as_told(&[(T, 0)], [10, 70, 80])]
    #[case::ctrl_c(&[(I, 0)], [0, 2, 12])]
    #[case::quit(&[(Q, 0)], [0, 0, 0])]
    #[case::second_while_it_leaves(&[(T, 0), (T, 0)], [1, 7, 17])]
    #[case::second_at_the_start_of_the_window(&[(T, 0), (T, 10)], [10, 16, 26])]
    #[case::second_in_the_window(&[(T, 0), (T, 30)], [10, 34, 44])]
    #[case::second_after_the_window(&[(T, 0), (T, 75)], [10, 70, 80])]
    #[case::third(&[(T, 0), (T, 10), (T, 12)], [10, 12, 12])]
    #[case::quit_while_it_leaves(&[(T, 0), (Q, 3)], [3, 3, 3])]
    #[case::quit_in_the_window(&[(T, 0), (Q, 30)], [10, 30, 30])]
    #[case::ctrl_c_while_it_leaves(&[(T, 0), (I, 4)], [4, 6, 16])]
    #[case::ctrl_c_in_the_window(&[(T, 0), (I, 30)], [10, 32, 42])]
    #[case::ctrl_c_twice(&[(I, 0), (I, 1)], [0, 1, 1])]
    #[case::ctrl_c_then_terminate(&[(I, 0), (T, 1), (T, 1)], [0, 1, 1])]
    #[case::terminate_and_ctrl_c_twice(&[(T, 0), (I, 10), (I, 11)], [10, 11, 11])]
    fn signals_and_time(#[case] signals: &[(Signal, u64)], #[case] expected: [u64; 3]) {
        let start = Instant::now();
        let mut signals = signals.iter();
        let (first, _) = signals.next().expect("one");
        let mut ending = Ending::begin(*first, start, DELAY, WINDOW);
        let mut signals = signals.peekable();
        let (mut drain, mut window_end) = (None, None);
        let mut now = start;
        let cut = loop {
            match ending.stage() {
                Stage::Leaving { .. } => {}
                Stage::Draining { until } => {
                    drain.get_or_insert(now);
                    window_end = Some(until);
                }
                Stage::Cut => break now,
            }
            let deadline = ending.deadline().expect("it is not cut yet");
            if let Some((signal, at)) = signals.next_if(|(_, at)| start + seconds(*at) < deadline) {
                now = start + seconds(*at);
                ending.receive(*signal, now);
            } else {
                now = deadline;
                ending.advance(now);
            }
        };
        let drain = drain.unwrap_or(cut);
        let window_end = window_end.map_or(cut, |end| end.min(cut));
        let got = [drain, window_end, cut].map(|at| at.duration_since(start).as_secs());
        assert_eq!(got, expected);
    }

    #[test]
    fn any_three_signals_end_at_once_and_any_number_is_survived() {
        let now = Instant::now();
        for code in 0..3_u32.pow(4) {
            let signals: Vec<_> = (0..4)
                .map(|place| [T, I, Q][usize::try_from(code / 3_u32.pow(place) % 3).unwrap()])
                .collect();
            let mut ending = Ending::begin(signals[0], now, DELAY, WINDOW);
            for signal in &signals[1..3] {
                assert!(ending.receive(*signal, now) >= 1);
            }
            assert_eq!(ending.stage(), Stage::Cut, "{signals:?}");
            ending.receive(signals[3], now);
            ending.advance(now);
            assert_eq!(ending.stage(), Stage::Cut);
        }
    }

    #[test]
    fn a_window_is_divided_to_what_somebody_waits() {
        for (left, by) in [(0, 1), (1, 1), (2_000, 1), (2_001, 2), (60_000, 30)] {
            assert_eq!(divisor(Duration::from_millis(left), INTERRUPT_WINDOW), by);
        }
    }
}
