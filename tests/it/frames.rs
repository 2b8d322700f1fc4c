//! Bad frames and floods from raw peers, through a whole process.

mod ends;
mod flood;
mod limits;
mod strict;
