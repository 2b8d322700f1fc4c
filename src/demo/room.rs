//! The room that both replicas share: who is here, what was said, how many route changes each has survived.
//!
//! Bounded everywhere: [`MAX_PEOPLE`] seats, [`HISTORY`] lines, one queue of [`QUEUE`] lines for all; who is
//! slower than that misses lines, and of the list of people only the newest version is ever kept.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A demo on a laptop; the list of people goes to everyone at every change.
const MAX_PEOPLE: usize = 100;
/// Lines that a new window gets to see.
const HISTORY: usize = 50;
/// Lines that a slow window may lag behind.
const QUEUE: usize = 256;
/// Characters of a name.
const MAX_NAME: usize = 24;
/// Characters of a line.
const MAX_LINE: usize = 500;

/// What the server sends. The page knows each by its `type`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event<'a> {
    /// First: who you are, where you landed, what was said before.
    Welcome {
        id: u64,
        replica: &'a str,
        topic: Option<&'a str>,
        history: &'a VecDeque<Line>,
    },
    /// Everyone in the room.
    People {
        generation: u64,
        people: Vec<Seen<'a>>,
    },
    /// A line.
    Said(&'a Line),
}

/// A person as others see them.
#[derive(Debug, Serialize)]
struct Seen<'a> {
    id: u64,
    name: &'a str,
    replica: &'a str,
    /// Milliseconds since 1970.
    since: u64,
    /// Route changes since then.
    survived: u64,
}

/// What somebody said.
#[derive(Debug, Clone, Serialize)]
struct Line {
    id: u64,
    name: String,
    replica: &'static str,
    text: String,
    /// Milliseconds since 1970.
    at: u64,
}

#[derive(Debug)]
struct Person {
    name: String,
    replica: &'static str,
    since: u64,
    joined_at_generation: u64,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    generation: u64,
    people: BTreeMap<u64, Person>,
    history: VecDeque<Line>,
}

/// The room.
#[derive(Debug)]
pub(super) struct Room {
    state: Mutex<State>,
    people: watch::Sender<Utf8Bytes>,
    said: broadcast::Sender<Utf8Bytes>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            people: watch::Sender::new(Utf8Bytes::default()),
            said: broadcast::Sender::new(QUEUE),
        }
    }
}

impl Room {
    /// Takes a seat; `None` when the room is full. `topic`: what the route says that this connection is about.
    pub(super) fn join(
        self: &Arc<Self>,
        replica: &'static str,
        topic: Option<&str>,
    ) -> Option<Seat> {
        let mut state = self.state.lock();
        if state.people.len() >= MAX_PEOPLE {
            return None;
        }
        state.next_id += 1;
        let id = state.next_id;
        let person = Person {
            name: format!("Guest {id}"),
            replica,
            since: now(),
            joined_at_generation: state.generation,
        };
        state.people.insert(id, person);
        // All under one lock: every line is in the history or comes later, none is lost, none comes twice.
        let seat = Seat {
            id,
            replica,
            welcome: json(&Event::Welcome {
                id,
                replica,
                topic,
                history: &state.history,
            }),
            people: self.people.subscribe(),
            said: self.said.subscribe(),
            room: Arc::clone(self),
        };
        self.publish_people(&state);
        Some(seat)
    }

    /// A new table is live. Returns how many people are connected.
    pub(super) fn set_generation(&self, generation: u64) -> usize {
        let mut state = self.state.lock();
        state.generation = generation;
        self.publish_people(&state);
        state.people.len()
    }

    fn publish_people(&self, state: &State) {
        let people = state
            .people
            .iter()
            .map(|(&id, person)| Seen {
                id,
                name: &person.name,
                replica: person.replica,
                since: person.since,
                survived: state.generation.saturating_sub(person.joined_at_generation),
            })
            .collect();
        self.people.send_replace(json(&Event::People {
            generation: state.generation,
            people,
        }));
    }
}

/// A place in the room; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    replica: &'static str,
    room: Arc<Room>,
    welcome: Utf8Bytes,
    people: watch::Receiver<Utf8Bytes>,
    said: broadcast::Receiver<Utf8Bytes>,
}

impl Seat {
    /// The first message to this seat.
    pub(super) fn welcome(&self) -> Utf8Bytes {
        self.welcome.clone()
    }

