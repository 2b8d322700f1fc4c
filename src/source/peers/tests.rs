//! Tokens of real keys, and replicas that ask one another over TCP.

mod fetch;
mod keys;
mod replicas;
mod tokens;
