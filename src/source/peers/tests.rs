//! Tokens of real keys, and replicas that ask one another over TCP.

mod keys;
mod replicas;
mod tokens;
