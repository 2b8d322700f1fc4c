//! `hawser explain`: which object and rule takes a request, and where each value of its policy comes from.

mod admin;
mod request;

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use super::check::{ClassArgs, Format, problem_line};
use crate::{
    ir::{Config, Explained, Explanation, UpgradeMode},
    source::directory::scan,
    table::{Hit, Request, Table},
    translate::{prepare, translate},
};
use request::Asked;

/// No rule takes the request.
const EXIT_NO_ROUTE: u8 = 1;
/// The manifests or the process cannot be read.
const EXIT_UNREADABLE: u8 = 2;

/// Flags of `hawser explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A ws:// or wss:// URL is a WebSocket handshake, an http:// or https:// URL a plain request.

Exit code: 0 a rule takes the request, 1 none does, 2 the manifests or the process cannot be read.

Examples:
  hawser explain ws://chat.example.com/ws --manifests ./routes
  hawser explain http://chat.example.com/ws --admin 127.0.0.1:9100
  hawser explain ws://chat.example.com/ws -H 'x-tenant: a' --manifests ./routes")]
pub(super) struct ExplainArgs {
    /// The request: http(s) for a plain one, ws(s) for a WebSocket handshake
    #[arg(value_name = "URL")]
    url: String,

    /// A header field of the request (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Ask the manifests of this file or directory
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    manifests: Option<PathBuf>,

    /// Ask the running process with this admin address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    admin: SocketAddr,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    class: ClassArgs,
}

/// Runs the command.
pub(super) fn run(args: &ExplainArgs) -> ExitCode {
    let asked = match Asked::parse(&args.url, &args.headers) {
        Ok(asked) => asked,
        Err(bad) => return super::usage(&bad.to_string()),
    };
    let explanation = match &args.manifests {
        Some(path) => from_manifests(args, path, &asked),
        None => admin::fetch(args.admin)
            .map(|routes| admin::explain(&routes, &asked))
            .map_err(|error| format!("{}: {error}", args.admin)),
    };
    let explanation = match explanation {
        Ok(explanation) => explanation,
        Err(error) => {
            eprintln!("hawser: {error}");
            return ExitCode::from(EXIT_UNREADABLE);
        }
    };
    let text = match args.output {
        Format::Text => text(&asked, explanation.as_ref()),
        Format::Json => json(explanation.as_ref()),
    };
    match super::print(&text) {
        ExitCode::SUCCESS if explanation.is_none() => ExitCode::from(EXIT_NO_ROUTE),
        exit => exit,
    }
}

/// Translates the manifests; what is wrong with them goes to standard error.
fn from_manifests(
    args: &ExplainArgs,
    path: &PathBuf,
    asked: &Asked,
) -> Result<Option<Explanation>, String> {
    let scan = scan(std::slice::from_ref(path));
    for problem in &scan.problems {
        eprintln!("hawser: {}", problem_line(problem));
    }
    if scan.objects.is_empty() && scan.problems.iter().any(|problem| problem.unreadable) {
        return Err(format!("{} cannot be read", path.display()));
    }
    let prepared: Vec<_> = scan
        .objects
        .iter()
        .map(|(_, _, object)| prepare(object))
        .collect();
    let config = translate(&prepared, &args.class.options()).config;
    Ok(find(&config, asked))
}

fn find(config: &Config, asked: &Asked) -> Option<Explanation> {
    let table = Table::compile(config, 1, |_| ());
    let taken = take(&table, asked)?;
    let explained = |hit: &Hit<'_, ()>| Explanation::new(&hit.route.rule, hit.path);
    Some(Explanation {
        upgrade_ignored_by: taken.ignoring.map(|hit| place(&explained(&hit))),
        ..explained(&taken.hit)
    })
}

/// What takes a request.
struct Taken<'t, B> {
    hit: Hit<'t, B>,
    /// What took the `Upgrade` off the handshake.
    ignoring: Option<Hit<'t, B>>,
}

/// Decides as the proxy does: where a route says `Ignore`, a handshake is looked up once more as the plain
/// request that it then is.
fn take<'t, B>(table: &'t Table<B>, asked: &Asked) -> Option<Taken<'t, B>> {
    let hit = table.find(asked)?;
    let mode = hit.route.rule.policy.upgrade.mode.value;
    if asked.is_handshake_attempt() && mode == UpgradeMode::Ignore {
        Some(Taken {
            hit: table.find(&asked.as_plain())?,
            ignoring: Some(hit),
        })
    } else {
        Some(Taken {
            hit,
            ignoring: None,
        })
    }
}

/// Object and rule in a few words.
fn place(it: &Explanation) -> String {
    format!("{} {}/{}, rule {}", it.kind, it.namespace, it.name, it.rule)
}

fn text(asked: &Asked, explanation: Option<&Explanation>) -> String {
    let Some(it) = explanation else {
        return format!("{asked}: no rule takes this request, the answer is 404\n");
    };
    let mut out = String::new();
    let path = it.path.as_deref().unwrap_or("defaultBackend");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{asked}");
    if let Some(place) = &it.upgrade_ignored_by {
        let _ = writeln!(out, "  ignored   Upgrade, by {place}: a plain request");
    }
    let _ = writeln!(out, "  object    {} {}/{}", it.kind, it.namespace, it.name);
    let _ = writeln!(out, "  rule      {}", it.rule);
    let _ = writeln!(out, "  path      {path}");
    for backend in &it.backends {
        let _ = writeln!(out, "  backend   {backend}");
    }
    let width = |len: fn(&Explained) -> usize| it.policy.iter().map(len).max();
    let name = width(|line| line.name.len()).unwrap_or_default();
    let value = width(|line| line.value.len()).unwrap_or_default().min(40);
    for line in &it.policy {
        let _ = writeln!(
            out,
            "  {:name$}  {:value$}  {}",
            line.name, line.value, line.origin
        );
    }
    out
}

/// `null` where no rule takes the request.
fn json(explanation: Option<&Explanation>) -> String {
    // Plain data with text keys always has a JSON form.
    let mut json = serde_json::to_string_pretty(&explanation).unwrap_or_default();
    json.push('\n');
    json
}

#[cfg(test)]
mod tests;
