//! What goes wrong with peers, cables, clocks and descriptors, and what that means for open tunnels.

mod cable;
mod clock;
mod descriptors;
mod lost;
mod stalled;
mod still;
mod talkers;
