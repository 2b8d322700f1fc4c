//! The WebSocket wire, sans I/O (RFC 6455).
pub mod close;
pub mod frame;
pub mod handshake;
