//! The phases of a tunnel, and how long each of them waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::ws::close;

/// From the decision to end a tunnel until its Close may interrupt a fragmented message: most messages are
/// over by then.
pub(super) const MESSAGE_PATIENCE: Duration = Duration::from_secs(2);

/// From the decision until the backend gets its Close if the client has not answered: frames that were on
/// their way have arrived by then.
const CLIENT_PATIENCE: Duration = Duration::from_secs(3);

/// The whole of an ending, to the FIN.
pub(super) const ENDING: Duration = Duration::from_secs(5);

/// For a FIN behind what a peer has not taken. Those that ended by themselves at the end of a drain have 5 s, a second and
/// this: less than the 10 s that it leaves them.
pub(super) const LEAVING: Duration = Duration::from_secs(3);

/// Where a tunnel stands on its way to its end.
#[derive(Debug)]
pub(super) enum Phase {
    Open,
    /// A peer closed or was lost; until then the other direction may go on.
    Finishing(Instant),
    /// Hawser closes the tunnel. Boxed: it is the only large one, and the last.
    Ending(Box<Ending>),
    /// FIN goes to both; then it is over, if the peers do not end before.
    Lingering(Instant),
    /// The same where FIN waits behind what the side has not taken: streams of HTTP/2 have no kernel that goes on. Not after
    /// an ending of our own, which has waited before.
    Leaving(Instant),
    Over,
}

/// An end that Hawser brings about.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) own: close::Status,
    pub(super) since: Instant,
    pub(super) patience: Patience,
}

/// What an ending waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// The end of a message to the client.
    Message,
    /// The client's Close.
    Client,
    /// Both answers.
    Answers,
}

impl Ending {
    /// When it waits no longer for that.
    pub(super) fn deadline(&self) -> Instant {
        self.since
            + match self.patience {
                Patience::Message => MESSAGE_PATIENCE,
                Patience::Client => CLIENT_PATIENCE,
                Patience::Answers => ENDING,
            }
    }
}
