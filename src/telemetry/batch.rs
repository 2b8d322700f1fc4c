//! Access lines on their way to standard error: those that a thread makes before it rests are written together.
//!
//! Each thread keeps its own, whose lock only the sweep ever shares. They leave before the thread sleeps, before it
//! writes any other line, when there is much of them, at its end, and after [`LONGEST`] if it does none of that. A
//! process that is killed loses what waits.

use std::{
    io::{self, Write},
    sync::{Arc, Weak},
    time::Duration,
};

use memchr::{memchr, memrchr};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Written at once when there is more: some forty lines.
const FULL: usize = 16 * 1024;

/// What a pipe takes as a whole or not at all (`PIPE_BUF` of pipe(7)): lines of processes that share one do not mix, and where
/// it is full and may not block, whole lines are lost and none is broken.
const PIECE: usize = 4096;

/// Longest time that a line waits: a thread that always has something to do never sleeps.
const LONGEST: Duration = Duration::from_secs(1);

/// Lines that wait.
#[derive(Default)]
struct Batch {
    text: String,
    /// The runtime tells this thread when to write: [`before_sleep`].
    is_told: bool,
}

/// Of all threads.
static ALL: Mutex<Vec<Weak<Mutex<Batch>>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Arc<Mutex<Batch>> = {
        let own = Arc::default();
        let mut all = ALL.lock();
        all.retain(|batch| batch.strong_count() > 0);
        all.push(Arc::downgrade(&own));
        own
    };
}

/// Adds the line that `write` appends.
pub(super) fn line(write: impl FnOnce(&mut String)) {
    with(|batch| {
        if batch.text.capacity() < FULL {
            batch.text.reserve(FULL);
        }
        write(&mut batch.text);
        if !batch.is_told || batch.text.len() >= FULL {
            batch.write(&mut io::stderr());
        }
    });
}

/// Writes what waits. For a thread of the runtime that is about to sleep, and at its end.
pub fn before_sleep() {
    with(|batch| {
        batch.is_told = true;
        batch.write(&mut io::stderr());
    });
}

/// Sees to it that no line waits longer than [`LONGEST`]. Never returns.
pub async fn sweep() {
    loop {
        tokio::time::sleep(LONGEST).await;
        let all: Vec<_> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
        for batch in all {
            batch.lock().write(&mut io::stderr());
        }
    }
}

/// What a thread says while its own variables are being dropped is not said any more.
fn with(work: impl FnOnce(&mut Batch)) {
    let _said = OWN.try_with(|batch| work(&mut batch.lock()));
}

impl Batch {
    fn write(&mut self, to: &mut impl Write) {
        if self.text.is_empty() {
            return;
        }
        for piece in pieces(&self.text) {
            // There is no place left to complain to.
            drop(to.write_all(piece.as_bytes()));
        }
        self.text.clear();
        // One line may have fields of a kilobyte.
        self.text.shrink_to(2 * FULL);
    }
}

/// Whole lines together, up to [`PIECE`]; a longer line is a piece of its own.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let bytes = rest.as_bytes();
        let whole = match bytes.get(..PIECE) {
            None => bytes.len(),
            Some(most) => memrchr(b'\n', most)
                .or_else(|| memchr(b'\n', bytes))
                .map_or(bytes.len(), |newline| newline + 1),
        };
        let (piece, more) = rest.split_at_checked(whole)?;
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Standard error for all other lines: what the thread has to say was said in this order.
pub(super) struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = io::Stderr;

    fn make_writer(&self) -> io::Stderr {
        with(|batch| batch.write(&mut io::stderr()));
        io::stderr()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pipe that is full every other time.
    #[derive(Default)]
    struct Pipe {
        taken: Vec<String>,
        refused: usize,
        calls: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                self.refused += 1;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let text = String::from_utf8(bytes.to_vec()).expect("whole characters");
            self.taken.push(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn pieces_are_whole_lines_and_nothing_is_missing(
            lengths in proptest::collection::vec(prop_oneof![0..600_usize, Just(4095), Just(4096), 5000..6000_usize], 0..60),
        ) {
            let text: String = lengths.iter().map(|length| "x".repeat(*length) + "\n").collect();
            let all: Vec<_> = pieces(&text).collect();
            prop_assert_eq!(all.concat(), &*text);
            for piece in all {
                prop_assert!(piece.ends_with('\n'));
                prop_assert!(piece.len() <= PIECE || piece.matches('\n').count() == 1);
            }
        }
    }

    #[test]
    fn what_a_full_pipe_refuses_breaks_no_line() {
        let mut batch = Batch::default();
        for number in 0..100 {
            batch
                .text
                .extend(["x".repeat(400), format!("{number:0>3}"), "\n".to_owned()]);
        }
        let mut pipe = Pipe::default();
        batch.write(&mut pipe);
        assert!(batch.text.is_empty());
        assert!(pipe.refused > 1, "{}", pipe.refused);
        let whole = |line: &str| line.len() == 404 && line.ends_with('\n');
        assert!(
            pipe.taken
                .iter()
                .all(|piece| piece.split_inclusive('\n').all(whole))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_never_sleeps_is_not_forgotten() {
        // As if this thread were one of the runtime, with more to do.
        before_sleep();
        line(|text| text.push_str("{\"target\":\"a test of batches\"}\n"));
        let waits = || OWN.with(|batch| batch.lock().text.len());
        assert!(waits() > 0);
        let sweep = tokio::spawn(sweep());
        tokio::time::sleep(LONGEST * 2).await;
        assert_eq!(waits(), 0);
        sweep.abort();
        OWN.with(|batch| batch.lock().is_told = false);
        line(|text| text.push_str("{\"target\":\"a test of batches\"}\n"));
        assert_eq!(waits(), 0, "nobody would tell");
    }
}
