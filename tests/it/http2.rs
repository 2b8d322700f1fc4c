//! HTTP/2 of clients: requests, tunnels by extended CONNECT, limits, bad input, shutdown. Clients written by others
//! are in `interop.rs`.

mod abuse;
mod bad;
mod frames;
mod kit;
mod limits;
mod plain;
mod refused;
mod shutdown;
mod tunnel;
