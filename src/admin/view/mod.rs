//! The JSON views. Fields have the names that the access log and the metrics use; times are seconds, durations of a policy
//! are written as in a manifest.

mod backends;
mod connections;
mod duration;
mod routes;

use std::io;

use serde::Serialize;

pub(super) use self::{backends::backends, connections::connections, routes::routes};

/// Writes one JSON value and a line end, which terminals like.
fn write(out: &mut dyn io::Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// An array that is made while it is written.
struct Seq<F>(F);

impl<F, I> Serialize for Seq<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}
