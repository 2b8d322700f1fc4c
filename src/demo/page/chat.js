// The page of the demo: one WebSocket, what came over it, and what became of it.

const $ = (id) => document.getElementById(id);

// RFC 6455 section 7.4.1 and the IANA registry: codes that this page may see.
const MEANINGS = {
  1000: "normal closure",
  1001: "going away",
  1005: "no code was sent",
  1006: "the connection was lost without a Close",
  1009: "message too big",
  1011: "internal error",
  1012: "service restart",
  1013: "try again later",
  1014: "bad gateway",
};

// Back-off: soon enough to see the demo come back, with jitter so that windows do not come all at once.
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;

const NAMES = ["Ada", "Bligh", "Cook", "Drake", "Ella", "Fram", "Grace", "Hanno", "Isla", "Jason", "Kon", "Leif"];

let socket = null;
let own = null; // my id in the room
let since = null; // milliseconds since 1970
let opened = 0; // how often this window was connected
let failures = 0; // attempts since the last connection
let retryAt = 0;

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function status(state, words) {
  $("status").dataset.state = state;
  text($("status"), words);
  for (const input of $("say").elements) input.disabled = state !== "connected";
}

function connect() {
  status("waiting", "connecting");
  text($("retry"), "connecting…");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws`);
  let welcomed = false;
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === "welcome") {
      welcomed = true;
      welcome(event);
    } else if (event.type === "people") {
      people(event);
    } else if (event.type === "said") {
      said(event);
    }
  };
  socket.onclose = (event) => closed(event, welcomed);
}

function welcome(event) {
  own = event.id;
  since = Date.now();
  opened += 1;
  failures = 0;
  $("closed").hidden = true;
  status("connected", "connected");
  text($("replica"), event.replica);
  text($("topic"), event.topic ?? "Connections that hold");
  text($("survived"), "0");
  text($("reconnects"), String(opened - 1));
  if (opened === 1) event.history.forEach(said);
  note(opened === 1 ? `connected through replica ${event.replica}` : `connected again, through replica ${event.replica}`);
  send({ type: "name", name: $("name").value });
  tick();
}

function closed(event, welcomed) {
  since = null;
  own = null;
  status("closed", "not connected");
  if (welcomed) {
    text($("code"), String(event.code));
    text($("meaning"), MEANINGS[event.code] ? ` (${MEANINGS[event.code]})` : "");
    text($("reason"), event.reason ? `“${event.reason}”` : "");
    note(`closed with code ${event.code}${event.reason ? `: ${event.reason}` : ""}`);
  } else if (opened === 0) {
    text($("code"), String(event.code));
    text($("meaning"), "");
    text($("reason"), "the WebSocket could not be opened");
  }
  $("closed").hidden = false;
  const backoff = Math.min(FIRST_RETRY_MS * 2 ** failures, LONGEST_RETRY_MS);
  failures = Math.min(failures + 1, 10);
  const delay = backoff * (0.8 + 0.4 * Math.random());
  retryAt = Date.now() + delay;
  setTimeout(connect, delay);
  tick();
}

function people(event) {
  text($("count"), String(event.people.length));
  const rows = event.people.map((person) => {
    const row = document.createElement("li");
    row.innerHTML = '<span class="badge"></span><div class="person"><div class="called"></div><small></small></div><span class="count"></span>';
    const badge = row.querySelector(".badge");
    text(badge, person.replica);
    badge.dataset.replica = person.replica;
    badge.title = `through replica ${person.replica}`;
    const called = row.querySelector(".called");
    text(called, person.id === own ? `${person.name} (you)` : person.name);
    called.classList.toggle("you", person.id === own);
    text(row.querySelector("small"), `replica ${person.replica}, since ${clock(person.since)}`);
    const count = row.querySelector(".count");
    text(count, String(person.survived));
    count.title = "route changes survived";
    if (person.id === own) {
      if ($("survived").textContent !== String(person.survived)) bump();
      text($("survived"), String(person.survived));
      since = person.since;
    }
    return row;
  });
  $("people").replaceChildren(...rows);
}

function bump() {
  const fact = $("survived").parentElement;
  fact.classList.remove("bump");
  void fact.offsetWidth; // restarts the animation
  fact.classList.add("bump");
}

function said(line) {
  const item = document.createElement("li");
  item.innerHTML = '<span class="who"></span><span class="text"></span>';
  item.classList.toggle("own", line.id === own);
  text(item.querySelector(".who"), `${line.name}, replica ${line.replica}, ${clock(line.at)}`);
  text(item.querySelector(".text"), line.text);
  append(item);
}

function note(words) {
  const item = document.createElement("li");
  item.className = "note";
  text(item, `${clock(Date.now())}  ${words}`);
  append(item);
}

function append(item) {
  const list = $("messages");
  list.append(item);
  // As many as anybody reads; a window may stay open for days.
  while (list.childElementCount > 300) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

function tick() {
  if (since === null) {
    text($("age"), "–");
    const left = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    if (socket?.readyState !== WebSocket.CONNECTING) text($("retry"), `reconnecting in ${left} s`);
    return;
  }
  const seconds = Math.max(0, Math.floor((Date.now() - since) / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  text($("age"), `${hours ? `${hours}:` : ""}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`);
}

$("say").onsubmit = (event) => {
  event.preventDefault();
  send({ type: "say", text: $("text").value });
  $("text").value = "";
};
$("name").value = sessionStorage.getItem("name") ?? `${NAMES[Math.floor(Math.random() * NAMES.length)]} ${Math.floor(10 + 90 * Math.random())}`;
$("name").onchange = () => {
  sessionStorage.setItem("name", $("name").value);
  send({ type: "name", name: $("name").value });
};
sessionStorage.setItem("name", $("name").value);
setInterval(tick, 250);
connect();
