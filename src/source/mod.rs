//! Where objects come from, how a change becomes a live table, and what is reported back.

pub mod cluster;
pub mod directory;
pub mod events;
pub mod lease;
mod pace;
pub mod peers;
pub mod publish;
pub mod rebuild;
pub mod status;
pub mod supervise;