    /// The next message to this seat. Cancel safe.
    pub(super) async fn next(&mut self) -> Utf8Bytes {
        loop {
            tokio::select! {
                // Neither channel can be closed: the room holds their senders.
                Ok(()) = self.people.changed() => return self.people.borrow_and_update().clone(),
                line = self.said.recv() => match line {
                    Ok(line) => return line,
                    // Too slow: go on with the oldest line that is left.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }

    /// Takes a name; an empty one changes nothing.
    pub(super) fn rename(&self, name: &str) {
        let name = clean(name, MAX_NAME);
        let mut state = self.room.state.lock();
        if let Some(person) = state.people.get_mut(&self.id)
            && !name.is_empty()
        {
            person.name = name;
            self.room.publish_people(&state);
        }
    }

    /// Says a line to everyone, this seat included; an empty one is not said.
    pub(super) fn say(&self, text: &str) {
        let text = clean(text, MAX_LINE);
        let mut state = self.room.state.lock();
        let Some(person) = state.people.get(&self.id).filter(|_| !text.is_empty()) else {
            return;
        };
        let line = Line {
            id: self.id,
            name: person.name.clone(),
            replica: self.replica,
            text,
            at: now(),
        };
        // No receiver is no error: everyone may be leaving.
        let _ = self.room.said.send(json(&Event::Said(&line)));
        if state.history.len() == HISTORY {
            state.history.pop_front();
        }
        state.history.push_back(line);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.room.state.lock();
        state.people.remove(&self.id);
        self.room.publish_people(&state);
    }
}

/// One line of printable text, at most `max` characters.
fn clean(text: &str, max: usize) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(max).collect();
    text.trim().to_owned()
}

fn json(event: &Event<'_>) -> Utf8Bytes {
    // These types have no map with odd keys: serialising cannot fail.
    serde_json::to_string(event).unwrap_or_default().into()
}

/// Milliseconds since 1970, for the page to show.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parse(message: &Utf8Bytes) -> Value {
        serde_json::from_str(message.as_str()).unwrap()
    }

    /// The next message of a kind.
    async fn next(seat: &mut Seat, kind: &str) -> Value {
        loop {
            let message = parse(&seat.next().await);
            if message["type"] == kind {
                return message;
            }
        }
    }

    #[tokio::test]
    async fn a_connection_counts_the_changes_since_it_joined() {
        let room = Arc::new(Room::default());
        room.set_generation(3);
        let mut early = room.join("A", None).unwrap();
        room.set_generation(5);
        let _late = room.join("B", None).unwrap();
        assert_eq!(room.set_generation(6), 2);

        let people = next(&mut early, "people").await;

        assert_eq!(people["generation"], 6);
        assert_eq!(people["people"][0]["survived"], 3);
        assert_eq!(people["people"][0]["replica"], "A");
        assert_eq!(people["people"][1]["survived"], 1);
        assert_eq!(people["people"][1]["replica"], "B");
    }

    #[tokio::test]
    async fn both_replicas_share_the_room() {
        let room = Arc::new(Room::default());
        let ann = room.join("A", None).unwrap();
        let mut bob = room.join("B", None).unwrap();
        ann.rename("  Ann\n");
        ann.say("ahoy");
        ann.say(" \t ");

        let said = next(&mut bob, "said").await;

        assert_eq!(said["name"], "Ann");
        assert_eq!(said["text"], "ahoy");
        assert_eq!(said["replica"], "A");
        let late = room.join("A", Some("topic")).unwrap();
        let welcome = parse(&late.welcome());
        assert_eq!(welcome["history"].as_array().unwrap().len(), 1);
        assert_eq!(welcome["topic"], "topic");
    }

    #[tokio::test]
    async fn leaving_frees_the_seat_and_tells_the_others() {
        let room = Arc::new(Room::default());
        let mut stays = room.join("A", None).unwrap();
        let seats: Vec<Seat> = std::iter::from_fn(|| room.join("B", None)).collect();
        assert_eq!(seats.len(), MAX_PEOPLE - 1);
        drop(seats);
        let people = next(&mut stays, "people").await;
        assert_eq!(people["people"].as_array().unwrap().len(), 1);
        assert!(room.join("B", None).is_some());
    }

    #[tokio::test]
    async fn everything_is_bounded() {
        let room = Arc::new(Room::default());
        let seat = room.join("A", None).unwrap();
        let mut slow = room.join("B", None).unwrap();
        seat.rename(&"n".repeat(1000));
        for i in 0..2 * QUEUE {
            seat.say(&format!("{i} {}", "x".repeat(10_000)));
        }
        // A slow window misses the oldest lines and goes on with what is left.
        let first = next(&mut slow, "said").await;
        assert!(first["text"].as_str().unwrap().len() <= MAX_LINE);
        assert_eq!(first["name"].as_str().unwrap().len(), MAX_NAME);
        assert!(first["text"].as_str().unwrap().starts_with("256 "));
        assert_eq!(room.state.lock().history.len(), HISTORY);
    }
}
