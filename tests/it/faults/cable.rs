//! F11, F12: somebody pulls a cable, of the backend and of the client. Nothing says so; it is found within a minute.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::kit::{
    eventually,
    faults::Cut,
    hawser, manifest,
    netns::{Netns, ip},
    wire::{self, Ends, expect, expect_close_within, frame, send},
};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// TCP keepalive and `TCP_USER_TIMEOUT` need 50 s.
const MINUTE: Duration = Duration::from_mins(1);

/// For a ping a second and a second of patience.
const SOON: Duration = Duration::from_secs(20);

/// Two hosts with a cable between them.
fn hosts() -> (Netns, Netns) {
    let (here, far) = (Netns::new("here"), Netns::new("far"));
    ip(&format!(
        "-n {} link add eth0 type veth peer name eth0 netns {}",
        here.name(),
        far.name()
    ));
    for (netns, address) in [(&here, HERE), (&far, FAR)] {
        netns.ip(&format!("addr add {address}/24 dev eth0"));
        netns.ip("link set eth0 up");
    }
    (here, far)
}

/// A socket that stays on a host wherever it is used.
fn socket_of<T: Send>(netns: &Netns, make: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            netns.enter();
            make()
        });
        running.join().expect("no panic")
    })
}

fn listener_of(netns: &Netns) -> TcpListener {
    let listener = socket_of(netns, || {
        let listener = std::net::TcpListener::bind((FAR, 0)).expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        listener
    });
    TcpListener::from_std(listener).expect("a listener")
}

fn client_of(netns: &Netns) -> TcpSocket {
    let socket = socket_of(netns, || {
        let tcp = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, tcp, None).expect("a socket");
        socket.set_nonblocking(true).expect("non-blocking");
        socket
    });
    TcpSocket::from_std_stream(socket.into())
}

/// The end that is still there: what it must be told, and how soon.
struct Left {
    what: &'static str,
    stream: TcpStream,
    code: u16,
    deadline: Duration,
}

#[test]
fn a_pulled_cable_is_found_within_a_minute() {
    let (here, far) = hosts();
    here.run(async || {
        let far_backend = listener_of(&far);
        let near_backend = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = |listener: &TcpListener| listener.local_addr().expect("an address");
        let mut yaml = manifest::service("far", &[endpoint(&far_backend)])
            + &manifest::service("near", &[endpoint(&near_backend)]);
        for (service, pinged) in [("far", "Backend"), ("near", "Client")] {
            let pings = format!("keepalive: {{interval: 1s, timeout: 1s, target: {pinged}}}");
            for (name, fields) in [("tcp", ""), ("pinged", &*pings)] {
                let name = format!("{name}-{service}");
                yaml += &manifest::route(&name, "wire.test", &format!("/{name}"), service, fields);
            }
        }
        let hawser = hawser::at(IpAddr::V4(HERE), &yaml).await;
        let here_socket = || TcpSocket::new_v4().expect("a socket");
        let open = async |socket, to: &TcpListener, path: &str| {
            wire::open(socket, hawser.http, to, path, "").await
        };

        let mut backend_gone = Vec::new();
        let mut client_gone = Vec::new();
        for path in ["/tcp-far/idle", "/tcp-far/busy", "/pinged-far"] {
            backend_gone.push(open(here_socket(), &far_backend, path).await);
        }
        for path in ["/tcp-near/idle", "/tcp-near/busy", "/pinged-near"] {
            client_gone.push(open(client_of(&far), &near_backend, path).await);
        }
        let mut other = open(here_socket(), &near_backend, "/tcp-near/other").await;
        // All of them work.
        for ends in backend_gone.iter_mut().chain(&mut client_gone) {
            message(ends).await;
        }
        message(&mut other).await;
        answer_ping(&mut backend_gone[2].backend, false).await;
        answer_ping(&mut client_gone[2].client, true).await;

        let _cut = Cut::host(&far, IpAddr::V4(HERE));
        let start = Instant::now();
        // Nobody acknowledges these.
        send(&mut backend_gone[1].client, &frame(0x82, true, b"anybody?")).await;
        send(
            &mut client_gone[1].backend,
            &frame(0x82, false, b"anybody?"),
        )
        .await;

        // The far ends must not be closed meanwhile.
        let mut held = Vec::new();
        let mut left = Vec::new();
        let cases = [
            ("idle", MINUTE),
            ("with bytes under way", MINUTE),
            ("pinged", SOON),
        ];
        for (ends, (what, deadline)) in backend_gone.into_iter().zip(cases) {
            held.push(ends.backend);
            let stream = ends.client;
            left.push(Left {
                what,
                stream,
                code: 1014,
                deadline,
            });
        }
        for (ends, (what, deadline)) in client_gone.into_iter().zip(cases) {
            held.push(ends.client);
            let stream = ends.backend;
            left.push(Left {
                what,
                stream,
                code: 1001,
                deadline,
            });
        }
        join_all(left.iter_mut().map(async |left| {
            let (code, reason) = expect_close_within(left.deadline, &mut left.stream).await;
            println!(
                "{} ({code}, {reason}): found after {:?}",
                left.what,
                start.elapsed()
            );
            assert_eq!(code, left.code, "{}", left.what);
        }))
        .await;
        drop(left);
        eventually("only the other tunnel is left", async || {
            let open = hawser.view("/api/v1/connections").await;
            (open.as_array()?.len() == 1).then_some(())
        })
        .await;
        let ended_by = |cause: &str| {
            let log = hawser.log();
            log.iter()
                .filter(|line| hawser::field(line, "cause") == Some(cause))
                .count()
        };
        let counts = ["backend_lost", "client_lost", "ping_timeout"].map(ended_by);
        assert_eq!(counts, [2, 2, 2]);
        // Those that were noticed by TCP say so, wherever it is told.
        let log = hawser.log();
        let mut losses: Vec<_> = log
            .iter()
            .filter_map(|line| hawser::field(line, "loss"))
            .collect();
        losses.sort_unstable();
        assert_eq!(losses, ["tcp_timeout"; 4]);
        let closed = hawser.view("/api/v1/connections?closed=recent").await;
        let told = closed.as_array().into_iter().flatten();
        let told = told.filter(|tunnel| tunnel["loss"] == "tcp_timeout");
        assert_eq!(told.count(), 4, "{closed:#}");
        message(&mut other).await;
    });
}

/// One frame each way.
async fn message(ends: &mut Ends) {
    let Ends { client, backend } = ends;
    let (up, down) = (frame(0x82, true, b"up"), frame(0x82, false, b"down"));
    send(client, &up).await;
    expect(backend, &up).await;
    send(backend, &down).await;
    expect(client, &down).await;
}

/// Answers one ping of Hawser's.
async fn answer_ping(stream: &mut TcpStream, is_client: bool) {
    let mut ping = vec![0; if is_client { 10 } else { 14 }];
    stream.read_exact(&mut ping).await.expect("a ping");
    assert_eq!(ping[0], 0x89, "{ping:02x?}");
    let (head, payload) = ping.split_at(ping.len() - 8);
    let mask = if is_client { &[0; 4] } else { &head[2..] };
    let payload: Vec<u8> = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    send(stream, &frame(0x8a, is_client, &payload)).await;
}
