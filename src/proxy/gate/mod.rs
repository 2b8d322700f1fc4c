//! Raw HTTP/1 below hyper: hyper sees only bytes that passed.
//!
//! hyper accepts much that an edge must refuse, and some of it is gone before a service sees the request. So
//! [`Gate`] wraps the accepted stream, follows the framing of requests (head, body by length or strict chunks,
//! next head) and lets whole, checked heads through. What passes is byte-identical to what the client sent.
//!
//! - A refused head is replaced by one sentinel request that no client can name. hyper hands it to the service
//!   in its turn, after all requests before it; [`Control::refusal`] tells why. The service answers with
//!   `Connection: close`. From then on the gate reads nothing more; hyper's shutdown of the stream sends FIN
//!   and discards what the client still sends (1 MiB or one second), so that a reset does not take the answer away.
//! - A body whose framing breaks becomes a read error, never an end: nothing partial is taken for complete.
//!   [`Control::aborted`] tells why.
//! - After the head of a handshake ([`asks_for_tunnel`]) the gate holds what follows until
//!   [`Control::upgrade`] brings the verdict. The service must give one for each such request.
//! - [`Control::begin`] must be called once per request and kept until the answer's body has ended: without
//!   it the connection counts as busy for ever and is never closed for being idle.
//! - A connection that begins with the preface of HTTP/2 ends for hyper's HTTP/1 before a request;
//!   [`Gate::is_http2`] says so, and [`Gate::into_parts`] gives the stream with every byte read.
//!
//! hyper's builder must have `header_read_timeout(None)` (the clocks are here) and, if [`Limits::headers`] is
//! larger than hyper's 100, `max_headers`. `max_buf_size` must be larger than [`Limits::head_bytes`].
//!
//! When a request had an Upgrade field and was not switched, hyper ends the connection without shutting the
//! stream down: the upgrade object resolves instead. Drive the connection with `without_shutdown` and shut the
//! [`Gate`] down from its parts, or await the upgrade and do it there, where the discarding matters.

mod bytes;
mod chunks;
mod clock;
mod control;
mod field;
mod framing;
mod head;
mod limits;
mod preface;
mod refusal;
mod request_line;
mod stream;
mod target;

pub(in crate::proxy) use head::content_length;
pub(in crate::proxy) use request_line::METHOD_BYTES;
pub(in crate::proxy) use target::path_and_query;

pub use control::{Control, InFlight, Verdict, asks_for_tunnel};
pub use limits::Limits;
pub use refusal::Refusal;
pub use stream::Gate;
