//! Where objects come from, and how a change becomes a live table.

pub mod directory;
pub mod rebuild;
