//! The gate in front of a real hyper connection over TCP, byte for byte: what a client sends, what comes back, whether
//! the connection closed, and what a service saw. The service here is the smallest that uses the gate as
//! it must be used.

mod body;
mod framing;
mod host;
mod kit;
mod limits;
mod request_line;
mod upgrade;
