//! Access lines on their way to standard error: those of one turn of the runtime are written with one call.
//!
//! Each thread keeps its own, so there is no lock. They leave before the thread sleeps, before it writes any other
//! line, when there is much of them, and at its end. What is killed in the middle of a turn loses the lines of that turn.

use std::{
    cell::RefCell,
    io::{self, Write},
};

use tracing_subscriber::fmt::MakeWriter;

/// Written at once when there is more: some forty lines.
const FULL: usize = 16 * 1024;

/// Room that is kept from turn to turn: no line is longer than a field's limit of 1 KiB for each of its fields.
const KEPT: usize = 2 * FULL;

/// Lines that wait.
struct Batch {
    text: String,
    /// The runtime tells this thread when to write: [`before_sleep`].
    is_told: bool,
}

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch { text: String::new(), is_told: false }) };
}

/// Adds the line that `write` appends.
pub(super) fn line(write: impl FnOnce(&mut String)) {
    with(|batch| {
        if batch.text.capacity() < FULL {
            batch.text.reserve(FULL);
        }
        write(&mut batch.text);
        if !batch.is_told || batch.text.len() >= FULL {
            batch.write();
        }
    });
}

/// Writes what waits. For a thread of the runtime that is about to sleep, and at its end.
pub fn before_sleep() {
    with(|batch| {
        batch.is_told = true;
        batch.write();
    });
}

/// What a thread says while its own variables are being dropped is not said any more.
fn with(work: impl FnOnce(&mut Batch)) {
    let done = BATCH.try_with(|batch| batch.try_borrow_mut().map(|mut batch| work(&mut batch)));
    debug_assert!(!matches!(done, Ok(Err(_))), "a line within a line");
}

impl Batch {
    fn write(&mut self) {
        if self.text.is_empty() {
            return;
        }
        // There is no place left to complain to.
        drop(io::stderr().write_all(self.text.as_bytes()));
        self.text.clear();
        self.text.shrink_to(KEPT);
    }
}

/// Standard error for all other lines: what the thread has to say was said in this order.
pub(super) struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = io::Stderr;

    fn make_writer(&self) -> io::Stderr {
        with(Batch::write);
        io::stderr()
    }
}
