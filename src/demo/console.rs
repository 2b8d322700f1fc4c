//! What the demo says on the terminal. A closed terminal is no reason to end: write errors are ignored.

use std::{
    fmt::Display,
    io::{self, Write},
    net::SocketAddr,
};

use super::manifests::{Folder, ROUTE_FILE};

/// Printed once everything is live.
pub(super) fn welcome(http: SocketAddr, admin: Option<SocketAddr>, folder: &Folder) {
    let route = folder.path().join(ROUTE_FILE);
    let mut text = format!(
        "
Hawser is running a chat with two replicas.

  Chat       http://{http}/   open it in two windows
  Manifests  {folder}
  Route      {route}
",
        folder = folder.path().display(),
        route = route.display(),
    );
    if let Some(admin) = admin {
        text += "  Inside     http://";
        text += &admin.to_string();
        text += "/api/v1/connections   and /api/v1/routes, /metrics\n";
    }
    text.push_str(
        "
Try this while both windows are open:
  1. Change `value: Harbour talk` in the route file and save. Both windows count a route change and stay
     connected; a window opened from now on shows the new topic.
  2. Set `mode: Deny`. A new window is refused, and the open ones get their Close within a minute.
  3. Break the YAML. The last good version stays live and the error is printed here.
  4. Press Ctrl-C. Both windows show the Close code and reason; start the demo again and they are back.

",
    );
    say(&text);
}

/// One line for each table that goes live.
pub(super) fn route_change(generation: u64, connections: usize) {
    let kept = match connections {
        0 => "no window is open".to_owned(),
        1 => "1 window stays connected".to_owned(),
        n => format!("{n} windows stay connected"),
    };
    say(&format!("route change {generation} is live: {kept}\n"));
}

/// What happens at Ctrl-C.
pub(super) fn leaving() {
    say("Ending: each window gets a Close within 2 seconds. Ctrl-C again ends at once.\n");
}

/// The last line.
pub(super) fn goodbye() {
    say("Hawser has ended; the windows reconnect when the demo runs again.\n");
}

/// Why the demo cannot run: one line.
pub(super) fn error(error: &impl Display) {
    let _ = writeln!(io::stderr(), "hawser: demo: {error}");
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
