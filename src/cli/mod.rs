//! The command line: parse, hand over, exit code.

mod check;
mod control;
mod explain;
mod run;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

use crate::{api, demo, telemetry::batch};

/// Bad flags or arguments (`EX_USAGE` of sysexits.h): nothing was bound, nothing was done.
const EXIT_USAGE: u8 = 64;

/// Hawser: a Kubernetes ingress controller for long-lived connections.
///
/// It routes HTTP and WebSockets by Ingress and WebSocketRoute objects, and never drops a
/// connection for a change that is not about it.
#[derive(Debug, Parser)]
#[command(name = "hawser", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  hawser demo                                      a chat through Hawser, in two browser windows
  hawser run --manifests ./routes                  serve the manifests of a directory
  hawser check ./routes                            what would become of them
  hawser explain http://chat.example.com/ws --manifests ./routes
  hawser crd | kubectl apply -f -                  install the WebSocketRoute kind";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller and the proxy
    Run(Box<run::RunArgs>),
    /// Run a chat application behind Hawser, to try things on
    Demo(demo::DemoArgs),
    /// Translate manifests offline and tell what becomes of each object
    Check(check::CheckArgs),
    /// Print the CRD of the kind `WebSocketRoute`
    Crd,
    /// Tell which rule takes a request, and where each of its settings comes from
    Explain(explain::ExplainArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match parse(std::env::args_os()) {
        Ok(cli) => dispatch(cli.command),
        Err(code) => code,
    }
}

/// Parses; on bad usage prints one line and gives exit code 64.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    Cli::try_parse_from(args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(EXIT_USAGE)
        }
        _ => usage(&one_line(&error.to_string())),
    })
}

/// clap's message without its paragraphs: what is wrong, which values are right, where to read on.
fn one_line(message: &str) -> String {
    let message = message.trim_start_matches("error: ");
    let told: Vec<&str> = message
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let told = told.join(" ").replace(" tip: ", "; ");
    format!("{told} (see --help)")
}

/// One line on standard error, exit code 64.
fn usage(message: &str) -> ExitCode {
    eprintln!("hawser: {message}");
    ExitCode::from(EXIT_USAGE)
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Check(args) => check::run(&args),
        Command::Crd => print(&api::crd_yaml()),
        Command::Explain(args) => explain::run(&args),
    }
}

/// The command with all its flags, for the generated help pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Writes to standard output; a closed pipe (`hawser crd | head`) is no error.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("hawser: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Runs a future on a multi-threaded runtime of this process.
fn block_on(future: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(batch::before_sleep)
        .on_thread_stop(batch::before_sleep)
        .build()
    {
        Ok(runtime) => {
            drop(runtime.spawn(batch::sweep()));
            runtime.block_on(future)
        }
        Err(error) => {
            eprintln!("hawser: the runtime cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
