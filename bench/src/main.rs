//! Load tool and backend of the comparison in `compare.py`.
//!
//! ```text
//! hawser-bench backend ADDR       serves until it is ended
//! hawser-bench load ADDR HOST     takes commands on standard input (`load.rs`), one JSON answer per line
//! ```
//! Each runs on one thread, in a process of its own.

mod backend;
mod client;
mod frame;
mod http;
mod load;
mod wire;

use std::{io, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hawser-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let address = |text: &str| {
        text.parse()
            .map_err(|_| io::Error::other(format!("{text} is no IP:PORT")))
    };
    match arguments {
        ["backend", at] => runtime.block_on(backend::serve(address(at)?)),
        ["load", at, host] => {
            let target = load::Target {
                address: address(at)?,
                host: (*host).to_owned(),
            };
            load::Load::new(target).commands(
                &runtime,
                &mut io::stdin().lock(),
                &mut io::stdout().lock(),
            )
        }
        _ => Err(io::Error::other(
            "usage: hawser-bench backend ADDR | hawser-bench load ADDR HOST",
        )),
    }
}
